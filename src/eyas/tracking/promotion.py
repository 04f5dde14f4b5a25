"""Moving the champion: forward when a decision says so, back in one step; the order survives a crash between steps.

``previous`` is set before ``champion``: whoever is cut off in between leaves the old champion in place. MLflow
keeps no history of aliases, so each champion's tag names the one before it.
"""

import json
import time
from dataclasses import dataclass
from typing import Any

from eyas.errors import BadInputError, BusyError, RefusedError
from eyas.tracking.registry import (
    CANDIDATE,
    CHAMPION,
    PREVIOUS,
    Version,
    get_alias,
    get_version,
    set_alias,
    tag_version,
)
from eyas.tracking.runs import finish_run, log_numbers
from eyas.tracking.store import Store, retry

BEFORE = "eyas.previous_champion"
ROLLED_BACK = "eyas.rolled_back"
DECISION = "eyas.decision"
OUTCOME = "eyas.outcome"


def record_decision(store: Store, version: Version, decision: dict[str, Any]) -> str:
    """Keep a decision as a run of its own (metrics, ``decision.json``) and as tags of the version; the run's id."""
    tags = {"eyas.kind": "promotion", "eyas.model": version.name, "eyas.version": version.number}
    tags |= {OUTCOME: decision["outcome"], "eyas.reason": decision["message"][:5000]}
    name = f"promote-{version.name}-{version.number}"
    run = retry(store.client.create_run, store.experiment_id, run_name=name, tags=tags)
    run_id = str(run.info.run_id)
    log_numbers(store, run_id, {f"promote.{name}": value for name, value in decision["numbers"].items()})
    retry(store.client.log_dict, run_id, decision, "decision.json")
    finish_run(store, run_id)
    short = {name: decision[name] for name in ("outcome", "champion", "forced")}
    short["gates"] = {gate["name"]: [gate["value"], gate["limit"], gate["passed"]] for gate in decision["gates"]}
    tag_version(store, version, {DECISION: json.dumps(short), OUTCOME: decision["outcome"]})
    tag_version(store, version, {"eyas.reason": decision["message"], "eyas.decision_run": run_id})
    return run_id


def move_champion(store: Store, version: Version, expected: Version | None) -> None:
    """Make ``version`` the champion and keep the old one as ``previous``.

    Args:
        store: an opened store.
        version: the new champion.
        expected: the champion the decision was made against.

    Raises:
        BusyError: the champion is another one by now; decide again.
    """
    with store.lock("registry"):
        now = get_alias(store, version.name, CHAMPION)
        if _number(now) == version.number:
            return
        if _number(now) != _number(expected):
            msg = (
                f"{version.name}: the champion became version {_number(now)} while version {version.number} was "
                f"compared with {_number(expected)}; promote again"
            )
            raise BusyError(msg)
        if now is not None:
            tag_version(store, version, {BEFORE: now.number})
            set_alias(store, version.name, PREVIOUS, now.number)
        set_alias(store, version.name, CHAMPION, version.number)


def roll_back(store: Store, name: str, reason: str = "") -> tuple[Version, Version]:
    """Make ``previous`` the champion again; returns (the champion now, the one rolled back).

    ``previous`` then points at what the restored one had replaced, so that a further rollback goes further back.
    The version that was rolled back carries a tag, and is not promoted again without force.

    Raises:
        RefusedError: there is nothing to go back to.
    """
    with store.lock("registry"):
        champion = get_alias(store, name, CHAMPION)
        previous = _before(store, champion)
        if champion is None or previous is None:
            msg = f"{name}: no previous champion to go back to (champion: version {_number(champion)})"
            raise RefusedError(msg)
        set_alias(store, name, CHAMPION, previous.number)
        mark = {"time": int(time.time()), "to": previous.number, "reason": reason}
        tag_version(store, champion, {ROLLED_BACK: json.dumps(mark)})
        before = previous.tags.get(BEFORE)
        if before and ROLLED_BACK not in get_version(store, name, before).tags:
            set_alias(store, name, PREVIOUS, before)
        else:
            retry(store.client.delete_registered_model_alias, name, PREVIOUS)
    return previous, champion


def allow_again(store: Store, version: Version) -> None:
    """Take the mark of a rollback from a version, as a forced promotion does."""
    if ROLLED_BACK in version.tags:
        retry(store.client.delete_model_version_tag, version.name, version.number, ROLLED_BACK)


@dataclass(frozen=True)
class RunSummary:
    """One pipeline or promotion run."""

    run_id: str
    kind: str
    name: str
    status: str
    started: int
    """Milliseconds since 1970."""
    why: str
    """The error of a failed run, the reason of a decision."""


@dataclass(frozen=True)
class Status:
    """What a registered model's aliases point at, and what happened last."""

    name: str
    champion: Version | None
    previous: Version | None
    candidate: Version | None
    runs: tuple[RunSummary, ...]


def read_status(store: Store, name: str, runs: int = 10) -> Status:
    """Aliases and the last runs, newest first."""
    aliases = (get_alias(store, name, alias) for alias in (CHAMPION, PREVIOUS, CANDIDATE))
    champion, previous, candidate = aliases
    return Status(name, champion, previous, candidate, tuple(last_runs(store, runs)))


def last_runs(store: Store, count: int) -> list[RunSummary]:
    """Pipeline and promotion runs, newest first."""
    query = "tags.`eyas.kind` LIKE 'p%'"
    order = ["attributes.start_time DESC"]
    search = store.client.search_runs
    found = retry(search, [store.experiment_id], query, max_results=count, order_by=order)
    return [
        RunSummary(
            run_id=run.info.run_id,
            kind=run.data.tags["eyas.kind"],
            name=run.info.run_name,
            status=run.data.tags.get(OUTCOME, run.info.status.lower()),
            started=run.info.start_time,
            why=run.data.tags.get("eyas.error") or run.data.tags.get("eyas.reason", ""),
        )
        for run in found
    ]


def pick(store: Store, name: str, number: str | int | None) -> Version:
    """The version asked for, or the candidate.

    Raises:
        BadInputError: there is no such version, or no number was given and there is no candidate.
    """
    if number is not None:
        return get_version(store, name, number)
    candidate = get_alias(store, name, CANDIDATE)
    if candidate is None:
        msg = f"{name} has no version with alias 'candidate': run the pipeline first, or give --version"
        raise BadInputError(msg)
    return candidate


def _before(store: Store, champion: Version | None) -> Version | None:
    """The champion before this one: ``previous``, or what its tag says where a move was cut off half-way."""
    if champion is None:
        return None
    previous = get_alias(store, champion.name, PREVIOUS)
    if previous is not None and previous.number != champion.number:
        return previous
    number = champion.tags.get(BEFORE)
    return get_version(store, champion.name, number) if number else None


def _number(version: Version | None) -> str | None:
    return version.number if version else None
