"""The model registry: versions, their aliases, and their files, checked when they come back."""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eyas.errors import BadInputError, BusyError, ChecksumError, StorageError
from eyas.operations.fingerprint import Code, Fingerprint, code_digest
from eyas.operations.lineage import Lineage
from eyas.operations.tracking.mlflow_store import ABSENT, MlflowStore, retry
from eyas.operations.tracking.version_record import with_record, without_record
from eyas.storage import redact
from eyas.storage.digests import file_sha256, json_sha256

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

log = logging.getLogger(__name__)

CANDIDATE, CHAMPION, PREVIOUS = "candidate", "champion", "previous"
FILES = "eyas"
"""Folder inside a version that holds weights, plan, architecture and manifest."""
MANIFEST_DIGEST = "eyas.manifest_digest"
"""Tag: equal ones are equal files."""
STAGES_DIGEST = "eyas.stages_digest"
"""Tag: equal ones are equal data, parameters and code."""
CODE = "code.json"
"""File in there: what the fingerprint's ``code`` was made of."""


@dataclass(frozen=True)
class Version:
    """One version of a registered model."""

    name: str
    number: str
    tags: Mapping[str, str] = field(default_factory=dict)
    """Those of its record among them, see :mod:`eyas.operations.tracking.version_record`."""
    source: str = ""
    run_id: str = ""

    def __str__(self) -> str:
        return f"{self.name} version {self.number}"

    @property
    def manifest_digest(self) -> str:
        """Digest of the manifest of the version's files.

        Raises:
            BadInputError: the version was registered by other means.
        """
        try:
            return self.tags[MANIFEST_DIGEST]
        except KeyError as error:
            msg = f"{self} was not registered by eyas: what it holds is unknown; name one that the pipeline registered"
            raise BadInputError(msg) from error

    @property
    def metrics(self) -> dict[str, float]:
        """What was known of the network when it was registered, as ``<stage>.<name>``."""
        metrics: dict[str, float] = json.loads(self.tags.get("eyas.metrics", "{}"))
        return metrics

    @property
    def lineage(self) -> Lineage:
        """Where the version came from."""
        return Lineage.from_tags(self.tags)


def read_manifest(folder: Path) -> dict[str, Any]:
    """``manifest.json`` of exported files, each checked against its sha256.

    Raises:
        ChecksumError: a file is missing or differs.
    """
    manifest: dict[str, Any] = json.loads((folder / "manifest.json").read_text())
    for file, facts in manifest["files"].items():
        path = folder / file
        sha256 = file_sha256(path) if path.is_file() else "no such file"
        if sha256 != facts["sha256"]:
            msg = f"{path}: expected sha256 {facts['sha256']}, found {sha256}; export the network again"
            raise ChecksumError(msg)
    return manifest


def find_version(
    store: MlflowStore, name: str, stages_digest: str, manifest_digest: str | None = None
) -> Version | None:
    """The newest version from these stage keys, of these files if their digest is given."""
    wanted = {STAGES_DIGEST: stages_digest} | ({MANIFEST_DIGEST: manifest_digest} if manifest_digest else {})
    equal = [version for version in list_versions(store, name) if wanted.items() <= version.tags.items()]
    return equal[-1] if equal else None


def get_version(store: MlflowStore, name: str, number: str | int) -> Version:
    """A version by its number.

    Raises:
        BadInputError: there is none; the message lists what there is.
    """
    from mlflow.exceptions import MlflowException

    try:
        return as_version(retry(store.client.get_model_version, name, str(number)))
    except MlflowException as error:
        if error.error_code not in ABSENT:
            raise
        numbers = ", ".join(version.number for version in list_versions(store, name)) or "none"
        msg = f"{name} has no version {number}; registered versions: {numbers}"
        raise BadInputError(msg) from error


def named_version(store: MlflowStore, name: str, text: str | int) -> Version:
    """A version by its number or an alias.

    Raises:
        BadInputError: there is none; the message lists what there is.
    """
    if str(text).isdigit():
        return get_version(store, name, text)
    version = get_alias(store, name, str(text))
    if version is None:
        known = ", ".join(sorted(list_aliases(store, name))) or "none"
        msg = f"{name} has no version {text}: give a number or an alias; its aliases: {known}"
        raise BadInputError(msg)
    return version


