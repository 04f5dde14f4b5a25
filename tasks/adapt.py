"""Adaptation: a registered network follows images of the field, and is proposed, refused, or taken back."""

import json
import logging
import shlex
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from eyas.adaptation.drift import DriftReport
from eyas.adaptation.drift.expected_help import FEWEST_IMAGES
from eyas.cli.interruption import uninterrupted
from eyas.cli.run_view import step
from eyas.errors import BadInputError, EyasError, ParameterError, RefusedError
from eyas.operations.tracking import MlflowStore, Version, alias_transaction, model_registry
from eyas.operations.tracking.adaptation_run import AdaptationRecord, adaptation_run, parent_of
from eyas.operations.tracking.alias_move import MAX_REASON, NO_REASON, ROLLED_BACK
from eyas.operations.tracking.model_registry import CHAMPION, PREVIOUS
from eyas.storage import redact
from tasks.adaptation_case import AdaptDecision, Case, Outcome, failures, open_case, require_fetched
from tasks.adapted_network import compare_with_parent, make_adapted, propose
from tasks.adapted_version import adaptation_key, made_before
from tasks.field_look import images_here, look_at_field
from tasks.image_fit import image_warning
from tasks.next_command import completed_commands
from tasks.promote import roll_back
from tasks.registered_network import RegisteredNetwork, open_registered
from tasks.stage import configure_torch, name_fields
from tasks.tracking_store import candidate_alias, open_store
from tasks.version_profile import in_profile_of
from tasks.workspace import Workspace

_log = logging.getLogger(__name__)
FIELDS = {
    "adapted_model": "the adapted network",
    **dict.fromkeys(("adapter", "follow"), "adapt.adapter"),
    "alpha": "adapt.rule.alpha",
    "batch_size": "adapt.batch_size",
    "detector": "adapt.detector",
    "format": "adapt.format",
    "images": "the images",
    "labels": "the labels",
    "model": "the network",
    "source_model": "the network before",
    "statistics": "the version's statistics",
    **dict.fromkeys(("source", "canary"), "the images of the score split"),
    "window": "the images of the score split (adapt.source_images)",
}
"""What the arguments of the library's functions are to whoever adapts."""
NO_IMAGES = "no images are named: give a folder or an address, or set adapt.images"


@task(task_run_name="adapt", cache_policy=NO_CACHE, persist_result=False)
def adapt_version(
    workspace: Workspace,
    images: str | None = None,
    number: str | None = None,
    *,
    labelled: bool = False,
    force: bool = False,
    reason: str = "asked",
) -> AdaptDecision:
    """:func:`adapt` as a Prefect task; never retried: what was refused is refused again."""
    with completed_commands(workspace):
        decision = adapt(workspace, images, number, labelled=labelled, force=force, reason=reason)
    get_run_logger().info(decision.message)
    return decision


def adapt(
    workspace: Workspace,
    images: str | None = None,
    number: str | None = None,
    *,
    labelled: bool = False,
    force: bool = False,
    reason: str = "asked",
) -> AdaptDecision:
    """Look at images of the field, and adapt a version (without a number the champion) to them where that helps.

    An adapted champion is taken back where they are nearer to what its parent holds, or labels show that it is worse.
    What is adapted is always the version that was trained, never one that was adapted: mistakes do not add up.

    Args:
        workspace: its score split says what is usual, its test images and gates decide.
        images: where they are; without it ``adapt.images``.
        number: of the version, or its alias.
        labelled: whether the images say what they show; then a sequential test judges, too, whatever is expected.
        force: adapt also where nothing drifted, or adaptation is not expected to help. The rule and the gates hold.
        reason: who or what asked; recorded.

    Raises:
        RefusedError: the rule or a gate said no; nothing is registered, and the message says why.
        ParameterError: no images are named, or the adapter ends in no network that can be exported.
        DataError: they cannot be used.
        BusyError: the champion was moved meanwhile.
    """
    params, store = workspace.params, open_store(workspace)
    address = images or params.adapt.images
    if address is None:
        raise ParameterError(NO_IMAGES)
    with _in_fields():
        params.adapt.adapter.require_foldable()
    configure_torch(params.runtime)
    alias_transaction.recover(store, params.register_.model)
    version = asked_version(store, params.register_.model, number)
    with _in_fields(), tempfile.TemporaryDirectory() as scratch:
        standing = open_registered(store, version, params, Path(scratch))
        with step("images") as shown:
            case = open_case(workspace, store, standing, address, scratch=Path(scratch), labelled=labelled)
            shown.note = f"{len(case.field):,} images of the field"
        told = image_warning(workspace, str(version), standing.exported.folder, images_here(address, workspace.root))
        if told:
            _log.warning(told.removeprefix("warning: "))
        tags = {"eyas.profile": workspace.name, "eyas.adapt.reason": reason}
        settings = params.adapt.model_dump(mode="json") | {"images": redact(address)}
        with ExitStack() as record:
            with uninterrupted():
                run = record.enter_context(adaptation_run(store, version, params={"adapt": settings}, tags=tags))
            run.log_json("images", list(case.field.sha256))
            run.log_json("held_out", [case.field.sha256[position] for position in sorted(case.held_out)])
            words = [*([redact(images)] if images else []), *(["--version", number] if number else [])]
            again = " ".join(["`eyas adapt", *map(shlex.quote, words), *(["--labels"] if labelled else [])])
            return _decide(case, standing, run, again, force=force)


