"""Fingerprints of a workspace: of what its sources hold now, and of what its artifacts were made of."""

import json
from collections.abc import Iterator
from pathlib import Path

import yaml

from eyas.operations.fingerprint import Fingerprint
from eyas.storage import Store
from eyas.storage.digests import file_sha256, json_sha256
from tasks.dense_source import checkpoint_signatures
from tasks.source_version import SOURCE, Signatures, data_signatures
from tasks.workspace import Workspace

OPERATING_SECTIONS = {"runtime", "schedule", "notify", "promote"}
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
        data=_part(data_signatures(params.fetch, Store(params.runtime.storage), root)),
        params=params_digest(workspace),
        code=code_digest(root),
        checkpoint=_part(checkpoint_signatures(params, root)),
    )


def made_of(workspace: Workspace, code: str) -> Fingerprint:
    """What the workspace's artifacts were made of: no source is asked, each stage has kept what it was told.

    Args:
        workspace: whose stages are up to date.
        code: :func:`code_digest` before the first of them ran.
    """
    return Fingerprint(params=params_digest(workspace), code=code, **brought(workspace))


def brought(workspace: Workspace) -> dict[str, str]:
    """The parts ``data`` and ``checkpoint`` of the fingerprint at the time of bringing; empty where nothing was."""
    files = {part: workspace.artifacts / stage / SOURCE for part, stage in STAGE_OF.items()}
    return {part: _part(json.loads(file.read_text())) if file.exists() else "" for part, file in files.items()}


def params_digest(workspace: Workspace) -> str:
    """Of every parameter that can change a result."""
    return json_sha256(workspace.params.model_dump(mode="json", by_alias=True, exclude=OPERATING_SECTIONS))


def code_digest(root: Path) -> str:
    """Of every source file that a stage depends on."""
    return json_sha256({path: file_sha256(root / path) for path in code_files(root)})


def code_files(root: Path) -> list[str]:
    """Every source file that a stage of ``dvc.yaml`` depends on, relative to the checkout."""
    stages = yaml.safe_load((root / "dvc.yaml").read_text())["stages"]
    listed = {dep for stage in stages.values() for dep in stage["deps"] if not dep.startswith("artifacts/")}
    return sorted({str(path.relative_to(root)) for dep in listed for path in _files(root / dep)})


def _part(signatures: Signatures) -> str:
    return json_sha256(signatures) if signatures else ""


def _files(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
    for found in path.rglob("*"):
        if found.is_file() and "__pycache__" not in found.parts:
            yield found
