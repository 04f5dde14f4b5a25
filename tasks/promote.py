"""Promotion: candidate, champion and dense network answer the same test images in one run; the gates decide."""

import json
import os
import tempfile
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from eyas.config import ExportParams
from eyas.data import Split, open_dataset
from eyas.deploy import latency
from eyas.deploy.exported_model import ExportedModel
from eyas.errors import BadInputError, EyasError, ParameterError, RefusedError
from eyas.operations.gates import Gate, MeasuredNetwork, PromotionDecision, judge
from eyas.operations.tracking import MlflowStore, Version, alias_transaction, model_registry, promotion
from eyas.storage.digests import json_sha256
from tasks.dvc_cli import stage_keys
from tasks.record import open_store
from tasks.workspace import Workspace

Networks = dict[str, tuple[ExportedModel, str]]
"""By role (candidate, dense, champion): the version's files, and which ONNX file of them."""


@task(task_run_name="promote", tags=["eyas"], cache_policy=NO_CACHE, persist_result=False)
def promote_candidate(
    workspace: Workspace,
    number: str | None = None,
    force: str | None = None,
    *,
    of_lock: bool = False,
    report: Path | None = None,
) -> PromotionDecision:
    """:func:`promote` as a Prefect task; never retried: a gate that said no says no again."""
    decision = promote(workspace, number, force, of_lock=of_lock, report=report)
    get_run_logger().info(decision.message)
    return decision


@task(task_run_name="rollback", tags=["eyas"], cache_policy=NO_CACHE, persist_result=False)
def roll_back_champion(workspace: Workspace, reason: str = "") -> str:
    """:func:`roll_back` as a Prefect task."""
    message = roll_back(workspace, reason)
    get_run_logger().info(message)
    return message


def promote(
    workspace: Workspace,
    number: str | None = None,
    force: str | None = None,
    *,
    of_lock: bool = False,
    dry_run: bool = False,
    report: Path | None = None,
) -> PromotionDecision:
    """Compare a version (without a number the candidate) with the champion, and make it champion if every gate holds.

    Args:
        workspace: its test images and ``promote`` parameters decide.
        number: of the version.
        force: a written reason that overrides the gates; it is recorded.
        of_lock: take the version that the workspace's ``dvc.lock`` registered.
        dry_run: judge only; nothing is recorded, nothing moves, a refusal is returned.
        report: where the decision is written, as JSON if the name ends in ``.json``, else as Markdown.

    Raises:
        RefusedError: a gate said no; champion and aliases are as they were.
        ParameterError: ``report`` names no place for a file; nothing was judged.
        BusyError: the champion changed meanwhile.
        ChecksumError: a version's files are not what was registered.
    """
    if force is not None and not force.strip():
        msg = "--force needs a written reason: --force 'why the gates do not count this time'"
        raise ParameterError(msg)
    if report is not None:
        require_place(report)
    store, name = open_store(workspace), workspace.params.register_.model
    if not dry_run:
        alias_transaction.recover(store, name)
    version = version_of_lock(store, workspace) if of_lock else promotion.requested_version(store, name, number)
    champion = model_registry.get_alias(store, name, model_registry.CHAMPION)
    if champion is not None and champion.number == version.number:
        decision = PromotionDecision(name, version.number, champion.number, (), {}, dry_run=dry_run)
    else:
        decision = replace(decide(store, workspace, version, champion, (force or "").strip()), dry_run=dry_run)
        if not dry_run:
            _enact(store, version, champion, decision)
    if report is not None:
        write_decision(report, decision)
    if not (decision.promoted or dry_run):
        raise RefusedError(decision.message)
    return decision


def _enact(store: MlflowStore, version: Version, champion: Version | None, decision: PromotionDecision) -> None:
    if decision.promoted:
        promotion.promote(store, version, champion, decision.as_dict())
    else:
        promotion.record_refusal(store, version, decision.as_dict())


def version_of_lock(store: MlflowStore, workspace: Workspace) -> Version:
    """The version that was registered from the stages of the workspace's ``dvc.lock``.

    Raises:
        BadInputError: no version was, or the lock file lacks a stage.
    """
    name = workspace.params.register_.model
    stages = json_sha256(stage_keys(workspace.folder))
    version = model_registry.find_version(store, name, stages)
    if version is None:
        known = ", ".join(known.number for known in model_registry.list_versions(store, name)) or "none"
        msg = (
            f"no version of {name} was registered from this dvc.lock (digest of its stages {stages[:12]}; registered "
            f"versions: {known}): run the pipeline with this lock file, or name a version with --version"
        )
        raise BadInputError(msg)
    return version


