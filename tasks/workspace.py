"""Workspaces: where a profile's parameters, artifacts and lock file live.

The default profile is the checkout itself. Any other has ``workspaces/<name>/`` with its resolved
``params.yaml``, a ``dvc.yaml`` derived from the checkout's, and a ``dvc.lock`` and ``artifacts/`` of its own;
all share one DVC cache, so running one never makes another stale.

A run holds its workspace by a file lock, which keeps apart the processes of one machine. Another machine has a checkout
and workspaces of its own; that two machines do not run one profile at the same time is up to Prefect (a concurrency
limit of the work pool). If they do, both results are whole and registered.
"""

import hashlib
import json
import logging
import os
import shlex
import sys
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from eyas.config import PipelineParams, PromoteParams, apply_overrides, parse_params, read_sections
from eyas.config.override import parse_overrides
from eyas.config.plugins import find_modules_of
from eyas.config.safe_yaml import load_yaml
from eyas.errors import BusyError, ParameterError
from tasks.profile_name import (
    DEFAULT,
    check_name,
    former_folder,
    profile_of,
    profile_overrides,
    profile_title,
    workspace_folder,
)
from tasks.workspace_files import require_origin, write_origin, write_workspace

log = logging.getLogger(__name__)

RUNTIME_VARIABLE = "EYAS_RUNTIME"


@dataclass(frozen=True)
class Workspace:
    """A profile's folder and its checked parameters."""

    root: Path
    """The checkout."""
    folder: Path
    """Where stages run: the checkout itself, or ``workspaces/<name>/``."""
    name: str
    params: PipelineParams
    runtime: Mapping[str, Any] = field(default_factory=dict)
    """Runtime settings given for this run only; they reach stages through the environment."""
    arguments: tuple[str, ...] = ()
    """What to give ``eyas run`` for the same profile, in a clone of the same commit."""
    gates: tuple[str, ...] = ()
    """Overrides of ``promote`` that were given for this command only, and are not what the profile says."""
    adaptation: tuple[str, ...] = ()
    """Those of ``adapt``."""
    content: Mapping[str, Any] = field(default_factory=dict)
    """The resolved parameters of a profile of its own, as they will stand in its ``params.yaml``."""
    params_file: Path = Path("params.yaml")
    """The file that they were read from."""
    former: Path | None = None
    """The folder that an earlier version gave the profile, if it is there and no longer used."""

    @property
    def command(self) -> str:
        """What to type for the same run."""
        return shlex.join(["eyas", "run", *self.arguments])

    @property
    def title(self) -> str:
        """The name for people."""
        return profile_title(self.name, self.arguments)

    @property
    def artifacts(self) -> Path:
        """What the stages write."""
        return self.folder / "artifacts"

    @property
    def all_params(self) -> dict[str, Any]:
        """Every section as JSON values, defaults included, by the names of ``params.yaml``."""
        return self.params.model_dump(mode="json", by_alias=True)

    @property
    def state(self) -> Path:
        """Epoch checkpoints, journals, the run lock."""
        return self.folder / self.params.runtime.state

    def identity(self) -> str:
        """Tells this folder from every other on any machine, for as long as its state is kept."""
        path = self.state / "identity"
        if not path.exists():
            self._make_state()
            path.write_text(uuid.uuid4().hex)
        return hashlib.sha256(f"{path.read_text()} {self.folder.resolve()}".encode()).hexdigest()[:32]

    def environment(self) -> dict[str, str]:
        """The environment of a stage's process."""
        bin_folder = str(Path(sys.prefix) / "bin")
        return {
            **os.environ,
            "PATH": os.pathsep.join([bin_folder, os.environ.get("PATH", "")]),
            "PYTHONUNBUFFERED": "1",
            RUNTIME_VARIABLE: json.dumps(dict(self.runtime)),
        }

    def refuse_if_busy(self) -> None:
        """Say at once, before anything is started, that another run holds the workspace.

        Raises:
            BusyError: it does.
        """
        if self.state.exists():
            with self._held(wait=False):
                pass

    @contextmanager
    def locked(self, *, wait: bool = False) -> Iterator[None]:
        """Hold the workspace for one run on this machine, its parameters written down; nobody changes them meanwhile.

        Raises:
            BusyError: another run holds it, and ``wait`` was not asked for.
        """
        with self._held(wait=wait):
            if self.folder != self.root:
                self._prepare()
            yield

    def _prepare(self) -> None:
        news = require_origin(self.root, self.folder, self.params_file)
        if self.former and not (self.folder / "params.yaml").exists():
            news = f"{self.former} is now {self.folder}: nothing reads the former any more, remove it when you like"
        if news:
            log.warning("%s", news)
        write_workspace(self.root, self.folder, self.content)
        write_origin(self.root, self.folder, self.params_file, self.command)

    def _make_state(self) -> None:
        try:
            self.state.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            msg = f"runtime.state: {self.state} cannot be made: {error.strerror}"
            raise ParameterError(msg) from error

    @contextmanager
    def _held(self, *, wait: bool) -> Iterator[None]:
        self._make_state()
        owner = self.state / "run.owner"
        lock = FileLock(self.state / "run.lock", timeout=-1 if wait else 0)
        try:
            with lock:
                owner.write_text(str(os.getpid()))
                yield
        except Timeout as error:
            pid = owner.read_text() if owner.exists() else "unknown"
            ways = (
                "stop it first, or wait for it (run: --wait, retrain: schedule.overlap, adapt: adapt.schedule.overlap)"
            )
            msg = f"another run (process {pid}) holds {self.name!r}: {ways}"
            raise BusyError(msg) from error


