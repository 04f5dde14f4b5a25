"""From the stages' files to the facts that a verdict stands on."""

import math
from collections.abc import Mapping
from typing import Any

from eyas.operations.paired_difference import recorded
from eyas.operations.report.results import Candidate, Results
from eyas.operations.result_facts import ResultFacts, TestSource, TrainingFacts, UniformFacts
from eyas.operations.run_times import RunTimes
from eyas.operations.uniform_outcome import uniform_counts
from eyas.operations.verdict import Verdict, reach_verdict

_CHECKPOINT = "checkpoint_test_accuracy"
"""A metric that ``baseline`` has where it trained a checkpoint further."""


def verdict_on(results: Results) -> Verdict:
    """Whether what the stages left is a success."""
    return reach_verdict(measured_facts(results))


def measured_facts(results: Results) -> ResultFacts:
    """What the stages measured, as far as their files say."""
    baseline, finetune = results.metrics["baseline"], results.metrics["finetune"]
    times = results.latency["milliseconds"]
    task, images = results.test_task, results.split_images["test"]
    classes = results.manifest["splits"]["test"].values()
    return ResultFacts(
        dense_accuracy=baseline[f"test_{task.measure}"] if task.labelled else 1.0,
        pruned_accuracy=finetune[f"test_{task.measure}"],
        test=recorded(finetune, "test", "test_images"),
        measure=task.words,
        score_measure=results.task.words,
        not_comparable=results.comparability.reason,
        chance=max(classes) / images if sum(classes) == images and images else math.nan,
        test_images=images,
        test_source=_test_source(results.manifest),
        repeated_test_images=(results.manifest.get("repeated") or {}).get("test", 0),
        finetuning=_training(results, "finetune"),
        dense_training=_training(results, "baseline") if baseline.get("epochs") else None,
        adapted=_CHECKPOINT in baseline,
        recalibration=recorded(finetune, "score", "score_images"),
        tuning=recorded(finetune, "finetuning", "test_images"),
        recalibrated_accuracy=finetune.get(f"recalibrated_score_{results.task.measure}", 0.0),
        refitted=bool(finetune.get("refitted_layers")),
        refit_wanted="refitted_layers" in finetune or _rungs_refit(results),
        scorer=results.diagnostics.get("settings", {}).get("scorer", {}).get("kind", ""),
        training_images=sum(results.split_images[name] for name in ("train", "calibration", "score")),
        calibration_images=results.split_images["calibration"],
        score_images=results.split_images["score"],
        uniform=_uniform(results) if results.task.measure == "accuracy" else None,
        finetuned_uniform=uniform_counts(finetune),
        dense_times=RunTimes.of(times["dense"]),
        pruned_times=RunTimes.of(times["model"]),
        **_limited(results),
    )


def _test_source(manifest: Mapping[str, Any]) -> TestSource:
    if "test" in manifest["source"]:
        return "given"
    return "included" if manifest.get("test_included") else "cut"


def _rungs_refit(results: Results) -> bool:
    """Whether any rung did; taken for true where the settings are not known."""
    rungs = results.diagnostics.get("settings", {}).get("rungs")
    return rungs is None or any(rung.get("steps") is not None for rung in rungs)


def _limited(results: Results) -> dict[str, float]:
    """Milliseconds that are allowed, and that the exported network took."""
    budget = results.latency_budget
    if budget is None or budget["measured_ms"] is None:
        return {}
    return {"limit_ms": budget["limit_ms"], "kept_ms": budget["measured_ms"]}


def _training(results: Results, stage: str) -> TrainingFacts | None:
    metrics, history = results.metrics[stage], results.histories[stage]
    if "steps" not in metrics:
        return None
    score = dict(zip(history.epoch, history.score, strict=True))
    return TrainingFacts(
        epochs=int(metrics["epochs"]),
        steps=int(metrics["steps"]),
        steps_per_epoch=int(metrics["steps_per_epoch"]),
        accuracies=tuple(score[epoch] for epoch in history.epoch if epoch),
        start=score.get(0, math.nan),
        learning_rate=max(filter(math.isfinite, history.learning_rate), default=math.nan),
        score_images=int(metrics["score_images"]),
        best_epoch=metrics.get("best_epoch"),
    )


def _uniform(results: Results) -> UniformFacts | None:
    """The candidate that keeps the same share everywhere, which comes first, where it was judged as the winner was."""
    winner, dense = results.winner, [group.channels for group in results.groups]

    def unevenness(candidate: Candidate) -> float:
        shares = [width / channels for width, channels in zip(candidate.widths, dense, strict=True)]
        return max(shares, default=0.0) - min(shares, default=0.0)

    first = min(results.candidates, key=lambda candidate: candidate.index)
    others_are_no_evener = all(unevenness(first) <= unevenness(other) for other in results.candidates)
    judged_alike = (first.rung, first.images) == (winner.rung, winner.images)
    if first == winner or not judged_alike or not others_are_no_evener:
        return None
    return UniformFacts(first.accuracy, winner.accuracy, winner.images)
