"""Lineage: where a model came from, as plain values that a registered version carries."""

import json
import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from eyas.errors import BadInputError
from eyas.operations.fingerprint import Code
from eyas.storage.digests import file_sha256, json_sha256

COMMIT_VARIABLE = "EYAS_COMMIT"
OPERATING = frozenset({"runtime", "schedule", "notify", "promote", "adapt", "register", "plugins"})
"""Sections that say how the pipeline is run, not what comes out of it."""


@dataclass(frozen=True)
class Lineage:
    """Everything a registered version needs to be explained and made again."""

    run_id: str
    """MLflow's parent run."""
    stage_keys: Mapping[str, str]
    """Hash of command, dependencies and parameters per stage, as in dvc.lock."""
    dataset_hash: str
    baseline_sha256: str
    """Of the dense weights that pruning started from."""
    params_digest: str
    git_commit: str = ""
    git_dirty: bool = False
    """The checkout held changes that the commit does not."""
    profile: str = "default"
    command: str = "eyas run"
    params: Mapping[str, Any] = field(default_factory=dict)
    code: Code = field(default_factory=dict)
    plugins: str = ""
    """Members of families from the user's own packages, each with its module; empty without any."""

    @property
    def stages_digest(self) -> str:
        """One hash of all stage keys: equal for equal data, parameters and code."""
        return json_sha256(dict(self.stage_keys))

    def tags(self) -> dict[str, str]:
        """The lineage as tags of a model version; its parameters and code are files beside the model."""
        values = asdict(self) | {"stage_keys": json.dumps(dict(self.stage_keys), sort_keys=True)}
        left_out = ("params", "code") if self.plugins else ("params", "code", "plugins")
        values = {name: value for name, value in values.items() if name not in left_out}
        values["stages_digest"] = self.stages_digest
        return {f"eyas.{name}": _text(value) for name, value in values.items()}

    @classmethod
    def from_tags(cls, tags: Mapping[str, str], params: Mapping[str, Any] | None = None) -> "Lineage":
        """The lineage that :meth:`tags` wrote."""
        return cls(
            run_id=tags["eyas.run_id"],
            stage_keys=json.loads(tags["eyas.stage_keys"]),
            dataset_hash=tags["eyas.dataset_hash"],
            baseline_sha256=tags["eyas.baseline_sha256"],
            params_digest=tags["eyas.params_digest"],
            git_commit=tags.get("eyas.git_commit", ""),
            git_dirty=tags.get("eyas.git_dirty") == "true",
            profile=tags.get("eyas.profile", "default"),
            command=tags.get("eyas.command", "eyas run"),
            params=params or {},
            plugins=tags.get("eyas.plugins", ""),
        )


def trace_lineage(
    checkout: Path,
    artifacts: Path,
    *,
    run_id: str,
    stage_keys: Mapping[str, str],
    params: Mapping[str, Any],
    code: Code | None = None,
    profile: str = "default",
    command: str = "eyas run",
    plugins: str = "",
) -> Lineage:
    """The lineage of what lies under ``artifacts``, with the checkout's commit."""
    commit, dirty = git_state(checkout)
    manifest = json.loads((artifacts / "fetch" / "manifest.json").read_text())
    return Lineage(
        run_id=run_id,
        stage_keys=dict(stage_keys),
        dataset_hash=str(manifest["digest"]),
        baseline_sha256=file_sha256(artifacts / "baseline" / "model.safetensors"),
        params_digest=params_digest(params),
        git_commit=commit,
        git_dirty=dirty,
        profile=profile,
        command=command,
        params=params,
        code=code or {},
        plugins=plugins,
    )


def params_digest(params: Mapping[str, Any]) -> str:
    """Digest of the sections that can change a network; how it is operated is none of them."""
    return json_sha256({name: section for name, section in params.items() if name not in OPERATING})


def git_state(checkout: Path) -> tuple[str, bool]:
    """Commit of the checkout and whether files differ from it; an empty commit where none is known.

    ``dvc.lock`` and ``inputs.json`` do not count: every run writes its own. A checkout without git (an image) has the
    commit that the environment variable ``EYAS_COMMIT`` names, ``-dirty`` behind it where files differed.

    Raises:
        BadInputError: ``EYAS_COMMIT`` is needed, and names none.
    """
    written = (":(exclude)dvc.lock", ":(exclude)inputs.json")
    changes = ("status", "--porcelain", "--untracked-files=no", "--", ".", *written)
    try:
        return _git(checkout, "rev-parse", "HEAD"), bool(_git(checkout, *changes))
    except (OSError, subprocess.CalledProcessError):
        return _commit_of_environment()


def _commit_of_environment() -> tuple[str, bool]:
    commit = os.environ.get(COMMIT_VARIABLE, "")
    if not re.fullmatch(r"([0-9a-f]{40}([0-9a-f]{24})?(-dirty)?)?", commit):
        msg = f"{COMMIT_VARIABLE}={commit}: expected a whole commit (40 hexadecimal digits), or that and -dirty"
        raise BadInputError(msg)
    return commit.removesuffix("-dirty"), commit.endswith("-dirty")


def has_commit(checkout: Path, commit: str) -> bool:
    """Whether the checkout's repository holds a commit."""
    try:
        _git(checkout, "cat-file", "-e", f"{commit}^{{commit}}")
    except (OSError, subprocess.CalledProcessError):
        return False
    return True


def _git(checkout: Path, *arguments: str) -> str:
    command = ["git", "-C", str(checkout), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
