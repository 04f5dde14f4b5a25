"""What a source says of its present version; kept beside what was brought from it, so that this is known later."""

import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path

from eyas.config import FetchParams, expand
from eyas.data.manifest import file_record
from eyas.data.sources import BUILTIN
from eyas.errors import StorageError
from eyas.storage import Store, local_files
from eyas.storage.addresses import parse

_log = logging.getLogger(__name__)

SOURCE = "source.json"
"""The file under ``artifacts/<stage>/`` that keeps the versions of what the stage brought."""
SourceVersions = Mapping[str, str]
"""A digest each of what was brought: ``train`` and ``test``, or ``checkpoint``."""


def data_versions(params: FetchParams, store: Store, base: Path = Path()) -> SourceVersions:
    """The present version of each data source; relative paths start at ``base``.

    Raises:
        DataError: there is nothing at an address.
        StorageError: a source did not answer.
    """
    return {part: address_version(address, store, base) for part, address in params.addresses.items()}


def address_version(address: str, store: Store, base: Path = Path()) -> str:
    """A hash of names and contents of local files, or of what a remote says of its version."""
    if address.startswith(BUILTIN):
        return hashlib.sha256(address.encode()).hexdigest()
    parsed = parse(expand(address))
    if parsed.scheme != "file":
        return store.fingerprint(parsed.text)
    root = base / parsed.key
    files = local_files.walk(root) if root.is_dir() else ((path.name, path) for path in local_files.find(str(root)))
    digests = {name: file_record(path).sha256 for name, path in sorted(files)}
    return hashlib.sha256(json.dumps(digests).encode()).hexdigest()


def recorded_versions(folder: Path) -> SourceVersions:
    """What a stage kept in its folder of what it brought; nothing where it has not run."""
    path = folder / SOURCE
    versions: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
    return versions


def versions_if_told(look: Callable[[], SourceVersions]) -> SourceVersions:
    """What ``look`` finds; nothing from a source that does not tell, which can still be brought.

    Without a version the next retraining takes the source for changed, or says itself that it cannot look.
    """
    try:
        return look()
    except StorageError as error:
        _log.warning("whether the source changes cannot be seen later: %s", error)
        return {}


def require_unchanged(before: SourceVersions, after: SourceVersions) -> None:
    """What was brought may be torn where its source changed meanwhile.

    Raises:
        StorageError: it did; another try may find it at rest.
    """
    changed = [part for part in before if before[part] != after.get(part)]
    if changed:
        msg = f"{' and '.join(changed)} changed in the source while it was brought: run again when it is at rest"
        raise StorageError(msg)
