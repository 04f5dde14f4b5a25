"""What the Markdown and the HTML page say in the same words: lines of text, with `code` and **weight** as Markdown."""

from collections.abc import Mapping
from typing import Any

from eyas.data.left_out import in_words
from eyas.operations.report.result_table import count, percent, signed
from eyas.operations.report.results import Results
from eyas.operations.uniform_outcome import uniform_outcome
from eyas.pruning.widths import multiples_in_words
from eyas.scoring.diagnosis import DEVIATIONS, TRAIN_BESIDE


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
        f"Widths: {multiples_in_words([group.multiple for group in groups])} (`sample.round_to`).",
        f"The winner, candidate {winner.index}, scores {signed(winner.score)} ± {winner.standard_error:.4f} on "
        f"{results.judged_on(winner)} and costs {count(winner.macs)} MACs.",
    ]
    if rungs := rungs_line(results):
        lines.append(rungs)
    if results.reward:
        goals = ", ".join(f"{_cost(name)} (weight {weight:g})" for name, weight in results.reward.items())
        lines.append(f"Scores are multiplied by a reward for what is saved of {goals} (`score.reward`).")
    return lines


def capitalised(text: str) -> str:
    """With a capital first letter, the others as they are."""
    return text[:1].upper() + text[1:]


def score_lines(results: Results) -> list[str]:
    """What the race says of its own scores, in a few plain sentences; nothing of what it did not measure."""
    numbers, probe = results.diagnostics, results.diagnostics.get("probe") or {}
    lines = []
    spread, error = numbers.get("score_spread"), numbers.get("paired_error")
    if spread is not None and error:
        signal = spread / error
        part = "most" if signal < 1 else "a good part" if signal < DEVIATIONS else "little"
        lines.append(
            f"{part} of what scores differ by is chance: they spread by {spread:.4f}, and the difference of two "
            f"is known to about {error:.4f}"
        )
    lead = (numbers.get("margins") or [None])[-1]
    if lead is not None and lead < DEVIATIONS:
        lines.append(f"others are as good as the winner: it leads the nearest by {lead:.1f} standard errors")
    if numbers.get("at_chance"):
        lines.append(f"{percent(numbers['at_chance'])} of the candidates answer no better than a guess before training")
    moved = probe.get("deviations")
    if moved is not None:
        ends = f"{percent(probe['original'])} to {percent(probe['recalibrated'])}"
        how = "no more than chance" if moved <= DEVIATIONS else "more than chance, so that scores are to be doubted"
        lines.append(
            f"estimating batch-norm statistics anew moved the dense network from {ends}{results.comparability.note} of "
            f"the score images, {how}"
        )
    return lines


def rungs_line(results: Results) -> str:
    """What each rung did, of later ones what they did otherwise; empty where one alone was raced."""
    rungs, entered = results.diagnostics.get("settings", {}).get("rungs", []), results.diagnostics.get("entered", [])
    if len(rungs) < 2 or len(entered) != len(rungs):
        return ""
    told, before = [], set()
    for number, (rung, candidates) in enumerate(zip(rungs, entered, strict=True), start=1):
        done = _rung(rung)
        new = ", ".join(one for one in done if one not in before) or "in the same way"
        who = f"{candidates} candidates" if number == 1 else f"the best {candidates} of these again"
        told.append(f"rung {number} judged {who}: {new}" if candidates else f"rung {number} was skipped")
        before = set(done)
    return (
        f"{capitalised('; '.join(told))}. Scores of different rungs do not compare: the winner is the best of the last."
    )


def _rung(rung: Mapping[str, Any]) -> list[str]:
    """On what and after what a rung judges."""
    steps, anew = rung.get("steps"), rung.get("calibration_images") or rung["images"]
    held_out = rung.get("mode") == "held_out"
    return [
        f"on {rung['images']:,} images",
        *(["refitted"] if steps is not None and rung.get("recovery") else []),
        *([f"trained for {steps} steps"] if steps else []),
        f"batch-norm statistics from {f'{anew:,} calibration images' if held_out else 'the same images'}",
    ]


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
