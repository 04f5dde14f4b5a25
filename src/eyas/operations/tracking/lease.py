"""The lease on a champion: a tag of the registered model that names the run of the move that goes on now.

Two processes of one checkout are kept apart by a lock file, which the caller holds. MLflow has no compare-and-set on
tags or aliases, so two machines are kept apart by time: a lease is written where there is none, and after
``CONFIRM_SECONDS`` read again; whoever still finds its own has it (Fischer's algorithm, in Lamport 1987, "A fast mutual
exclusion algorithm"). This holds while looking and writing take less than ``CONFIRM_SECONDS``.
"""

import time

from eyas.errors import BusyError
from eyas.operations.tracking.mlflow_store import MlflowStore, retry

TAG = "eyas.moving"
CONFIRM_SECONDS = 1.0
"""A lease on a server is read again after so long."""
PATIENCE_SECONDS = 30.0
"""The lease of another machine that stands for so long is taken for one of a dead process."""
POLL_SECONDS = 0.5


def holder(store: MlflowStore, model: str) -> str | None:
    """The run that holds the lease to move the champion of a model."""
    from mlflow.exceptions import MlflowException

    try:
        run_id = retry(store.client.get_registered_model, model).tags.get(TAG)
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":  # nothing was ever registered under this name
            return None
        raise
    return str(run_id) if run_id else None


def acquire(store: MlflowStore, model: str, run_id: str) -> None:
    """Write the lease for a run, where nobody holds it, and look whether it took.

    Raises:
        BusyError: another machine wrote its own at the same time.
    """
    retry(store.client.set_registered_model_tag, model, TAG, run_id)
    if not store.local:
        time.sleep(CONFIRM_SECONDS)
    now = holder(store, model)
    if now != run_id:
        raise BusyError(_message(model, now))


def release(store: MlflowStore, model: str, run_id: str) -> None:
    """Take the lease away, if it is this run's."""
    if holder(store, model) == run_id:
        retry(store.client.delete_registered_model_tag, model, TAG)


def is_abandoned(store: MlflowStore, model: str, run_id: str) -> bool:
    """Whether the holder of a lease is gone: here the lock file says so, of another machine its silence.

    Raises:
        BusyError: other machines take turns at it.
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
