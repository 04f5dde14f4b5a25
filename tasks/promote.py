"""Promotion: the gates judge a version, which becomes champion or not; and the way back."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from eyas.errors import BadInputError, ParameterError, RefusedError
from eyas.operations.gates import PromotionDecision
from eyas.operations.tracking import MlflowStore, Version, alias_transaction, model_registry, promotion
from eyas.storage.digests import json_sha256
from eyas.storage.local_files import require_place
from tasks.dvc_cli import stage_keys
from tasks.judge_version import judge_version
from tasks.next_command import completed_commands
from tasks.tracking_store import candidate_alias, open_store
from tasks.workspace import Workspace


@task(task_run_name="promote", cache_policy=NO_CACHE, persist_result=False)
def promote_candidate(
    workspace: Workspace,
    number: str | None = None,
    force: str | None = None,
    *,
    of_lock: bool = False,
    report: Path | None = None,
) -> PromotionDecision:
    """:func:`promote` as a Prefect task; never retried: a gate that said no says no again."""
    with completed_commands(workspace):
        decision = promote(workspace, number, force, of_lock=of_lock, report=report)
    get_run_logger().info(decision.message)
    return decision


@task(task_run_name="rollback", cache_policy=NO_CACHE, persist_result=False)
def roll_back_champion(workspace: Workspace, reason: str = "") -> str:
    """:func:`roll_back` as a Prefect task."""
    with completed_commands(workspace):
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
        number: of the version, or its alias.
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
        require_place(report, "--report")
    store, name = open_store(workspace), workspace.params.register_.model
    if not dry_run:
        alias_transaction.recover(store, name)
    version = (
        version_of_lock(store, workspace)
        if of_lock
        else promotion.requested_version(store, name, number, candidate_alias(workspace))
    )
    champion = model_registry.get_alias(store, name, model_registry.CHAMPION)
    if champion is not None and champion.number == version.number:
        decision = PromotionDecision(name, version.number, champion.number, (), {}, dry_run=dry_run)
    else:
        decision = judge_version(store, workspace, version, champion, (force or "").strip())
        decision = replace(decision, dry_run=dry_run, limits=workspace.gates)
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
