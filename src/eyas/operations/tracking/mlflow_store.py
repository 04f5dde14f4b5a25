"""Where MLflow keeps its records: resolving the address and opening it without a race."""

import contextlib
import functools
import logging
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import requests

from eyas.errors import ParameterError, StorageError
from eyas.storage import redact
from eyas.storage.disk_space import describe_full_disk
from eyas.storage.retry import Retry, TransientError

if TYPE_CHECKING:
    from mlflow import MlflowClient

log = logging.getLogger(__name__)

Result = TypeVar("Result")
LOST = "{what} cannot be used any more: {reason}; see to it, then repeat this"
PATIENCE = Retry(attempts=5, base=0.5, failure=LOST)
"""With a lost connection."""
SQLITE = "sqlite:///"
NO_FILE = (":memory:", "?")
"""What SQLite's addresses hold that are no path, or more than one."""
DATABASES = ("postgresql", "mysql")
ANSWER_SECONDS = 5
FIRST_CALL = "/api/2.0/mlflow/experiments/get-by-name"
REQUEST = "API request to "
"""In what MLflow's client says where a server was not reached, or answered in no words of MLflow's."""
ABSENT = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")
"""MLflow's codes for what is not there."""
KIND = {"mlflow.experimentKind": "custom_model_development"}
"""What MLflow's pages call model training; its links need ``run_pages.MODEL_TRAINING`` besides."""
PROMOTIONS = "promotions"


@dataclass(frozen=True)
class MlflowStore:
    """An opened MLflow store: address, client and experiment. Every call names its run; none is "active"."""

    uri: str
    client: "MlflowClient"
    experiment_id: str
    locks: Path
    """Folder of the lock files that keep two local processes apart."""
    experiment: str = "eyas"
    """Name of the experiment."""

    @property
    def local(self) -> bool:
        """Whether the store is a file, which the processes that lock it share; a server may have clients anywhere."""
        return self.uri.startswith(SQLITE)

    @property
    def promotions(self) -> str:
        """Id of the experiment of promotions and rollbacks, which is made where it is missing."""
        name = f"{self.experiment}-{PROMOTIONS}"
        return retry(_experiment, self.client, name, _artifacts(self.uri, self.locks))

    @property
    def experiments(self) -> list[str]:
        """Ids of both experiments, as far as they are there."""
        known = retry(self.client.get_experiment_by_name, f"{self.experiment}-{PROMOTIONS}")
        return [self.experiment_id, *([str(known.experiment_id)] if known else [])]

    @contextlib.contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """Hold a machine-wide lock; another holder is waited for."""
        from filelock import FileLock

        with FileLock(self.locks / f"{name}.lock"):
            yield


def tracking_uri(checkout: Path, uri: str | None = None) -> str:
    """``uri``, else ``MLFLOW_TRACKING_URI``, else SQLite under the checkout's ``.eyas``."""
    return uri or os.environ.get("MLFLOW_TRACKING_URI") or f"{SQLITE}{_own_file(checkout)}"


def is_unused(checkout: Path, uri: str | None = None) -> bool:
    """Whether the checkout's own SQLite is meant and was never opened: it holds nothing, as can be told without MLflow.

    Args:
        checkout: as in :func:`open_store`.
        uri: see :func:`tracking_uri`.
    """
    file = _own_file(checkout)
    return tracking_uri(checkout, uri) == f"{SQLITE}{file}" and not file.exists()


def _own_file(checkout: Path) -> Path:
    return checkout.resolve() / ".eyas" / "mlflow.db"


def open_store(checkout: Path, *, uri: str | None = None, experiment: str = "eyas") -> MlflowStore:
    """Open the store and its experiment, creating both where they are missing.

    Two processes may do so at once: a lock keeps the first touch of a new SQLite file to one of them, and an
    experiment that another made meanwhile is taken.

    Args:
        checkout: its ``.eyas`` holds the default store, and the locks where the store is a server.
        uri: see :func:`tracking_uri`.
        experiment: name of MLflow's experiment.

    Raises:
        ParameterError: the address is of a kind that MLflow, as it is installed, does not know.
        StorageError: the address cannot be reached.
    """
    uri = tracking_uri(checkout, uri)
    folder = Path(uri.removeprefix(SQLITE)).parent if uri.startswith(SQLITE) else checkout.resolve() / ".eyas"
    folder.mkdir(parents=True, exist_ok=True)
    _keep_quiet()
    from filelock import FileLock
    from mlflow import MlflowClient

    with FileLock(folder / "mlflow.lock"), _explained(uri):
        _require_answer(uri)
        artifacts = _artifacts(uri, folder)
        if artifacts is not None and not any(sign in uri for sign in NO_FILE):
            _make_database(Path(uri.removeprefix(SQLITE)), artifacts)
        client = MlflowClient(tracking_uri=uri, registry_uri=uri)
        experiment_id = _experiment(client, experiment, artifacts)
    return MlflowStore(uri=uri, client=client, experiment_id=experiment_id, locks=folder, experiment=experiment)


def mark_experiment(store: MlflowStore) -> None:
    """Let MLflow's pages open an experiment of before as model training, too; a mark that is there stays."""
    known = retry(store.client.get_experiment, store.experiment_id).tags
    for tag in KIND.keys() - known.keys():
        retry(store.client.set_experiment_tag, store.experiment_id, tag, KIND[tag])


