"""Looking before a run at places: data, checkpoint, disks, servers."""

import os
import shutil
import socket
import tempfile
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from eyas.config import PipelineParams, expand
from eyas.data.builtin import check_builtin
from eyas.data.manifest import Manifest, read_manifest
from eyas.data.sources import BUILTIN
from eyas.errors import BadInputError, DataError, ParameterError, StorageError
from eyas.operations.tracking.mlflow_store import SQLITE, tracking_uri
from eyas.storage import Store, local_files, redact
from eyas.storage.addresses import parse
from tasks.registered_checkpoint import registered_address
from tasks.source_version import SOURCE
from tasks.workspace_files import cache_folder

SECONDS = 3.0
"""How long a server may take to answer."""
LEAST_FREE = 64 * 2**20
"""Bytes that no run does without, whatever its data: logs, databases, networks."""
COPIES_OF_CHECKPOINT = 6
"""As it was brought, dense, fine-tuned, exported and two in training."""


def fetched(params: PipelineParams, root: Path, artifacts: Path) -> Manifest | None:
    """What the fetch stage left of the very sources that are named; None where it has to bring them."""
    try:
        known = read_manifest(artifacts / "fetch")
    except DataError:
        return None
    named = {part: _absolute(expand(place), root) for part, place in params.fetch.addresses.items()}
    brought = {part: _absolute(place, artifacts.parent) for part, place in known.source.items()}
    return known if brought == named else None


def _absolute(address: str, base: Path) -> str:
    """An address that does not depend on where it was written: a workspace sees relative paths from its own folder."""
    local = not address.startswith(BUILTIN) and parse(address).scheme == "file"
    return os.path.realpath(base / parse(address).key) if local else redact(address)


def check_train(params: PipelineParams, root: Path, artifacts: Path) -> None:
    """Something lies at the training data's address, if that is on this machine and was not brought yet."""
    if not fetched(params, root, artifacts):
        _check_data(params.fetch.train, root, artifacts)


def check_test(params: PipelineParams, root: Path, artifacts: Path) -> None:
    """The same for the test data."""
    test = params.fetch.addresses.get("test")
    if test and not fetched(params, root, artifacts):
        _check_data(test, root, artifacts)


def check_checkpoint(params: PipelineParams, root: Path, artifacts: Path) -> None:
    """A file lies at the checkpoint's address, if that is on this machine and was not brought yet."""
    place = params.baseline.checkpoint
    if not place or registered_address(params) or (artifacts / "baseline" / SOURCE).exists():
        return
    if (address := parse(expand(place))).scheme == "file":
        local_files.one_file(str(root / address.key))


def check_remote_train(params: PipelineParams, root: Path, artifacts: Path) -> None:
    """Remote training data answers, with the credentials that are there."""
    _check_remote(params.fetch.train, params)


def check_remote_test(params: PipelineParams, root: Path, artifacts: Path) -> None:
    """The same for the test data."""
    _check_remote(params.fetch.addresses.get("test"), params)


def check_remote_checkpoint(params: PipelineParams, root: Path, artifacts: Path) -> None:
    """The same for the checkpoint."""
    if registered_address(params) is None:
        _check_remote(params.baseline.checkpoint, params)


def check_mlflow(params: PipelineParams, root: Path, artifacts: Path) -> None:
    """MLflow's server takes connections, where one is set."""
    uri = tracking_uri(root, params.runtime.tracking_uri)
    if not uri.startswith(SQLITE):
        _check_server("MLflow", uri, "start it, or correct the address (MLFLOW_TRACKING_URI)")


def check_prefect(params: PipelineParams, root: Path, artifacts: Path) -> None:
    """Prefect's server takes connections, where one is set."""
    address = os.environ.get("PREFECT_API_URL")
    if address:
        _check_server("Prefect", address, "start it, or correct the address (unset, a run needs none)")


def check_writable(params: PipelineParams, root: Path, artifacts: Path) -> None:
    """Artifacts, DVC's cache and the temporary folder can be written to, and are not full."""
    for place in _places(root, artifacts):
        _require_writable(place)
        _require_free(place, LEAST_FREE, "any run")


def check_state(params: PipelineParams, root: Path, artifacts: Path) -> None:
    """The folder of epoch checkpoints and journals can be made."""
    _require_writable(_existing(artifacts.parent / params.runtime.state))