def require_place(path: Path) -> None:
    """Where a decision shall be written, a file can be: asked before anything moves.

    Raises:
        ParameterError: it is a folder, or nothing can be written there.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        msg = f"--report {path}: its folder cannot be made: {error.strerror}"
        raise ParameterError(msg) from error
    if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        msg = f"--report {path}: {'is a folder' if path.is_dir() else 'no permission to write there'}; name a file"
        raise ParameterError(msg)


def write_decision(path: Path, decision: PromotionDecision) -> None:
    """Leave a decision as a file."""
    as_json = path.suffix == ".json"
    path.write_text(json.dumps(decision.as_dict(), indent=2) + "\n" if as_json else decision.markdown())


def roll_back(workspace: Workspace, reason: str = "") -> str:
    """Make the previous champion the champion again and say so.

    Raises:
        RefusedError: there is none.
    """
    name = workspace.params.register_.model
    move, resumed = promotion.roll_back(open_store(workspace), name, reason)
    head = f"{name}: version {move.champion} is champion again, version {move.before} was rolled back"
    if not resumed:
        return head
    when = datetime.fromtimestamp(move.time, UTC).strftime("%Y-%m-%d %H:%M UTC")
    return f"{head}: this finished the rollback of {when}, which was cut off; for one step further repeat it"


def decide(
    store: MlflowStore, workspace: Workspace, version: Version, champion: Version | None, force: str
) -> PromotionDecision:
    """Evaluate and judge; changes nothing."""
    settings = workspace.params.export
    with tempfile.TemporaryDirectory() as scratch:
        candidate = fetch(store, version, Path(scratch))
        networks: Networks = {"candidate": (candidate, "model.onnx"), "dense": (candidate, "dense.onnx")}
        special = never_rolled_back(version)
        if champion is not None:
            champions, gates = compared(store, version, candidate, champion, Path(scratch))
            networks, special = networks | champions, special + gates
        measured = evaluate(networks, open_dataset(workspace.artifacts / "fetch").split("test"), settings)
        parity = candidate.parity_within(settings.max_difference, settings.min_agreement)
    gates, numbers = judge(
        workspace.params.promote,
        measured["candidate"],
        dense=measured["dense"],
        champion=measured.get("champion"),
        parity=parity,
    )
    number = champion.number if champion else None
    return PromotionDecision(version.name, version.number, number, (*special, *gates), numbers, force)


def fetch(store: MlflowStore, version: Version, scratch: Path) -> ExportedModel:
    """A version's files, each checked against what was registered."""
    return ExportedModel.open(model_registry.download(store, version, scratch / version.number))


def compared(
    store: MlflowStore, version: Version, candidate: ExportedModel, champion: Version, scratch: Path
) -> tuple[Networks, tuple[Gate, ...]]:
    """The champion as far as it can be compared with the candidate, and what speaks against replacing it.

    A champion whose files are lost must not stay for ever: replacing it takes force.
    """
    try:
        present = fetch(store, champion, scratch)
        gates = other_files(version, champion) + same_task(candidate, present)
    except EyasError as error:
        words = f"the champion, version {champion.number}, cannot be compared with: {error}"
        return {}, (Gate("champion_files", 0.0, 1.0, False, words),)
    return ({"champion": (present, "model.onnx")} if candidate.answers_as(present) else {}), gates


def evaluate(networks: Networks, test: Split, settings: ExportParams) -> dict[str, MeasuredNetwork]:
    """Every network on all test images, and their latencies side by side; by role."""
    pixels_NCHW, labels = test.images(), test.labels.numpy()
    files = {role: model.folder / file for role, (model, file) in networks.items()}
    shape, runs = tuple(pixels_NCHW.shape[1:]), settings.latency_runs
    measured = latency.measure(files, shape, runs=runs, batch=settings.latency_batch, threads=settings.threads)
    return {
        role: MeasuredNetwork(
            answers=model.answers(pixels_NCHW, file),
            labels=labels,
            latency=measured["milliseconds"][role]["median"],
            bytes=files[role].stat().st_size,
        )
        for role, (model, file) in networks.items()
    }


def never_rolled_back(version: Version) -> tuple[Gate, ...]:
    """A version that was taken back once does not return by itself."""
    mark = version.tags.get(promotion.ROLLED_BACK)
    if mark is None:
        return ()
    return (Gate("rolled_back", 1.0, 0.0, False, f"was rolled back before ({mark})"),)


def other_files(candidate: Version, champion: Version) -> tuple[Gate, ...]:
    """The champion under another number is no new champion."""
    if candidate.manifest_digest != champion.manifest_digest:
        return ()
    words = f"has the same files as the champion, version {champion.number}: there is nothing to gain"
    return (Gate("other_files", 0.0, 1.0, False, words),)


def same_task(candidate: ExportedModel, champion: ExportedModel) -> tuple[Gate, ...]:
    """Networks for other images or other classes cannot be compared; replacing one by the other takes force."""
    if candidate.answers_as(champion):
        return ()
    words = f"the champion takes {champion.task} and the candidate {candidate.task}: their answers do not compare"
    return (Gate("same_task", 0.0, 1.0, False, words),)
