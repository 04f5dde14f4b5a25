"""``eyas.score``: from a network, its plans and two sets of images to a ranked table.

The method is EagleEye's adaptive batch-norm (Li et al. 2020, arXiv:2007.02491, section 3) with pooled statistics,
ranked by cross-entropy, in a race over rungs; docs/scoring.md has the measurements behind these choices.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from eyas.calibration import Calibrator
from eyas.calibration.batchnorm import batch_norms
from eyas.errors import EyasError
from eyas.parallel import cores
from eyas.progress import Progress, silent
from eyas.scoring import arguments, diagnostics
from eyas.scoring.candidates import digests, originals
from eyas.scoring.engine import EXAMPLES, PROBE_IMAGES, Engine, Settings, dense_outputs, probe
from eyas.scoring.image_sets import Images
from eyas.scoring.preflight import doubts
from eyas.scoring.race.journal import Journal, NoJournal
from eyas.scoring.race.progress import RaceWatcher
from eyas.scoring.race.race import Course, Finish, race
from eyas.scoring.race.race_fingerprint import answers, code_of, race_fingerprint
from eyas.scoring.race.rungs import Rung, fit_rungs, parse_rungs
from eyas.scoring.race.score_table import ScoreTable
from eyas.scoring.scorers import Scorer
from eyas.scoring.workers.dispatch import DividedCrew
from eyas.scoring.workers.local import LocalCrew, OutOfMemoryDuringScoringError, room_for, while_memory_lasts
from eyas.scoring.workers.pool import ProcessCrew
from eyas.scoring.workers.ray import RayCrew
from eyas.scoring.workers.transfer import pack

if TYPE_CHECKING:
    from eyas.pruning.plan import PruningPlan
    from eyas.pruning.space import SearchSpace

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Staff:
    """Who does the work; a result does not depend on it beyond rounding."""

    workers: int
    threads: int | None
    """Of each worker; without it torch's own setting."""
    cluster: str | None


