"""Promotion: candidate, champion and dense network answer the same test images in one run; the gates decide."""

import math
import tempfile
from pathlib import Path

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from eyas import latency
from eyas.config import ExportParams
from eyas.data import Split, open_dataset
from eyas.deployed import Deployed
from eyas.errors import ParameterError, RefusedError
from eyas.gates import Decision, Evaluation, Gate, judge
from eyas.tracking import Store, Version, promotion, registry
from tasks.record import open_store
from tasks.workspace import Workspace

Networks = dict[str, tuple[Deployed, str]]
"""By role (candidate, dense, champion): the version's files, and which ONNX file of them."""


@task(task_run_name="promote", tags=["eyas"], cache_policy=NO_CACHE, persist_result=False)
def promote_candidate(workspace: Workspace, number: str | None = None, force: str | None = None) -> Decision:
    """:func:`promote` as a Prefect task; never retried: a gate that said no says no again."""
    decision = promote(workspace, number, force)
    get_run_logger().info(decision.message)
    return decision


@task(task_run_name="rollback", tags=["eyas"], cache_policy=NO_CACHE, persist_result=False)
def roll_back_champion(workspace: Workspace, reason: str = "") -> str:
    """:func:`roll_back` as a Prefect task."""
    message = roll_back(workspace, reason)
    get_run_logger().info(message)
    return message


def promote(workspace: Workspace, number: str | None = None, force: str | None = None) -> Decision:
    """Compare a version (without a number the candidate) with the champion, and make it champion if every gate holds.

    Args:
        workspace: its test images and ``promote`` parameters decide.
        number: of the version.
        force: a written reason that overrides the gates; it is recorded.

    Raises:
        RefusedError: a gate said no; champion and aliases are as they were.
        BusyError: the champion changed meanwhile.
        ChecksumError: a version's files are not what was registered.
    """
    if force is not None and not force.strip():
        msg = "--force needs a written reason: --force 'why the gates do not count this time'"
        raise ParameterError(msg)
    store, name = open_store(workspace), workspace.params.register_.model
    version = promotion.pick(store, name, number)
    champion = registry.get_alias(store, name, registry.CHAMPION)
    if champion is not None and champion.number == version.number:
        return Decision(name, version.number, champion.number, (), {})
    decision = decide(store, workspace, version, champion, (force or "").strip())
    promotion.record_decision(store, version, decision.as_dict())
    if not decision.promoted:
        raise RefusedError(decision.message)
    promotion.move_champion(store, version, champion)
    promotion.allow_again(store, version)
    return decision


def roll_back(workspace: Workspace, reason: str = "") -> str:
    """Make the previous champion the champion again and say so.

    Raises:
        RefusedError: there is none.
    """
    name = workspace.params.register_.model
    now, gone = promotion.roll_back(open_store(workspace), name, reason)
    return f"{name}: version {now.number} is champion again, version {gone.number} was rolled back"


def decide(store: Store, workspace: Workspace, version: Version, champion: Version | None, force: str) -> Decision:
    """Evaluate and judge; changes nothing."""
    settings = workspace.params.export
    with tempfile.TemporaryDirectory() as scratch:
        candidate = fetch(store, version, Path(scratch))
        networks: Networks = {"candidate": (candidate, "model.onnx"), "dense": (candidate, "dense.onnx")}
        special = never_rolled_back(version)
        if champion is not None:
            present = fetch(store, champion, Path(scratch))
            special += same_task(candidate, present)
            if candidate.answers_as(present):
                networks["champion"] = (present, "model.onnx")
        found = evaluate(networks, open_dataset(workspace.artifacts / "fetch").split("test"), settings)
        parity = candidate.parity_within(settings.max_difference, settings.min_agreement)
    gates, numbers = judge(
        workspace.params.promote,
        found["candidate"],
        dense=found["dense"],
        champion=found.get("champion"),
        parity=parity,
    )
    number = champion.number if champion else None
    return Decision(version.name, version.number, number, (*special, *gates), numbers, force)


def fetch(store: Store, version: Version, scratch: Path) -> Deployed:
    """A version's files, each checked against what was registered."""
    return Deployed.open(registry.download(store, version, scratch / version.number))


def evaluate(networks: Networks, test: Split, settings: ExportParams) -> dict[str, Evaluation]:
    """Every network on all test images, and their latencies side by side; by role."""
    pixels_NCHW, labels = test.images(), test.labels.numpy()
    files = {role: deployed.folder / file for role, (deployed, file) in networks.items()}
    shape, runs = tuple(pixels_NCHW.shape[1:]), settings.latency_runs
    measured = latency.measure(files, shape, runs=runs, batch=settings.latency_batch, threads=settings.threads)
    return {
        role: Evaluation(
            answers=deployed.answers(pixels_NCHW, file),
            labels=labels,
            latency=measured["milliseconds"][role]["median"],
            bytes=files[role].stat().st_size,
        )
        for role, (deployed, file) in networks.items()
    }


def never_rolled_back(version: Version) -> tuple[Gate, ...]:
    """A version that was taken back once does not return by itself."""
    mark = version.tags.get(promotion.ROLLED_BACK)
    if mark is None:
        return ()
    return (Gate("rolled_back", 1.0, 0.0, False, f"was rolled back before ({mark})"),)


def same_task(candidate: Deployed, champion: Deployed) -> tuple[Gate, ...]:
    """Networks for other images or other classes cannot be compared; replacing one by the other takes force."""
    if candidate.answers_as(champion):
        return ()
    words = f"the champion takes {champion.task} and the candidate {candidate.task}: their answers do not compare"
    return (Gate("same_task", 0.0, 1.0, False, words),)


def status_lines(workspace: Workspace, runs: int = 8) -> list[str]:
    """Champion, previous, candidate and the last runs, a line each."""
    status = promotion.read_status(open_store(workspace), workspace.params.register_.model, runs)
    aliases = {"champion": status.champion, "previous": status.previous, "candidate": status.candidate}
    lines = [f"{alias:10} {_describe(version)}" for alias, version in aliases.items()]
    return [f"model      {status.name}", *lines, "", *(_run_line(run) for run in status.runs)]


def _describe(version: Version | None) -> str:
    if version is None:
        return "none"
    accuracy = version.metrics.get("finetune.test_accuracy", math.nan)
    known = "" if math.isnan(accuracy) else f", test accuracy {100 * accuracy:.2f} %"
    reason = version.tags.get("eyas.reason", "not judged yet")
    return f"version {version.number}{known}; {reason}"


def _run_line(run: promotion.RunSummary) -> str:
    from datetime import UTC, datetime

    when = datetime.fromtimestamp(run.started / 1000, UTC).strftime("%Y-%m-%d %H:%M")
    why = run.why.split("\n", 1)[0]
    return f"{when}  {run.kind:9}  {run.status:9}  {run.name}{'  ' + why if why else ''}"