def open_workspace(
    root: Path,
    params_file: Path | None = None,
    overrides: Sequence[str] = (),
    *,
    name: str | None = None,
    typed: Mapping[str, str] | None = None,
) -> Workspace:
    """Check the parameters and find the folder of their profile; :meth:`Workspace.locked` prepares it.

    Args:
        root: the checkout.
        params_file: another ``params.yaml``; without one (and without overrides) the checkout's own profile.
        overrides: ``section.field=value`` each, the value in YAML.
        name: of the workspace; without one it is made of the file's stem and the overrides.
        typed: what the user typed, by override, where that was not ``--set``.

    Raises:
        ParameterError: names section, field, value and what is allowed.
    """
    if name is not None:
        check_name(name)
    path = params_file or root / "params.yaml"
    _require_utf8(path)
    content = read_sections(path)
    find_modules_of(path)
    runtime = [item for item in overrides if item.startswith("runtime.")]
    others = profile_overrides(overrides)
    resolved = apply_overrides(content, overrides, typed)
    params = parse_params(resolved, str(path), parse_overrides(overrides, typed))
    gates = tuple(item for item in overrides if item.startswith("promote.") and _changes(content, item))
    adaptation = tuple(item for item in overrides if item.startswith("adapt."))
    runtime_only = apply_overrides({}, runtime).get("runtime", {})
    profile = profile_of(root, path, others, name)
    if profile == DEFAULT:
        _require_sections(root, path, content)
        return Workspace(root, root, DEFAULT, params, runtime_only, gates=gates, adaptation=adaptation)
    place = os.path.relpath(path, root)
    place = f"./{place}" if place.startswith("-") else place
    arguments = ["--params", place, *(part for item in others for part in ("--set", item))]
    arguments += ["--name", name] if name else []
    folder = workspace_folder(root, profile)
    require_origin(root, folder, path)
    return Workspace(
        root,
        folder,
        profile,
        params,
        runtime_only,
        tuple(arguments),
        gates=gates,
        adaptation=adaptation,
        content={**{section: {} for section in stage_sections(root)}, **apply_overrides(content, others)},
        params_file=path,
        former=None if name else former_folder(root, path, others),
    )


def _changes(content: Mapping[str, Any], override: str) -> bool:
    """Whether an override says something else than the file, or the default of what the file leaves out."""
    defaults = {"promote": PromoteParams().model_dump(mode="json")}
    own = {"promote": defaults["promote"] | dict(content.get("promote") or {})}
    return apply_overrides(own, [override]) != own


def _require_utf8(path: Path) -> None:
    """No command that is printed or recorded could name the file."""
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        msg = f"the name {path.name!r} is not UTF-8: rename the file or its folder"
        raise ParameterError(msg) from error


def stage_sections(root: Path) -> list[str]:
    """The sections that ``dvc.yaml`` tracks; DVC wants each of them written down, if only as ``{}``."""
    stages = load_yaml((root / "dvc.yaml").read_text(), "dvc.yaml")["stages"].values()
    listed = (name for stage in stages for name in stage.get("params", []) if isinstance(name, str))
    return list(dict.fromkeys(name.partition(".")[0] for name in listed))


def _require_sections(root: Path, path: Path, content: Mapping[str, Any]) -> None:
    missing = [section for section in stage_sections(root) if content.get(section) is None]
    if missing:
        lines = "\n".join(f"  {section}: {{}}" for section in missing)
        msg = f"{path} leaves out sections that DVC looks at: add\n{lines}\n(each field then has its default)"
        raise ParameterError(msg)
