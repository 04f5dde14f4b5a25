"""Who moves the champion now: a tag of the registered model that names the run of the move.

Two processes of one checkout are kept apart by a lock file, which the caller holds. MLflow has no compare-and-set on
tags or aliases, so two machines are kept apart by time: a claim is written where there is none, and after
``SETTLE_SECONDS`` read again; whoever still finds its own has it (Fischer's algorithm, in Lamport 1987, "A fast mutual
exclusion algorithm"). This holds while looking and claiming take less than ``SETTLE_SECONDS``.
"""

import time

from eyas.errors import BusyError
from eyas.operations.tracking.mlflow_store import Store, retry

CLAIM = "eyas.moving"
SETTLE_SECONDS = 1.0
"""A claim on a server is read again after so long."""
PATIENCE_SECONDS = 30.0
"""The claim of another machine that stands for so long is taken for that of a dead process."""
POLL_SECONDS = 0.5


def holder(store: Store, model: str) -> str | None:
    """The run that claims to move the champion of a model."""
    from mlflow.exceptions import MlflowException

    try:
        claim = retry(store.client.get_registered_model, model).tags.get(CLAIM)
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":  # nothing was ever registered under this name
            return None
        raise
    return str(claim) if claim else None


def take(store: Store, model: str, run_id: str) -> None:
    """Claim for a run, where nobody claims, and look whether it took.

    Raises:
        BusyError: another machine claimed at the same time.
    """
    retry(store.client.set_registered_model_tag, model, CLAIM, run_id)
    if not store.local:
        time.sleep(SETTLE_SECONDS)
    now = holder(store, model)
    if now != run_id:
        raise BusyError(_message(model, now))


def release(store: Store, model: str, run_id: str) -> None:
    """Take the claim away, if it is this run's."""
    if holder(store, model) == run_id:
        retry(store.client.delete_registered_model_tag, model, CLAIM)


def is_left_over(store: Store, model: str, run_id: str) -> bool:
    """Whether the owner of a claim is gone: here the lock file says so, of another machine its silence.

    Raises:
        BusyError: other machines take turns at claiming.
    """
    deadline = time.monotonic() + (0 if store.local else PATIENCE_SECONDS)
    while time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
        now = holder(store, model)
        if now is None:
            return False
        if now != run_id:
            raise BusyError(_message(model, now))
    return True


def _message(model: str, run_id: str | None) -> str:
    return f"{model}: another machine is moving the champion (run {run_id or 'of its own'}): repeat it in a minute"
