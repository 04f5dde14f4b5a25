"""``eyas.score``: from a network, its plans and two sets of images to a ranked table.

The method is EagleEye's adaptive batch-norm (Li et al. 2020, arXiv:2007.02491, section 3) with pooled statistics,
ranked by cross-entropy, in a race over rungs; docs/scoring.md has the measurements behind these choices.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from eyas.calibration import Calibrator
from eyas.calibration.batchnorm import batch_norms
from eyas.errors import EyasError
from eyas.scoring import arguments
from eyas.scoring.candidates import GrowingPlans, digests, originals
from eyas.scoring.dense_outputs import PROBE_IMAGES, dense_outputs
from eyas.scoring.engine import EXAMPLES, Engine, ScoringMethod
from eyas.scoring.image_arguments import check_outputs, image_sets_from
from eyas.scoring.image_sets import ImageSets
from eyas.scoring.memory import OutOfMemoryDuringScoringError, explain_out_of_memory, halve_batch_until_it_fits
from eyas.scoring.preflight import preflight_warnings
from eyas.scoring.priors import Prior
from eyas.scoring.race.journal import NoRaceJournal, RaceJournal
from eyas.scoring.race.progress import RaceProgress
from eyas.scoring.race.race import RaceSpec, race
from eyas.scoring.race.race_fingerprint import code_of, race_fingerprint, sample_outputs
from eyas.scoring.race.rungs import Rung, fit_rungs, parse_rungs
from eyas.scoring.race.score_table import ScoreTable
from eyas.scoring.score_options import ScoreOptions
from eyas.scoring.scorers import Scorer
from eyas.scoring.summary import summarise
from eyas.scoring.uniform_lead import with_uniform
from eyas.scoring.workers.start import Resources, isolated_torch, start_executor

if TYPE_CHECKING:
    from eyas.pruning.plan import PruningPlan
    from eyas.pruning.space import SearchSpace

_log = logging.getLogger(__name__)


def score(  # noqa: PLR0917
    model: nn.Module,
    space: "SearchSpace",
    plans: "Sequence[PruningPlan]",
    calibration_images: Tensor | None,
    scoring_images: Tensor,
    scoring_labels: Tensor | None = None,
    *,
    rungs: Sequence[Rung | dict[str, Any]] | None = None,
    device: str = "cpu",
    seed: int = 0,
    calibrator: Calibrator | str | Mapping[str, Any] = "pooled",
    scorer: Scorer | str | Mapping[str, Any] | None = None,
    options: ScoreOptions | None = None,
) -> ScoreTable:
    """Score pruning plans by adaptive batch-norm; the network itself is not touched.

    Args:
        model: the dense network that ``space`` was traced from.
        space: its search space.
        plans: the candidates; :class:`WidthPlans` makes them lazily from a width matrix, :class:`GrowingPlans` are
            asked for more while the race runs.
        calibration_images: normalised floats ``(N, C, H, W)`` that re-estimate statistics in held-out rungs; None or
            empty where there is no such rung, or nothing to calibrate.
        scoring_images: normalised floats ``(M, C, H, W)``, disjoint from them; both are cast to the weights' dtype.
        scoring_labels: integers ``(M,)``, ``(M, ...)`` for answers per pixel, from 0 to K - 1, or -100 for pixels that
            are not judged; without them candidates are compared to the dense network's outputs.
        rungs: images, mode and survivors of each round, the last of several held out; without, :data:`DEFAULT_RUNGS`,
            or :data:`TRAINING_RUNGS` where ``options.training`` is there.
        device: ``cpu``, ``cuda`` or ``cuda:N``.
        seed: shuffles the images.
        calibrator: who re-estimates the statistics in held-out rungs.
        scorer: what ranks; without one ``cross_entropy`` with labels, ``dense_kl`` without.
        options: training images, batch size, early stop, workers, journal, progress: see :class:`ScoreOptions`.

    Returns:
        A table aligned with ``plans``; ``table.winner`` is the best, ``table.warnings`` says what to doubt.

    Raises:
        PlanError: there are no plans, or plans of another space.
        DataError: images, labels or outputs cannot be used, or a scorer lacks the labels or the layer it needs.
        BusyError: another process writes the same journal.
        ParameterError: settings or rungs that make no sense, or a network that workers cannot be sent.
        MissingExtraError: ``options.cluster`` without Ray.
        StorageError: the journal cannot be written any more.
        EyasError: the device's memory does not hold two images.
    """
    options = options or ScoreOptions()
    arguments.check_plans(plans, space)
    arguments.check_options(options, device=device, seed=seed)
    seed = int(seed)
    judge = arguments.choose_scorer(scorer, scoring_labels)
    method = _method_of(options, Calibrator.parse(calibrator), judge)
    parsed = parse_rungs(rungs, training=options.training is not None)
    images = image_sets_from(
        model, calibration_images, scoring_images, scoring_labels, seed=seed, training=options.training
    )
    arguments.check_final_rung(parsed, model, images.calibration)
    arguments.check_training(parsed, images, method.scorer)
    available = len(images.calibration) if batch_norms(model) else None
    fitted = fit_rungs(parsed, calibration=available, scoring=len(images.scoring))
    images = images.first(
        max(PROBE_IMAGES, *(max(rung.images, rung.calibration_images or 0) for rung in fitted)),
        training=max(rung.training_images for rung in fitted),
    )
    plan_digests = digests(plans)
    grow = partial(_grown, plans) if isinstance(plans, GrowingPlans) else None
    spec = RaceSpec(
        len(plans),
        originals(plan_digests),
        fitted,
        options.batch_size,
        options.stop_margin,
        grow,
        partial(_log_widths, plans),
    )
    workers = min(options.workers, len(spec.distinct))
    resources = Resources.allot(device, workers=workers, threads=options.threads, cluster=options.cluster)
    with isolated_torch(resources.threads):
        with explain_out_of_memory("the dense network and the images"):
            engine = Engine(model, space, images, method, device=resources.local_device)
        check_outputs(engine.example, len(images.scoring[:EXAMPLES]), images, own_labels=method.scorer.own_answers)
        job = _ScoringJob(model, plans, plan_digests, images, method, seed, resources, options)
        journal = _open_journal(job, spec, engine)
        try:
            return _race(job, spec, engine, journal)
        finally:
            journal.close()


def _method_of(options: ScoreOptions, calibrator: Calibrator, scorer: Scorer) -> ScoringMethod:
    return ScoringMethod(
        calibrator,
        scorer,
        options.output,
        None if options.prior is None else Prior.parse(options.prior),
        arguments.choose_reward(options, scorer),
        options.latency,
    )


@dataclass(frozen=True)
class _ScoringJob:
    """What one call of :func:`score` is about, checked."""

    model: nn.Module
    plans: "Sequence[PruningPlan]"
    plan_digests: NDArray[np.void]
    images: ImageSets
    method: ScoringMethod
    seed: int
    resources: Resources
    options: ScoreOptions


def _race(job: _ScoringJob, spec: RaceSpec, engine: Engine, journal: RaceJournal | NoRaceJournal) -> ScoreTable:
    """The race, begun again at half the batch where memory ends, and its diagnosis."""
    warnings = preflight_warnings(job.model, spec.rungs, job.method.calibrator, spec.num_candidates, job.images)
    for warning in warnings:
        _log.warning(warning)
    if job.method.scorer.needs_dense:
        dense = halve_batch_until_it_fits(lambda size: dense_outputs(engine, size), spec.batch_size)
        engine.images = replace(engine.images, dense=dense)
    if (training := engine.images.training) is not None:
        dense = halve_batch_until_it_fits(lambda size: dense_outputs(engine, size, training), spec.batch_size)
        engine.images = replace(engine.images, training_dense=dense)
        with explain_out_of_memory("a training step of two images"):
            engine.train.check(engine.images)
    if journal.batch_size not in (None, spec.batch_size):
        spec = replace(spec, batch_size=journal.batch_size or spec.batch_size)
        warnings.append(f"an earlier run ran out of memory: statistics use batches of {spec.batch_size}")
    executor = start_executor(engine, job.plans, job.resources)
    try:
        while True:
            try:
                first, plans = len(spec.distinct), job.plans
                most = plans.propose.most(first) if isinstance(plans, GrowingPlans) else first
                progress = RaceProgress(job.options.progress, spec.rungs, most)
                result = race(spec, executor, journal, progress)
                table = summarise(result.spec, result, engine, seed=job.seed, warnings=warnings)
                uniform = job.plans.uniform if isinstance(job.plans, GrowingPlans) else None
                return with_uniform(table, uniform, result, executor)
            except OutOfMemoryDuringScoringError as error:
                spec = replace(spec, batch_size=_halved(spec.batch_size, error))
                warnings.append(f"out of memory: the race began again with batches of {spec.batch_size}")
                _log.warning(warnings[-1])
                journal.restart(spec.batch_size)
    finally:
        executor.close()


def _grown(plans: GrowingPlans, scores: NDArray[np.float64]) -> NDArray[np.int64]:
    """For each candidate the first one equal to it, those of the next generation among them."""
    plans.grow(scores)
    return originals(digests(plans))


def _log_widths(plans: "Sequence[PruningPlan]", numbers: NDArray[np.int64]) -> NDArray[np.float64]:
    """Of some candidates, ``(n, G)``; half a channel stands for none, where a residual block is left out."""
    widths = np.array([[*plans[number].widths.values()] for number in numbers.tolist()], np.float64)
    logs: NDArray[np.float64] = np.log(widths.clip(min=0.5))
    return logs


def _halved(batch_size: int, error: Exception) -> int:
    if batch_size < 4:
        msg = f"the device's memory does not hold a batch of {batch_size} images: {error}"
        raise EyasError(msg) from error
    return batch_size // 2


def _open_journal(job: _ScoringJob, spec: RaceSpec, engine: Engine) -> RaceJournal | NoRaceJournal:
    """The journal of this very race, where one is asked for."""
    if job.options.journal is None:
        return NoRaceJournal()
    components = [part for part in (job.method.calibrator, job.method.scorer, job.method.prior) if part is not None]
    settings = [
        *(component.model_dump_json() for component in components),
        str(job.method.output),
        str([rung.model_dump() for rung in spec.rungs]),
        f"{spec.batch_size} {spec.stop_margin} {torch.device(job.resources.device).type} {torch.__version__}",
        *(code_of(type(component)) for component in components),
        *(code_of(type(rung.recovery)) for rung in spec.rungs if rung.recovery is not None),
    ]
    if job.method.reward is not None:
        halves = np.array([[max(1, group.channels // 2) for group in engine.space.groups]])
        factor = job.method.reward.factors(engine.space, halves, job.method.latency)[0]
        settings.append(f"{job.method.reward.model_dump_json()} {factor}")
    if isinstance(job.plans, GrowingPlans):
        settings += [job.plans.propose.settings, code_of(type(job.plans.propose.sampler))]
    return RaceJournal(
        Path(job.options.journal),
        fingerprint=race_fingerprint(job.model, job.images, job.plan_digests, settings),
        batch_size=spec.batch_size,
        sample_outputs=sample_outputs(engine.example),
    )