@dataclass(frozen=True)
class Job:
    """What one call of :func:`score` is about."""

    model: nn.Module
    space: "SearchSpace"
    plans: "Sequence[PruningPlan]"
    images: Images
    rungs: tuple[Rung, ...]
    settings: Settings
    device: str
    seed: int
    staff: Staff


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
    calibrator: Calibrator | str = "pooled",
    scorer: Scorer | str | None = None,
    batch_size: int = 128,
    output: int | str | None = None,
    stop_margin: float = 4.0,
    workers: int = 1,
    threads: int | None = None,
    cluster: str | None = None,
    journal: Path | str | None = None,
    progress: Progress = silent,
) -> ScoreTable:
    """Score pruning plans by adaptive batch-norm; the network itself is not touched.

    Args:
        model: the dense network that ``space`` was traced from.
        space: its search space.
        plans: the candidates; :class:`WidthPlans` makes them lazily from a width matrix.
        calibration_images: normalised floats ``(N, C, H, W)`` that re-estimate statistics in held-out rungs; None or
            empty where there is no such rung, or nothing to calibrate.
        scoring_images: normalised floats ``(M, C, H, W)``, disjoint from them; both are cast to the weights' dtype.
        scoring_labels: integers ``(M,)``, ``(M, ...)`` for answers per pixel, from 0 to K - 1; without them candidates
            are compared to the dense network's outputs.
        rungs: images, mode and survivors of each round, the last of several held out; :data:`DEFAULT_RUNGS` without.
        device: ``cpu``, ``cuda`` or ``cuda:N``.
        seed: shuffles the images.
        calibrator: who re-estimates the statistics in held-out rungs.
        scorer: what ranks; without one ``cross_entropy`` with labels, ``dense_kl`` without.
        batch_size: images per batch of the statistics: part of the score.
        output: which output is judged where the network has several.
        stop_margin: a leader this many standard errors ahead of the others goes to the last rung alone.
        workers: processes (on a cluster actors) that score side by side, no more than candidates; GPUs are dealt out
            among them.
        threads: torch threads of each worker; without it the cores divided by ``workers``, for one worker torch's own
            setting.
        cluster: ``ray``, or the address of a Ray cluster.
        journal: file that finished measurements are kept in, so that a killed call can be repeated and goes on; one
            of another race is begun anew, any other file refused.
        progress: told how far the race is.

    Returns:
        A table aligned with ``plans``; ``table.winner`` is the best, ``table.warnings`` says what to doubt.

    Raises:
        PlanError: there are no plans, or plans of another space.
        DataError: images, labels or outputs cannot be used, or a scorer lacks the labels or the layer it needs.
        BusyError: another process writes the same journal.
        ParameterError: settings or rungs that make no sense, or a network that workers cannot be sent.
        MissingExtraError: ``cluster`` without Ray.
        StorageError: the journal cannot be written any more.
        EyasError: the device's memory does not hold two images.
    """
    arguments.check_plans(plans, space)
    arguments.check_settings(
        device=device,
        on_cluster=cluster is not None,
        workers=workers,
        threads=threads,
        batch_size=batch_size,
        seed=seed,
        stop_margin=stop_margin,
    )
    settings = Settings(
        arguments.parsed(Calibrator, calibrator), arguments.choose_scorer(scorer, scoring_labels), output
    )
    images = arguments.prepared(model, calibration_images, scoring_images, scoring_labels, seed=seed)
    wanted = parse_rungs(rungs)
    arguments.check_final_rung(wanted, model, images.calibration)
    available = len(images.calibration) if batch_norms(model) else None
    fitted = fit_rungs(wanted, calibration=available, scoring=len(images.scoring))
    used = images.up_to(max(PROBE_IMAGES, *(rung.cost() for rung in fitted)))
    marks = digests(plans)
    course = Course(len(plans), originals(marks), fitted, batch_size, stop_margin)
    staff = _staff(min(workers, len(np.unique(course.original))), threads, cluster, device)
    job = Job(model, space, plans, used, fitted, settings, device, seed, staff)
    here = device if cluster is None or torch.cuda.is_available() else "cpu"  # the cluster's machines have the GPUs
    with _apart(staff.threads):
        with room_for("the dense network and the images"):
            engine = Engine(model, space, used, settings, device=here)
        arguments.check_answers(engine.example, len(images.scoring[:EXAMPLES]), images.labels)
        notes = _open_journal(job, course, marks, engine.example, journal)
        try:
            return _run(job, course, engine, notes, progress)
        finally:
            notes.close()


