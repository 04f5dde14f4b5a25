"""Take the fingerprint of a workspace: data in its source, parameters, code, base checkpoint."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import yaml

from eyas.config import FetchParams, expand
from eyas.fingerprint import Fingerprint
from eyas.lineage import digest, file_sha256
from eyas.storage import Store
from tasks.workspace import Workspace

OPERATING_SECTIONS = {"runtime", "schedule", "notify", "promote"}


def take_fingerprint(workspace: Workspace) -> Fingerprint:
    """What a run of this workspace would be made of, without running it.

    Raises:
        StorageError: a source did not answer.
    """
    params = workspace.params
    content = params.model_dump(mode="json", by_alias=True, exclude=OPERATING_SECTIONS)
    checkpoint = params.baseline.checkpoint
    return Fingerprint(
        data=digest([_signature(address, workspace) for address in _sources(params.fetch)]),
        params=digest(content),
        code=digest({path: file_sha256(workspace.root / path) for path in code_files(workspace.root)}),
        checkpoint=_signature(checkpoint, workspace) if checkpoint else "",
    )


def code_files(root: Path) -> list[str]:
    """Every source file that a stage of ``dvc.yaml`` depends on, relative to the checkout."""
    stages = yaml.safe_load((root / "dvc.yaml").read_text())["stages"]
    listed = {dep for stage in stages.values() for dep in stage["deps"] if not dep.startswith("artifacts/")}
    return sorted({str(path.relative_to(root)) for dep in listed for path in _files(root / dep)})


def _files(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
    for found in path.rglob("*"):
        if found.is_file() and "__pycache__" not in found.parts:
            yield found


def _sources(fetch: FetchParams) -> Iterator[str]:
    yield fetch.train
    if fetch.test:
        yield fetch.test


def _signature(address: str, workspace: Workspace) -> str:
    """What the source says of its present version; relative paths are the workspace's."""
    if address.startswith(("builtin:", "models:/")):
        return hashlib.sha256(address.encode()).hexdigest()
    expanded = expand(address)
    store = Store(workspace.params.runtime.storage)
    return store.fingerprint(expanded if "://" in expanded else str(workspace.folder / expanded))
