"""From a registered version back to its making: what is needed, what of it is here, and what to type.

Checks out nothing and changes nothing.
"""

import json
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from eyas.errors import EyasError
from eyas.lineage import Lineage, file_sha256, git_state, has_commit, params_digest
from eyas.tracking import Store, Version, promotion, registry, run_exists
from tasks.dvc_cli import stage_key, stage_names
from tasks.record import open_store
from tasks.workspace import Workspace


@dataclass(frozen=True)
class Check:
    """One thing that is needed, and whether it is here."""

    name: str
    holds: bool
    text: str


@dataclass(frozen=True)
class Reproduction:
    """How to make a version again."""

    version: Version
    lineage: Lineage
    checks: tuple[Check, ...]
    commands: tuple[str, ...]

    @property
    def ready(self) -> bool:
        """Whether the commands give the version again, from this clone as it is."""
        return all(check.holds for check in self.checks)

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain data."""
        lineage = asdict(self.lineage)
        return {
            "model": self.version.name,
            "version": self.version.number,
            "lineage": lineage,
            "checks": [asdict(check) for check in self.checks],
            "commands": list(self.commands),
        }

    def lines(self) -> list[str]:
        """For the terminal."""
        known = self.lineage
        facts = {
            "data set": known.dataset_hash,
            "dense weights": known.baseline_sha256,
            "parameters": known.params_digest,
            "commit": known.git_commit or "unknown",
            "profile": known.profile,
            "MLflow run": known.run_id,
        }
        found = [f"  {'ok ' if check.holds else 'NO '} {check.name}: {check.text}" for check in self.checks]
        head = [str(self.version), *(f"  {name:14} {value}" for name, value in facts.items())]
        return [*head, "", "Needed:", *found, "", "To make it again:", *(f"  {line}" for line in self.commands)]


def reproduce(workspace: Workspace, number: str | None = None) -> Reproduction:
    """What it takes to make a version (without a number the candidate) again, each part verified.

    Raises:
        BadInputError: there is no such version.
    """
    store = open_store(workspace)
    version = promotion.pick(store, workspace.params.register_.model, number)
    with tempfile.TemporaryDirectory() as scratch:
        files, check = _fetch(store, version, Path(scratch))
        params = json.loads((files / "params.json").read_text()) if files else {}
    lineage = Lineage.from_tags(version.tags, params)
    checks = (check, *_of_the_code(workspace, lineage), *_of_the_workspace(workspace, lineage), _run(store, lineage))
    return Reproduction(version, lineage, checks, tuple(_commands(lineage)))


def _fetch(store: Store, version: Version, scratch: Path) -> tuple[Path | None, Check]:
    """The version's files, and whether they are what was registered."""
    try:
        folder = registry.download(store, version, scratch)
    except EyasError as error:
        return None, Check("files", False, str(error))
    return folder, Check("files", True, f"as registered (manifest {version.manifest_digest[:12]})")


def _of_the_code(workspace: Workspace, lineage: Lineage) -> Iterator[Check]:
    """The commit, and whether it was all of the code."""
    commit, short = lineage.git_commit, lineage.git_commit[:12]
    if not commit:
        yield Check("code", False, "made outside a git repository: no commit is known")
        return
    there = has_commit(workspace.root, commit)
    here, dirty = git_state(workspace.root)
    state = "checked out" if here == commit and not dirty else "in this repository"
    yield Check("code", there, f"commit {short} is {state}" if there else f"commit {short} is not here: git fetch")
    if lineage.git_dirty:
        yield Check("changes", False, "the checkout held changes that no commit has: compare the stage keys below")


def _of_the_workspace(workspace: Workspace, lineage: Lineage) -> Iterator[Check]:
    """Parameters, data, dense weights and stage keys, as they are in the workspace now."""
    params = workspace.params.model_dump(mode="json", by_alias=True)
    yield _same("parameters", params_digest(params), lineage.params_digest)
    manifest = workspace.artifacts / "fetch" / "manifest.json"
    found = str(json.loads(manifest.read_text())["digest"]) if manifest.exists() else ""
    yield _same("data set", found, lineage.dataset_hash)
    weights = workspace.artifacts / "baseline" / "model.safetensors"
    yield _same("dense weights", file_sha256(weights) if weights.exists() else "", lineage.baseline_sha256)
    now = _stage_keys(workspace)
    differing = [stage for stage, key in lineage.stage_keys.items() if now.get(stage) != key]
    words = f"dvc.lock differs in {', '.join(differing)}" if differing else "dvc.lock holds the same for every stage"
    yield Check("stage keys", not differing, words)


def _same(name: str, found: str, expected: str) -> Check:
    if found == expected:
        return Check(name, True, f"the workspace has the same ({expected[:12]})")
    has = f"has {found[:12]}" if found else "has none yet"
    return Check(name, False, f"expected {expected[:12]}, the workspace {has}")


def _stage_keys(workspace: Workspace) -> dict[str, str]:
    if not (workspace.folder / "dvc.lock").exists():
        return {}
    return {stage: stage_key(workspace.folder, stage) for stage in stage_names(workspace.folder)}


def _run(store: Store, lineage: Lineage) -> Check:
    known = run_exists(store, lineage.run_id)
    words = "has the stages' runs and the report" if known else "is unknown to this store"
    return Check("MLflow run", known, f"{lineage.run_id} {words}")


def _commands(lineage: Lineage) -> Iterator[str]:
    """Commands in a clone; the version's own parameters come with it where a profile made it."""
    if lineage.git_commit:
        yield f"git checkout {lineage.git_commit}"
    yield "make setup"
    yield ".venv/bin/python -m dvc pull --run-cache   # optional: takes what the remote has instead of computing it"
    yield f".venv/bin/{lineage.command}"