def retry(call: Callable[..., Result], *args: Any, **kwargs: Any) -> Result:
    """Call again after a lost connection; what MLflow itself answers passes at once.

    Raises:
        StorageError: the connection stayed lost; neither it nor its traceback shows the address's credentials.
    """

    def once() -> Result:
        try:
            return call(*args, **kwargs)
        except Exception as error:
            full = describe_full_disk(error)
            if full:
                raise StorageError(f"MLflow cannot write to {full}") from None
            reason = redact(str(error).strip().split("\n", 1)[0])
            if _may_pass(error):
                raise TransientError(reason) from None
            if REQUEST in str(error):
                raise StorageError(LOST.format(what="MLflow", reason=reason)) from None
            raise

    return PATIENCE(once, "MLflow")


@contextlib.contextmanager
def attempt(what: str) -> Iterator[None]:
    """Something to do after an error that must stay the one that is told: where it fails too, that is logged.

    What the error was raised through is let go of: a query that Ctrl-C cut short would lock SQLite for the rest.
    """
    traceback.clear_frames(sys.exc_info()[2])
    try:
        yield
    except Exception as error:
        log.error("MLflow: %s failed: %s", what, redact(str(error).strip().split("\n", 1)[0]))


@functools.cache
def _require_answer(uri: str) -> None:
    """A server that does not answer the first call of a process is told in seconds; MLflow itself tries for minutes."""
    if uri.startswith("http"):
        with contextlib.suppress(requests.exceptions.SSLError):  # MLflow may know a certificate for it
            requests.get(f"{uri.rstrip('/')}{FIRST_CALL}", timeout=ANSWER_SECONDS)
    elif uri.startswith(DATABASES):
        from sqlalchemy import NullPool, create_engine

        create_engine(uri, poolclass=NullPool, connect_args={"connect_timeout": ANSWER_SECONDS}).connect().close()


def _artifacts(uri: str, folder: Path) -> str | None:
    """Only a local store needs a place for its artifacts; a server knows its own."""
    return (folder / "mlartifacts").as_uri() if uri.startswith(SQLITE) else None


def _make_database(file: Path, artifacts: str) -> None:
    """A file that is not there yet appears with all its tables, or not at all: half of them MLflow takes for good."""
    if file.exists():
        return
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    new = file.with_name(f"{file.name}.new")
    for end in ("", "-journal", "-wal", "-shm"):  # of a process that was killed
        Path(f"{new}{end}").unlink(missing_ok=True)
    SqlAlchemyStore(f"{SQLITE}{new}", artifacts).engine.dispose()
    new.replace(file)


def _experiment(client: "MlflowClient", name: str, artifacts: str | None) -> str:
    """Id of the experiment called ``name``: found, restored, or created."""
    from mlflow.exceptions import MlflowException

    known = client.get_experiment_by_name(name)
    if known is None:
        try:
            return str(client.create_experiment(name, artifact_location=artifacts, tags=KIND))
        except MlflowException as error:
            known = client.get_experiment_by_name(name)
            if error.error_code != "RESOURCE_ALREADY_EXISTS" or known is None:
                raise
    if known.lifecycle_stage == "deleted":
        client.restore_experiment(known.experiment_id)
    return str(known.experiment_id)


@contextlib.contextmanager
def _explained(uri: str) -> Iterator[None]:
    """Say in one line that MLflow cannot be reached, and what to set."""
    from mlflow.exceptions import MlflowException
    from mlflow.tracking.registry import UnsupportedModelRegistryStoreURIException
    from sqlalchemy.exc import ArgumentError, SQLAlchemyError

    no_such_scheme = (UnsupportedModelRegistryStoreURIException, ArgumentError, ModuleNotFoundError)
    try:
        yield
    except (MlflowException, SQLAlchemyError, OSError, ModuleNotFoundError) as error:
        reason = describe_full_disk(error) or str(error).strip().split("\n", 1)[0]
        msg = (
            f"MLflow at {redact(uri)} cannot be used: {redact(reason)}; check `uri` and "
            "MLFLOW_TRACKING_URI, or leave both unset for SQLite in the checkout"
        )
        kind = ParameterError if isinstance(error, no_such_scheme) else StorageError
        raise kind(msg) from None  # the cause's text holds the address with its credentials


def _may_pass(error: BaseException) -> bool:
    """Whether another try may help: a lost connection or a locked file, here or at the server."""
    from sqlalchemy.exc import OperationalError

    text = str(error)
    if "Max retries exceeded" in text:  # MLflow's own client has tried long enough
        return False
    signs = ("OperationalError", "database is locked", "error code 503")
    return isinstance(error, (OperationalError, ConnectionError)) or any(sign in text for sign in signs)


def _keep_quiet() -> None:
    """No telemetry, no progress bars, no lines about the database's migrations; what the user set stays."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")  # MLflow sets its logger's level when it is imported
    os.environ.setdefault("DO_NOT_TRACK", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "5")  # about a minute, not four
    for name in ("mlflow", "alembic"):
        logger = logging.getLogger(name)
        if logger.level in (logging.NOTSET, logging.INFO):
            logger.setLevel(logging.WARNING)
    # A lost database is an error of ours with one line; these print pages about every call that met it.
    for name in ("mlflow.store.db.utils", "urllib3.connectionpool"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