def asked_version(store: MlflowStore, name: str, number: str | None) -> Version:
    """The version to adapt: of that number or alias, else the champion.

    Raises:
        BadInputError: there is none.
    """
    if number is not None:
        return model_registry.named_version(store, name, number)
    champion = model_registry.get_alias(store, name, CHAMPION)
    if champion is None:
        raise ParameterError(f"{name} has no champion to adapt: `eyas promote` makes one, or give --version")
    return champion


def open_made_in(workspace: Workspace, number: str | None, overrides: Sequence[str], name: str | None) -> Workspace:
    """The profile in which the version to adapt was made, see :func:`tasks.version_profile.in_profile_of`."""
    try:
        version = asked_version(open_store(workspace), workspace.params.register_.model, number)
    except BadInputError:  # which the adaptation itself tells
        return workspace
    return in_profile_of(version, workspace, overrides, name)


def look_before(workspace: Workspace, images: str | None, number: str | None, *, labelled: bool) -> None:
    """See what would refuse an adaptation, as far as the folder and the registry tell it: before Prefect is there.

    Raises:
        BadInputError: the images cannot be used, there is no such version, or the adapter ends in no network.
    """
    address = images or workspace.params.adapt.images
    if address is None:
        raise ParameterError(NO_IMAGES)
    with _in_fields():
        workspace.params.adapt.adapter.require_foldable()
        look_at_field(address, workspace.params, workspace.root, labelled=labelled)
    with completed_commands(workspace):
        asked_version(open_store(workspace), workspace.params.register_.model, number)
    require_fetched(workspace)


@contextmanager
def _in_fields() -> Iterator[None]:
    """Errors of the library speak of fields."""
    try:
        yield
    except EyasError as error:
        raise type(error)(name_fields(str(error), FIELDS)) from error


def _decide(
    case: Case, standing: RegisteredNetwork, run: AdaptationRecord, again: str, *, force: bool
) -> AdaptDecision:
    """``again`` begins the command that adapts to the same images once more."""
    parent, origin = parent_of(standing.version), standing
    if parent is not None:
        version = model_registry.get_version(case.store, *parent)
        origin = open_registered(case.store, version, case.workspace.params, case.scratch)
        with step("rule") as shown:
            verdict = case.verdict(origin.network.model, standing.network.model, case.everything, standing=True)
            worse = failures(verdict) if case.tells or verdict.by_labels else ""
            shown.note = f"{standing.version} beside {origin.version}: {'is taken back' if worse else 'stays'}"
        run.log_json("standing", asdict(verdict))
        if worse:
            return _take_back(case, standing, origin, run, worse)
    with step("drift") as shown:
        report = case.drift(standing, run)
        shown.note = report.sentence
    if not report.drift and not force:
        message = f"{standing.version} stays as it is: {unchanged(len(case.field))}"
        return _closed(case, run, "unchanged", message, standing.version, drift=report.sentence)
    key = adaptation_key(origin.version, case.field, case.section, len(case.followed))
    known = made_before(case.store, origin.version, key)
    if known is not None:
        if ROLLED_BACK in known.tags:
            raise RefusedError(_rolled_back(known, case.section.adapter.kind, again))
        message = f"{known} has followed these images already: nothing new is registered"
        return _closed(case, run, "unchanged", message, known, drift=report.sentence)
    if not (report.adapt or force or case.field.labels is not None):
        msg = f"{report.sentence}; {report.advice}; {again} --force` tries it all the same: rule and gates still decide"
        raise RefusedError(msg)
    with step("adapt") as shown:
        adapted = make_adapted(case, origin)
        verdict = case.verdict(origin.network.model, adapted, case.judged)
        shown.note = f"{case.section.adapter.kind}, {'kept' if verdict.keep else 'refused'} by the rule"
    beside = compare_with_parent(case, origin, adapted)
    details = [*verdict.lines(), *beside.lines()]
    run.log_json("adapted", asdict(verdict) | {"compared": details})
    if not verdict.keep:
        kind, more = case.section.adapter.kind, "labels of some" if case.field.labels is None else "labels of more"
        msg = (
            f"{report.sentence}; adapted by {kind} it is refused by the revert rule, which decides: "
            f"{failures(verdict)}; {standing.version} stays as it is: give more images, another adapter "
            f"({again} --adapter {other_adapter(kind)}`), {more} of them (--labels), or set the limit "
            f"(adapt.rule)"
        )
        raise RefusedError(msg)
    if not (verdict.by_labels or report.adapt or force):
        msg = (
            f"{report.sentence}; {report.advice}, and the {len(case.field):,} images have too few labels to show the "
            f"contrary: label more; {again} --force` leaves it to the answers alone"
        )
        raise RefusedError(msg)
    version = propose(case, origin, adapted, verdict, beside, record=run)
    message = f"{version} is proposed: {origin.version} that follows {len(case.field):,} images of the field"
    message += f"; {overridden(case, report)}" if force else ""
    return _closed(case, run, "proposed", message, version, drift=report.sentence, details=details)