def check_space(params: PipelineParams, root: Path, artifacts: Path) -> None:
    """The data fits: once among the artifacts, once in DVC's cache; and what becomes of the checkpoint.

    What is remote has no size until it is brought, what is in place needs none.
    """
    if fetched(params, root, artifacts):
        return
    weights = COPIES_OF_CHECKPOINT * _bytes(params.baseline.checkpoint, root)
    need = sum(_bytes(place, root) for place in params.fetch.addresses.values()) + weights
    here, cache, scratch = _places(root, artifacts)
    for place in (here, cache, scratch):
        copies = sum(other.stat().st_dev == place.stat().st_dev for other in (here, cache))
        _require_free(place, copies * need + LEAST_FREE, "this data")


def _check_data(place: str, root: Path, artifacts: Path) -> None:
    if place.startswith(BUILTIN):
        check_builtin(place.removeprefix(BUILTIN))
        return
    address = parse(expand(place))
    if address.scheme != "file":
        return
    path = root / address.key
    if not path.is_dir():
        local_files.find(str(path))
        return
    local_files.require_apart(str(path), artifacts)
    try:
        with os.scandir(path) as inside:
            empty = next(inside, None) is None
    except PermissionError as error:
        msg = f"{path} cannot be read: change its owner or its mode"
        raise DataError(msg) from error
    if empty:
        msg = f"{path} is empty: give a folder that holds images"
        raise DataError(msg)


def _check_remote(place: str | None, params: PipelineParams) -> None:
    if not place or place.startswith(BUILTIN) or parse(expand(place)).scheme == "file":
        return
    patience = {"attempts": 1, "connect_timeout": SECONDS, "read_timeout": SECONDS}
    with tempfile.TemporaryDirectory() as scratch:
        store = Store(params.runtime.storage.model_copy(update=patience), Path(scratch))
        if next(iter(store.entries(expand(place))), None) is None:
            msg = f"{redact(place)} holds nothing"
            raise DataError(msg)


def _check_server(what: str, address: str, way: str) -> None:
    parts = urlsplit(address)
    try:
        port = parts.port or {"http": 80, "https": 443, "postgresql": 5432}.get(parts.scheme.partition("+")[0])
    except ValueError as error:
        msg = f"{redact(address)} is no address: {error}"
        raise ParameterError(msg) from error
    if not parts.hostname or port is None:
        return
    try:
        socket.create_connection((parts.hostname, port), timeout=SECONDS).close()
    except OSError as error:
        msg = f"{what} at {redact(address)} does not answer ({error.strerror or error}): {way}"
        raise StorageError(msg) from error


def _places(root: Path, artifacts: Path) -> list[Path]:
    """Artifacts, DVC's cache and the temporary folder; of each the part that exists."""
    wanted = (artifacts, cache_folder(root), Path(os.environ.get("TMPDIR") or tempfile.gettempdir()))
    return [_existing(place) for place in wanted]


def _existing(place: Path) -> Path:
    """The folder itself or the nearest above it that exists."""
    return next(path for path in (place.absolute(), *place.absolute().parents) if path.exists())


def _require_writable(place: Path) -> None:
    """A folder can be made there: permissions alone do not tell, of a superuser or of ``/proc``."""
    writable = os.access(place, os.W_OK | os.X_OK)
    try:
        if writable:
            tempfile.TemporaryDirectory(prefix=".eyas-", dir=place).cleanup()
    except OSError:
        writable = False
    if not writable:
        msg = f"{place} cannot be written to: change its owner or its mode"
        raise StorageError(msg)


def _require_free(place: Path, need: int, what: str) -> None:
    free = shutil.disk_usage(place).free
    if free < need:
        msg = f"{place} has {free / 1e9:.2f} GB free, and {what} needs {need / 1e9:.2f} GB there: free some"
        raise StorageError(msg)


def _bytes(place: str | None, root: Path) -> int:
    """Size of what lies at an address on this machine, else 0; what is wrong with it is told under its own field."""
    if not place or place.startswith(BUILTIN):
        return 0
    with suppress(BadInputError):
        address = parse(expand(place))
        files = local_files.entries(str(root / address.key)) if address.scheme == "file" else ()
        return sum(entry.size for entry in files)
    return 0
