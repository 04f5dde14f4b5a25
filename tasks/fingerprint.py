"""Fingerprints of a workspace: of what its sources hold now, and of what its artifacts were made of."""

from collections.abc import Iterator
from pathlib import Path

import yaml

from eyas.operations.fingerprint import OWN, STAGES, Code, Fingerprint, code_digest
from eyas.operations.lineage import params_digest
from eyas.storage import Store
from eyas.storage.digests import file_sha256, json_sha256
from tasks.named_inputs import own_code
from tasks.registry_source import checkpoint_versions
from tasks.source_version import SourceVersions, data_versions, recorded_versions
from tasks.workspace import Workspace

STAGE_OF = {"data": "fetch", "checkpoint": "baseline"}
"""Which stage brings what DVC cannot see into."""


def take_fingerprint(workspace: Workspace) -> Fingerprint:
    """What a run of this workspace would be made of, without running it.

    Raises:
        BadInputError: a source holds nothing, or the registry no such version.
        StorageError: a source or the registry did not answer.
    """
    params, root = workspace.params, workspace.root
    return Fingerprint(
        data=_digest(data_versions(params.fetch, Store(params.runtime.storage), root)),
        params=params_digest(workspace.all_params),
        code=code_digest(code_files(workspace)),
        checkpoint=_digest(checkpoint_versions(params, root)),
    )


def recorded_fingerprint(workspace: Workspace, code: str) -> Fingerprint:
    """What the workspace's artifacts were made of: no source is asked, each stage has kept what it was told.

    Args:
        workspace: whose stages are up to date.
        code: digest of :func:`code_files` before the first of them ran.
    """
    return Fingerprint(params=params_digest(workspace.all_params), code=code, **recorded_sources(workspace))


def recorded_sources(workspace: Workspace) -> dict[str, str]:
    """The parts ``data`` and ``checkpoint`` of the fingerprint at the time of bringing; empty where nothing was."""
    return {part: _digest(recorded_versions(workspace.artifacts / stage)) for part, stage in STAGE_OF.items()}


def code_files(workspace: Workspace) -> Code:
    """Every source file that a stage depends on, as it is now."""
    own = {name: digest for part in own_code(workspace).values() for name, digest in part.items()}
    listed = {path: file_sha256(workspace.root / path) for path in listed_files(workspace.root)}
    return {STAGES: listed, OWN: own}


def listed_files(root: Path) -> list[str]:
    """Every source file that a stage of ``dvc.yaml`` lists, relative to the checkout."""
    stages = yaml.safe_load((root / "dvc.yaml").read_text())["stages"]
    listed = {dep for stage in stages.values() for dep in stage["deps"] if not dep.startswith("artifacts/")}
    return sorted({str(path.relative_to(root)) for dep in listed for path in _files(root / dep)})


def _digest(versions: SourceVersions) -> str:
    return json_sha256(versions) if versions else ""


def _files(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
    for inner in path.rglob("*"):
        if inner.is_file() and "__pycache__" not in inner.parts:
            yield inner
