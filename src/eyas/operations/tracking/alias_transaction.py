"""One move of the champion, written down before it happens, so that whoever is cut off leaves a way on.

A move is a run of MLflow. The writes come in this order:

1. the run, open and ``pending``: what moves from where to where, and why;
2. the lease: a tag of the registered model that names the run;
3. the alias ``champion``: the one write that decides;
4. what follows from it: ``previous``, tags of versions, and ``candidate`` taken off a version that was rolled back.
   All are absolute values and may be written twice;
5. the outcome of the run, which is closed; then the lease is taken away.

Whoever finds the lease of a move that was cut off recovers it: before step 3 nothing has moved and it is cancelled,
after it the rest is written.

Two movers are kept apart by the lease, see :mod:`eyas.operations.tracking.lease`, which is read again before every
step, and the champion right before step 3. What remains: a machine that stands still in the middle of a step for longer
than the others' patience may have one write land after another machine has moved the champion. It finds its lease gone
then and raises :class:`BusyError`, but the write stands: ``eyas status`` shows where the aliases are.
"""

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager

from eyas.errors import BusyError
from eyas.operations.tracking import lease
from eyas.operations.tracking.alias_move import (
    BEFORE,
    DECISION,
    OUTCOME,
    REASON,
    ROLLED_BACK,
    AliasMove,
    abort_record,
    close_record,
)
from eyas.operations.tracking.candidate_alias import is_candidate_alias
from eyas.operations.tracking.mlflow_store import MlflowStore, attempt, retry
from eyas.operations.tracking.model_registry import (
    CHAMPION,
    PREVIOUS,
    Version,
    drop_alias,
    get_alias,
    get_version,
    list_aliases,
    set_alias,
    tag_version,
)
from eyas.operations.tracking.runs import run_exists

log = logging.getLogger(__name__)


def execute(store: MlflowStore, move: AliasMove, run_id: str) -> None:
    """Move the champion as the record ``run_id`` says, and close it.

    Raises:
        BusyError: the champion is another one than the move starts from, or another machine moves it now. The record
            is closed as failed then, unless the champion moved: whoever comes next writes the rest.
    """
    with store.lock("registry"):
        with _aborted_if_busy(store, move.model, run_id):
            _recover(store, move.model)
            lease.acquire(store, move.model, run_id)
            _require_champion(store, move)
            set_alias(store, move.model, CHAMPION, move.champion)
        _complete(store, move, run_id)


def recover(store: MlflowStore, model: str) -> AliasMove | None:
    """Finish or cancel what a move that was cut off left; returns the move that was finished.

    Raises:
        BusyError: another machine is at it.
    """
    with store.lock("registry"):
        return _recover(store, model)


def _recover(store: MlflowStore, model: str) -> AliasMove | None:
    run_id = lease.holder(store, model)
    if run_id is None or not lease.is_abandoned(store, model, run_id):
        return None
    if not run_exists(store, run_id):
        log.warning("%s: run %s, which held the lease on the champion, was deleted: nothing to finish", model, run_id)
        lease.release(store, model, run_id)
        return None
    run = retry(store.client.get_run, run_id)
    move = AliasMove.from_tags(run.data.tags)
    if _champion(store, model) == move.champion:
        log.warning("%s: finishing the %s to version %s, which was cut off", model, move.kind, move.champion)
        _complete(store, move, run_id)
        return move
    if run.info.status == "RUNNING":
        abort_record(store, model, run_id, "cut off before the champion moved; nothing has changed")
    else:
        lease.release(store, model, run_id)
    return None


def _require_champion(store: MlflowStore, move: AliasMove) -> None:
    """The champion must be the one the decision was made against."""
    now = _champion(store, move.model)
    if now != move.before:
        msg = (
            f"{move.model}: the champion became version {now or 'none'} while the {move.kind} to version "
            f"{move.champion} was made against {move.before or 'none'}; look at `eyas status`, then repeat it"
        )
        raise BusyError(msg)


def _complete(store: MlflowStore, move: AliasMove, run_id: str) -> None:
    """Everything that follows from the champion's move, as long as nobody else does it."""
    for write in (_point_previous, _mark_versions, _drop_candidate, _close_move):
        if _is_done_by_another(store, move, run_id):
            return
        write(store, move, run_id)
    lease.release(store, move.model, run_id)


def _is_done_by_another(store: MlflowStore, move: AliasMove, run_id: str) -> bool:
    """Whether another machine took this process for dead and has written the rest.

    Raises:
        BusyError: another machine took the lease and did something else.
    """
    if lease.holder(store, move.model) == run_id:
        return False
    if retry(store.client.get_run, run_id).info.status == "FINISHED":
        return True
    msg = (
        f"{move.model}: another machine moved the champion during the {move.kind} to version {move.champion}; it is "
        f"version {_champion(store, move.model) or 'none'} now: look at `eyas status`, then repeat it"
    )
    abort_record(store, move.model, run_id, msg)
    raise BusyError(msg)


def _point_previous(store: MlflowStore, move: AliasMove, _: str) -> None:
    if move.previous:
        set_alias(store, move.model, PREVIOUS, move.previous)
    else:
        drop_alias(store, move.model, PREVIOUS)


def _mark_versions(store: MlflowStore, move: AliasMove, run_id: str) -> None:
    if move.kind == "promotion":
        _mark_promoted(store, move, run_id)
    else:
        mark = {"time": move.time, "to": move.champion, "reason": move.reason}
        tag_version(store, Version(move.model, move.before), {ROLLED_BACK: json.dumps(mark)})


def _drop_candidate(store: MlflowStore, move: AliasMove, _: str) -> None:
    """A version that was rolled back waits for no promotion."""
    if move.kind == "rollback":
        for alias, number in list_aliases(store, move.model).items():
            if is_candidate_alias(alias) and number == move.before:
                drop_alias(store, move.model, alias)


def _close_move(store: MlflowStore, move: AliasMove, run_id: str) -> None:
    close_record(store, run_id, move.outcome)


def _mark_promoted(store: MlflowStore, move: AliasMove, run_id: str) -> None:
    version = get_version(store, move.model, move.champion)
    tags = {OUTCOME: move.outcome, DECISION: move.decision, REASON: move.reason, "eyas.decision_run": run_id}
    tag_version(store, version, tags | ({BEFORE: move.before} if move.before else {}))
    if ROLLED_BACK in version.tags:
        retry(store.client.delete_model_version_tag, version.name, version.number, ROLLED_BACK)


@contextmanager
def _aborted_if_busy(store: MlflowStore, model: str, run_id: str) -> Iterator[None]:
    """A move that did not come about says so in its record."""
    try:
        yield
    except BusyError as error:
        with attempt("closing the record of the move"):
            abort_record(store, model, run_id, str(error))
        raise


def _champion(store: MlflowStore, model: str) -> str:
    version = get_alias(store, model, CHAMPION)
    return version.number if version else ""