def _staff(workers: int, threads: int | None, cluster: str | None, device: str) -> Staff:
    """The cores divided among the workers, where nothing else is asked for."""
    shared = cores()
    staff = Staff(workers, threads or (max(1, shared // workers) if workers > 1 or cluster else None), cluster)
    if cluster is None and workers > 1 and device == "cpu" and workers * (staff.threads or 1) > shared:
        _log.warning(
            "%d workers of %d threads share %d cores, which is slower than one worker per core",
            workers,
            staff.threads,
            shared,
        )
    return staff


@contextmanager
def _apart(threads: int | None) -> Iterator[None]:
    """So many threads inside, and none of the caller's autocast, as in a worker; all as before afterwards."""
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads or before)
        with torch.autocast("cpu", enabled=False), torch.autocast("cuda", enabled=False):
            yield
    finally:
        torch.set_num_threads(before)


def _run(job: Job, course: Course, engine: Engine, notes: Journal | NoJournal, progress: Progress) -> ScoreTable:
    """The race, begun again at half the batch where memory ends, and its diagnosis."""
    warnings = doubts(job.model, course.rungs, job.settings.calibrator, course.count, job.images)
    for warning in warnings:
        _log.warning(warning)
    if job.settings.scorer.needs_dense:
        dense = while_memory_lasts(lambda size: dense_outputs(engine, size), course.batch_size)
        engine.images = replace(engine.images, dense=dense)
    if notes.batch_size not in (None, course.batch_size):
        course = replace(course, batch_size=notes.batch_size or course.batch_size)
        warnings.append(f"an earlier run ran out of memory: statistics use batches of {course.batch_size}")
    crew = _hire(job, engine)
    try:
        while True:
            try:
                watcher = RaceWatcher(progress, course.rungs, len(np.unique(course.original)))
                finish = race(course, crew, notes, watcher)
                return _finish(job, course, engine, finish, warnings)
            except OutOfMemoryDuringScoringError as error:
                course = replace(course, batch_size=_halve(course.batch_size, error))
                warnings.append(f"out of memory: the race began again with batches of {course.batch_size}")
                _log.warning(warnings[-1])
                notes.restart(course.batch_size)
    finally:
        crew.close()


def _hire(job: Job, engine: Engine) -> LocalCrew | DividedCrew:
    """This process, several, or a cluster's."""
    staff = job.staff
    if staff.workers == 1 and staff.cluster is None:
        return LocalCrew(engine, job.plans)
    blueprint, tensors = pack(engine.model, job.space, job.settings, engine.images)
    how: dict[str, Any] = {"workers": staff.workers, "device": job.device, "threads": torch.get_num_threads()}
    if staff.cluster is None:
        return ProcessCrew(blueprint, tensors, job.plans, **how)
    return RayCrew(blueprint, tensors, job.plans, address=staff.cluster, **how)


def _finish(job: Job, course: Course, engine: Engine, finish: Finish, warnings: list[str]) -> ScoreTable:
    """Numbers about the race, warnings, and the table."""
    arguments.check_scores(finish.standings.values["score"], finish.standings.rung, job.model)
    numbers: dict[str, Any] = {
        "candidates": course.count,
        "distinct": len(finish.first[0]),
        "entered": finish.entered,
        "margins": finish.margins,
        "decided_early": finish.early,
        "rank_stability": diagnostics.stability(finish.climbed),
        **diagnostics.spread(*finish.first),
        "not_finite": finish.standings.not_finite(np.unique(course.original)),
    }
    found = _probe(engine, course.batch_size)
    further = diagnostics.warnings_for(numbers, found, len(finish.first[0]))
    for warning in further:
        _log.warning(warning)
    settings = {
        "batch_size": course.batch_size,
        "seed": job.seed,
        "output": job.settings.output,
        "stop_margin": course.stop_margin,
        "precision": engine.precision,
        "calibrator": job.settings.calibrator.model_dump(),
        "scorer": job.settings.scorer.model_dump(),
        "rungs": [rung.model_dump() for rung in course.rungs],
    }
    return finish.standings.table(
        course.original,
        settings=settings,
        diagnostics=diagnostics.summary(numbers, found),
        warnings=tuple(dict.fromkeys([*warnings, *further])),
    )


def _probe(engine: Engine, batch_size: int) -> diagnostics.Probe | None:
    """The unpruned network through the same procedure, where there is something to judge it by."""
    if engine.images.labels is None or (engine.has_statistics and not len(engine.images.calibration)):
        return None
    return while_memory_lasts(lambda size: probe(engine, size), batch_size)


def _halve(batch_size: int, error: Exception) -> int:
    if batch_size < 4:
        msg = f"the device's memory does not hold a batch of {batch_size} images: {error}"
        raise EyasError(msg) from error
    return batch_size // 2


def _open_journal(
    job: Job, course: Course, marks: NDArray[np.void], example: Tensor, path: Path | str | None
) -> Journal | NoJournal:
    if path is None:
        return NoJournal()
    words = [
        job.settings.calibrator.model_dump_json(),
        job.settings.scorer.model_dump_json(),
        str(job.settings.output),
        str([rung.model_dump() for rung in job.rungs]),
        f"{course.batch_size} {course.stop_margin} {torch.device(job.device).type} {torch.__version__}",
        *(code_of(type(part)) for part in (job.settings.calibrator, job.settings.scorer)),
    ]
    fingerprint = race_fingerprint(job.model, job.images, marks, words)
    return Journal(Path(path), fingerprint=fingerprint, batch_size=course.batch_size, answers=answers(example))
