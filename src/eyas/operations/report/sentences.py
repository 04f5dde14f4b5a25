"""What the Markdown and the HTML page say in the same words: lines of text, with `code` and **weight** as Markdown."""

from collections.abc import Mapping
from typing import Any

from eyas.data.left_out import in_words
from eyas.operations.report.result_table import count, signed
from eyas.operations.report.results import Results
from eyas.operations.uniform_outcome import uniform_outcome
from eyas.scoring.diagnosis import TRAIN_BESIDE


def data_lines(results: Results, baseline: Mapping[str, Any]) -> list[str]:
    """Where the images come from; then what was left out, and whether the checkpoint has seen them."""
    manifest, image = results.manifest, results.manifest["image"]
    source = ", ".join(f"{part} `{address}`" for part, address in manifest["source"].items())
    pixels = f", one for each pixel ({results.task.kind})" if results.task.kind == "segmentation" else ""
    if not results.task.labelled:
        pixels = f", no labels{' but those of the test images' if results.test_task.labelled else ''}"
    lines = [
        f"Source: {source}. {len(manifest['classes'])} classes{pixels}, images of {image['channels']} x "
        f"{image['size']} x {image['size']} (channels, height, width). Data set `{manifest['digest'][:16]}`."
    ]
    if manifest.get("left_out"):
        lines.append(f"Left out, files and images by kind: {in_words(manifest['left_out'])}.")
    if results.architecture.seen_by_checkpoint:
        lines.append(
            "**The checkpoint was trained by others on all of the training data**, score and calibration images "
            "included (`seen_by_checkpoint`): scores are on images it has seen."
        )
    elif baseline.get("checkpoint") and baseline.get("seen_by_checkpoint") is None:
        lines.append(
            "Whether the checkpoint was trained on the training data is not said (`baseline.seen_by_checkpoint`): "
            "scores may be on images it has seen."
        )
    return lines


def search_lines(results: Results, params: Mapping[str, Any]) -> list[str]:
    """How many candidates were judged, and which one won."""
    winner, groups = results.winner, results.groups
    scores = [candidate.score for candidate in results.candidates]
    budget = params.get("sample", {}).get("budget") or {}
    asked = ", ".join(_budget(name, value) for name, value in budget.items() if value is not None)
    lines = [
        f"{len(results.candidates)} candidates over {len(groups)} groups of channels, budget {asked or 'unknown'}; "
        f"scores from {signed(min(scores))} to {signed(max(scores))}.",
        f"The winner, candidate {winner.index}, scores {signed(winner.score)} ± {winner.standard_error:.4f} on "
        f"{results.judged_on(winner)} and costs {count(winner.macs)} MACs.",
    ]
    if results.reward:
        goals = ", ".join(f"{_cost(name)} (weight {weight:g})" for name, weight in results.reward.items())
        lines.append(f"Scores are multiplied by a reward for what is saved of {goals} (`score.reward`).")
    return lines


def diagnosis_lines(results: Results) -> list[str]:
    """Whether the winner beats uniform widths, by score and after fine-tuning; what to do where scores say little."""
    came = uniform_outcome(results.metrics["finetune"], results.diagnostics)
    further = [f"{came}{results.comparability.note}"] if came else []
    lines = results.diagnostics.get("diagnosis", ())
    return [*(line for line in lines if not (came and line.startswith(TRAIN_BESIDE))), *further]


def _budget(name: str, value: float) -> str:
    """A number up to 1 is a share of the dense cost."""
    word = _cost(name)
    return f"{100 * value:g} % of the {word}" if value <= 1 else f"{count(value)} {word}"


def _cost(name: str) -> str:
    return "MACs" if name == "macs" else name.replace("_", " ")