def _take_back(
    case: Case, standing: RegisteredNetwork, origin: RegisteredNetwork, run: AdaptationRecord, reason: str
) -> AdaptDecision:
    """The parent takes the place of an adapted champion that fits no more: in one step back, or as candidate."""
    store, name = case.store, standing.version.name
    champion, previous = (model_registry.get_alias(store, name, alias) for alias in (CHAMPION, PREVIOUS))
    if champion is None or champion.number != standing.version.number:
        promote = f"eyas promote --version {origin.version.number}"
        way = f"`{promote}` asks the gates about that one"
        msg = f"{standing.version} is no champion, and the rule would take it back on these images: {reason}; {way}"
        raise RefusedError(msg)
    report = case.drift(origin, run)
    outcome: Outcome = "proposed"
    if previous is not None and previous.number == origin.version.number:
        outcome = "reverted"
        head = roll_back(case.workspace, f"by the rule, on {len(case.field):,} images: {reason}"[:MAX_REASON])
    else:
        alias = candidate_alias(case.workspace).name_in(store, name)
        model_registry.set_alias(store, name, alias, origin.version.number)
        head = f"{origin.version} is proposed in the place of {standing.version}, the champion that was adapted from it"
    return _closed(case, run, outcome, f"{head}: {reason}", origin.version, drift=f"to its parent {report.sentence}")


def overridden(case: Case, report: DriftReport) -> str:
    """What ``force`` has overridden, in words."""
    if report.drift and report.adapt:
        return "--force overrode nothing: it was expected to help"
    if report.drift and case.field.labels is not None:
        return "--force overrode nothing: labels judge, whatever is expected"
    return f"--force overrode this advice: {report.advice}; the rule and the gates were not overridden"


def unchanged(images: int) -> str:
    """What it means that no drift was seen in so many images."""
    if images < FEWEST_IMAGES:
        return f"{images} images are too few to tell whether anything changed; collect at least {FEWEST_IMAGES}"
    return "the images are as it knows them"


def other_adapter(kind: str) -> str:
    """An adapter to try in the place of one that was refused."""
    return "ada_bn" if kind == "alpha_bn" else "alpha_bn"


def _closed(
    case: Case, run: AdaptationRecord, outcome: Outcome, message: str, version: Version, *, drift: str = "",
    details: Sequence[str] = (),
) -> AdaptDecision:  # fmt: skip
    run.close(outcome, message)
    images = len(case.field)
    return AdaptDecision(outcome, message, version.name, version.number, drift, images, run.run_id, tuple(details))


def _rolled_back(version: Version, kind: str, again: str) -> str:
    """That a version followed the images and is not proposed again, and what can be done."""
    reason = json.loads(version.tags[ROLLED_BACK])["reason"] or NO_REASON
    promote = f"eyas promote --version {version.number} --force 'WHY'"
    return (
        f"{version} has followed these images already, and was rolled back ({reason}): nothing new is registered; "
        f"`{promote}` takes it all the same, {again} --adapter {other_adapter(kind)}` makes another"
    )