def list_aliases(store: MlflowStore, name: str) -> dict[str, str]:
    """Numbers of versions by alias; none of a model that is not registered."""
    from mlflow.exceptions import MlflowException

    try:
        aliases = retry(store.client.get_registered_model, name).aliases
    except MlflowException as error:
        if error.error_code in ABSENT:
            return {}
        raise
    return {alias: str(number) for alias, number in aliases.items()}


def list_versions(store: MlflowStore, name: str) -> list[Version]:
    """All versions, oldest first."""
    entries = retry(store.client.search_model_versions, f"name = '{name}'")
    return sorted((as_version(entry) for entry in entries), key=lambda version: int(version.number))


def get_alias(store: MlflowStore, name: str, alias: str) -> Version | None:
    """The version an alias points at, if any."""
    from mlflow.exceptions import MlflowException

    try:
        return as_version(retry(store.client.get_model_version_by_alias, name, alias))
    except MlflowException as error:
        if error.error_code in ABSENT:
            return None
        raise


def set_alias(store: MlflowStore, name: str, alias: str, number: str) -> None:
    """Point an alias at a version, and look whether it took.

    Raises:
        BusyError: another writer was there at the same time.
    """
    retry(store.client.set_registered_model_alias, name, alias, number)
    now = get_alias(store, name, alias)
    if now is None or now.number != number:
        other = now.number if now else "nothing"
        msg = (
            f"{name}: alias {alias!r} was set to version {number} but names {other}: another writer was here; repeat it"
        )
        raise BusyError(msg)


def drop_alias(store: MlflowStore, name: str, alias: str) -> None:
    """Take an alias away; one that is not there is no error."""
    retry(store.client.delete_registered_model_alias, name, alias)


def tag_version(store: MlflowStore, version: Version, tags: Mapping[str, str]) -> None:
    """Write tags of a version, those of its record where it has one."""
    for name, value in with_record(version.tags, tags).items():
        retry(store.client.set_model_version_tag, version.name, version.number, name, value)


def download(store: MlflowStore, version: Version, folder: Path) -> Path:
    """Fetch a version's exported files into ``folder`` and check each against the registered manifest.

    Raises:
        ChecksumError: a file, or the manifest itself, is not what was registered.
        StorageError: the files cannot be fetched.
    """
    from mlflow.artifacts import download_artifacts

    folder.mkdir(parents=True, exist_ok=True)
    try:
        uri = f"{version.source.rstrip('/')}/{FILES}"
        local = retry(download_artifacts, artifact_uri=uri, dst_path=str(folder), tracking_uri=store.uri)
    except Exception as error:
        msg = f"the files of {version} cannot be fetched from {redact(version.source)}: {redact(str(error))}"
        raise StorageError(msg) from error
    manifest = read_manifest(Path(local))
    if json_sha256(manifest) != version.manifest_digest:
        msg = f"{version}: its manifest has digest {json_sha256(manifest)}, registered was {version.manifest_digest}"
        raise ChecksumError(msg)
    return Path(local)


def fetch_code(store: MlflowStore, version: Version, folder: Path) -> Code:
    """What the code of a version was, file by file; nothing where that was not recorded, or is not what was."""
    from mlflow.artifacts import download_artifacts

    uri = f"{version.source.rstrip('/')}/{FILES}/{CODE}"
    try:
        local = download_artifacts(artifact_uri=uri, dst_path=str(folder), tracking_uri=store.uri)
    except Exception as error:
        log.info("%s does not tell its code file by file: %s", version, redact(str(error)))
        return {}
    return read_code(Path(local), version)


def read_code(path: Path, version: Version) -> Code:
    """A version's :data:`CODE`, if it is what its fingerprint was made of."""
    code: Code = json.loads(path.read_text()) if path.exists() else {}
    fingerprint = Fingerprint.from_tags(version.tags)
    return code if fingerprint and code_digest(code) == fingerprint.code else {}


def as_version(entry: "ModelVersion") -> Version:
    """MLflow's entry as a value of ours."""
    return Version(
        name=entry.name,
        number=str(entry.version),
        tags=without_record(entry.tags),
        source=str(entry.source),
        run_id=str(entry.run_id or ""),
    )
