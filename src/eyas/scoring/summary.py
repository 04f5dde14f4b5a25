"""From the end of a race to its table: numbers about the race as a whole, warnings, and whether there is a winner."""

import logging
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from eyas.errors import CheckpointError, DataError
from eyas.scoring import diagnostics
from eyas.scoring.dense_outputs import probe
from eyas.scoring.engine import Engine
from eyas.scoring.memory import halve_batch_until_it_fits
from eyas.scoring.race.race import RaceResult, RaceSpec
from eyas.scoring.race.score_table import ScoreTable

_log = logging.getLogger(__name__)
_SHOWN = 5


def summarise(spec: RaceSpec, result: RaceResult, engine: Engine, *, seed: int, warnings: list[str]) -> ScoreTable:
    """The table of a race, with its diagnostics and all warnings.

    Args:
        spec: what was raced.
        result: how it ended.
        engine: who measured, or a copy of it.
        seed: shuffled the images.
        warnings: those from before the race.

    Raises:
        CheckpointError: no finalist has a finite score, and the dense network's own weights are not finite.
        DataError: no finalist has a finite score.
    """
    standings, (scores, errors, accuracies) = result.standings, result.first_rung
    num_distinct = len(scores)
    check_scores(standings.values["score"], standings.rung, engine.model, trained=bool(spec.rungs[-1].steps))
    numbers: dict[str, Any] = {
        "candidates": spec.num_candidates,
        "distinct": num_distinct,
        "entered": result.entered,
        "margins": result.margins,
        "decided_early": result.decided_early,
        "rank_stability": diagnostics.stability(result.promotions),
        **diagnostics.spread(scores, errors, result.paired_error),
        "not_finite": standings.not_finite(spec.distinct),
    }
    if engine.images.labels is not None and not engine.method.scorer.own_answers:
        classes = engine.example.shape[1]
        numbers["at_chance"] = diagnostics.share_at_chance(accuracies, classes, spec.rungs[0].images)
    trains = [rung.steps is not None for rung in spec.rungs]
    if any(trains):
        costs = zip(result.entered, spec.rungs, strict=True)
        numbers["images_forwarded"] = [entered * rung.cost() for entered, rung in costs]
    probed = _probe(engine, spec.batch_size)
    further = diagnostics.warnings_for(numbers, probed, num_distinct, trains)
    for warning in further:
        _log.warning(warning)
    return standings.table(
        spec.original,
        settings=_settings(spec, engine, seed),
        diagnostics=diagnostics.summary(numbers, probed),
        warnings=tuple(dict.fromkeys([*warnings, *further])),
    )


def _settings(spec: RaceSpec, engine: Engine, seed: int) -> dict[str, Any]:
    """What the scores depend on, as plain data."""
    prior, reward = engine.method.prior, engine.method.reward
    return {
        "batch_size": spec.batch_size,
        "seed": seed,
        "output": engine.method.output,
        "stop_margin": spec.stop_margin,
        "precision": engine.precision,
        "calibrator": engine.method.calibrator.model_dump(),
        "scorer": engine.method.scorer.model_dump(),
        "rungs": [rung.model_dump() for rung in spec.rungs],
        **({} if prior is None else {"prior": prior.model_dump()}),
        **({} if reward is None else {"reward": reward.model_dump()}),
    }


def _probe(engine: Engine, batch_size: int) -> diagnostics.Probe | None:
    """The unpruned network through the same procedure, where there is something to judge it by."""
    images, judged = engine.images, not engine.method.scorer.own_answers
    if images.labels is None or not judged or (engine.has_statistics and not len(images.calibration)):
        return None
    return halve_batch_until_it_fits(lambda size: probe(engine, size), batch_size)


def check_scores(
    scores: NDArray[np.float64], rungs: NDArray[np.int64], model: nn.Module, *, trained: bool = False
) -> None:
    """Some finalist (a candidate that came furthest) has a score.

    Args:
        scores: of every candidate.
        rungs: the last rung that each reached.
        model: the dense network, whose weights may be the cause.
        trained: whether finalists were trained for some steps, which may be the cause.

    Raises:
        CheckpointError: none has, and the dense network's own weights are not finite.
        DataError: none has.
    """
    if np.isfinite(scores[rungs == rungs.max()]).any():
        return
    state = model.state_dict().items()
    broken = [name for name, tensor in state if tensor.is_floating_point() and not torch.isfinite(tensor).all()]
    if broken:
        names = ", ".join(broken[:_SHOWN]) + (", ..." if len(broken) > _SHOWN else "")
        msg = f"no finalist has a finite score: the dense network's {names} hold NaN or infinities; repair its weights"
        raise CheckpointError(msg)
    steps = "; where the training steps diverge, lower the learning rate of the last of `rungs`" if trained else ""
    msg = (
        "no finalist has a finite score, although the dense network's weights are finite: its outputs overflow on "
        f"these images; look at their normalisation, and at the precision{steps}"
    )
    raise DataError(msg)
