"""Moving the champion: forward when a decision says so, back in one step; both are recorded as runs.

How a move survives a crash between its writes, and another machine, says
:mod:`eyas.operations.tracking.alias_transaction`. MLflow keeps no history of aliases, so each champion's tag names the
one before it.
"""

import json
import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from eyas.errors import BadInputError, RefusedError
from eyas.operations.tracking.alias_move import (
    BEFORE,
    DECISION,
    MAX_REASON,
    OUTCOME,
    REASON,
    ROLLED_BACK,
    AliasMove,
    close_record,
    open_record,
)
from eyas.operations.tracking.alias_transaction import execute, recover
from eyas.operations.tracking.candidate_alias import CandidateAlias
from eyas.operations.tracking.mlflow_store import MlflowStore
from eyas.operations.tracking.model_registry import (
    CANDIDATE,
    CHAMPION,
    PREVIOUS,
    Version,
    get_alias,
    get_version,
    list_aliases,
    named_version,
    tag_version,
)
from eyas.operations.tracking.runs import NOTE


def record_refusal(store: MlflowStore, version: Version, decision: Mapping[str, Any]) -> str:
    """Keep a decision that moves nothing, as a run of its own and as tags of the version; the run's id."""
    reason = decision["message"][:MAX_REASON]
    tags = {REASON: reason}
    run_id = open_record(store, "promotion", version, tags, numbers=decision["numbers"], decision=decision)
    close_record(store, run_id, decision["outcome"])
    tags |= {DECISION: _in_short(decision), OUTCOME: decision["outcome"], "eyas.decision_run": run_id}
    tag_version(store, version, tags)
    return run_id


def promote(store: MlflowStore, version: Version, champion: Version | None, decision: Mapping[str, Any]) -> str:
    """Make ``version`` the champion, keep the old one as ``previous``, record the decision; the run's id.

    The record says ``pending`` until the champion has moved.

    Args:
        store: an opened store.
        version: the new champion.
        champion: the champion the decision was made against.
        decision: outcome, message, numbers and gates.

    Raises:
        BusyError: the champion is another one by now, or another machine moves it; decide again.
    """
    before = champion.number if champion else ""
    move = AliasMove(
        kind="promotion",
        model=version.name,
        champion=version.number,
        before=before,
        previous=before,
        outcome=decision["outcome"],
        reason=decision["message"][:MAX_REASON],
        decision=_in_short(decision),
        time=int(time.time()),
    )
    numbers = decision["numbers"]
    run_id = open_record(store, move.kind, version, move.tags(), numbers=numbers, decision=decision)
    execute(store, move, run_id)
    return run_id


def roll_back(store: MlflowStore, name: str, reason: str = "") -> tuple[AliasMove, bool]:
    """Make ``previous`` the champion again, as a run of its own.

    ``previous`` then points at what the restored one had replaced, so that a further rollback goes further back.
    The version that was rolled back carries a tag, is no candidate any more, and is not promoted again without force.

    Returns:
        the move; and whether it was one that had been cut off and is finished now, instead of a further step back.

    Raises:
        RefusedError: there is nothing to go back to.
        BusyError: the champion was moved meanwhile.
    """
    finished = recover(store, name)
    if finished is not None and finished.kind == "rollback":
        return finished, True
    champion, previous = get_alias(store, name, CHAMPION), get_alias(store, name, PREVIOUS)
    if champion is None or previous is None or champion.number == previous.number:
        now = f"version {champion.number}" if champion else "none"
        msg = f"{name}: no previous champion to go back to (champion: {now})"
        raise RefusedError(msg)
    move = AliasMove(
        kind="rollback",
        model=name,
        champion=previous.number,
        before=champion.number,
        previous=_further_back(store, previous, champion),
        outcome="rolled_back",
        reason=reason[:MAX_REASON],
        time=int(time.time()),
    )
    execute(store, move, open_record(store, move.kind, previous, move.tags() | {NOTE: move.words}))
    return move, False


def requested_version(
    store: MlflowStore, name: str, number: str | int | None, alias: CandidateAlias | None = None
) -> Version:
    """The version asked for, by number or alias; or the candidate.

    Args:
        store: an opened store.
        name: of the registered model.
        number: of the version, or its alias.
        alias: whose candidate is meant where no number is given; without it, what ``candidate`` names.

    Raises:
        BadInputError: there is no such version, or no number was given and there is no candidate.
    """
    if number is not None:
        return named_version(store, name, number)
    own = alias.name_in(store, name) if alias else CANDIDATE
    candidate = get_alias(store, name, own)
    if candidate is None:
        raise no_candidate(name, own, others=other_candidates(store, name, own))
    if ROLLED_BACK in candidate.tags:
        raise no_candidate(name, own, candidate)
    return candidate


def other_candidates(store: MlflowStore, name: str, alias: str) -> dict[str, str]:
    """Numbers of the versions that wait as candidates of other budgets, by alias."""
    aliases = list_aliases(store, name).items()
    return {one: number for one, number in sorted(aliases) if one.startswith(CANDIDATE) and one != alias}


def no_candidate(
    name: str,
    alias: str | None = None,
    rolled_back: Version | None = None,
    *,
    others: Mapping[str, str] = MappingProxyType({}),
) -> BadInputError:
    """What to raise where a profile has no candidate.

    Args:
        name: of the registered model.
        alias: of the profile's candidate; without one ``candidate``.
        rolled_back: the version that has it all the same.
        others: see :func:`other_candidates`.
    """
    alias = alias or CANDIDATE
    other = "" if alias == CANDIDATE else " ('candidate' is another budget's)"
    why = f"no version with alias '{alias}'{other}"
    if rolled_back is not None:
        why = f"version {rolled_back.number}, which has the alias '{alias}', was rolled back"
    waiting = ", ".join(f"--version {number} ({one})" for one, number in others.items())
    way = f"give {waiting}" if waiting else "run the pipeline first, or give --version"
    return BadInputError(f"{name} has no candidate, {why}: {way}")


def _further_back(store: MlflowStore, restored: Version, leaving: Version) -> str:
    """The champion before the restored one, unless it was rolled back itself."""
    number = restored.tags.get(BEFORE, "")
    if number in ("", leaving.number) or ROLLED_BACK in get_version(store, restored.name, number).tags:
        return ""
    return number


def _in_short(decision: Mapping[str, Any]) -> str:
    """The decision as a tag: outcome, champion, limits of this call only, every gate's value and limit.

    Of an adapted version also what is told beside the gates.
    """
    short: dict[str, Any] = {name: decision[name] for name in ("outcome", "champion", "forced")}
    short["limits"] = list(decision.get("limits", ()))
    short |= {"beside": decision["beside"]} if decision.get("beside") else {}
    short["gates"] = {gate["name"]: [gate["value"], gate["limit"], gate["passed"]] for gate in decision["gates"]}
    return json.dumps(short)
