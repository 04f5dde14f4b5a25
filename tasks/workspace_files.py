"""The files that make a profile's folder a DVC project of its own on the checkout's cache."""

import json
import os
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from configobj import ConfigObj

from eyas.config.plugins import ORIGIN
from eyas.config.safe_yaml import load_yaml
from eyas.data.comparability import WORDS
from eyas.errors import ParameterError

PARAMS, LOCK = "params.yaml", "dvc.lock"


def write_workspace(root: Path, folder: Path, content: Mapping[str, Any]) -> None:
    """Write what makes ``folder`` a DVC project of its own on the checkout's cache."""
    (folder / ".dvc").mkdir(parents=True, exist_ok=True)
    up = os.path.relpath(root, folder)
    _write(folder / "params.yaml", yaml.safe_dump(_relocate(content, root, folder), sort_keys=False))
    pipeline = load_yaml((root / "dvc.yaml").read_text(), "dvc.yaml")
    _write(folder / "dvc.yaml", yaml.safe_dump(derive_pipeline(pipeline, up), sort_keys=False))
    if (root / LOCK).exists() and not (folder / LOCK).exists():
        lock = load_yaml((root / LOCK).read_text(), LOCK)
        _write(folder / LOCK, yaml.safe_dump(derive_lock(lock, content, up), sort_keys=False))
    _write(folder / ".dvcignore", (root / ".dvcignore").read_text())
    _write(folder / ".dvc" / "config", dvc_config(root / ".dvc", up))


def dvc_config(dvc_folder: Path, up: str) -> str:
    """The checkout's DVC settings, ``config.local`` included, as a workspace's own: its cache and its remotes.

    Args:
        dvc_folder: ``.dvc`` of the checkout.
        up: the checkout as seen from the workspace.
    """
    settings = _settings(dvc_folder)
    settings.setdefault("core", {})["no_scm"] = True
    settings.setdefault("cache", {}).setdefault("dir", "cache")
    places = [("cache", "dir"), *((name, "url") for name in settings if name.startswith("remote "))]
    for section, key in places:
        place = settings[section].get(key, "")
        if place and not re.match(r"^(/|~|[a-z0-9+]+:)", place):
            settings[section][key] = os.path.normpath(f"../{up}/.dvc/{place}")
    return "\n".join(settings.write()) + "\n"


def cache_folder(root: Path) -> Path:
    """Where DVC keeps what the stages of the checkout and of its workspaces made."""
    folder: str = _settings(root / ".dvc").get("cache", {}).get("dir", "cache")
    return root / ".dvc" / folder


def _settings(dvc_folder: Path) -> ConfigObj:
    settings = ConfigObj()
    for file in ("config", "config.local"):
        if (dvc_folder / file).exists():
            settings.merge(ConfigObj((dvc_folder / file).read_text().splitlines()))
    return settings


def write_origin(root: Path, folder: Path, params_file: Path, command: str) -> None:
    """Record whose workspace ``folder`` is; a file inside the checkout by its place there, for checkouts move."""
    place, checkout = os.path.realpath(params_file), os.path.realpath(root)
    if Path(place).is_relative_to(checkout):
        place = os.path.relpath(place, checkout)
    _write(folder / ORIGIN, json.dumps({"params_file": place, "command": command}, indent=2) + "\n")


def recorded_arguments(folder: Path) -> tuple[str, ...]:
    """What opens the profile of a workspace: ``--params``, its file, ``--set`` with each override; empty if unknown."""
    path = folder / ORIGIN
    return tuple(shlex.split(json.loads(path.read_text())["command"])[2:]) if path.exists() else ()


def require_origin(root: Path, folder: Path, params_file: Path) -> str:
    """See that a workspace, if it is there, belongs to this parameter file.

    Returns:
        what to tell before it changes hands: its file is gone, or was never recorded; else nothing.

    Raises:
        ParameterError: it belongs to another file.
    """
    if not (folder / "params.yaml").exists():
        return ""
    now = f"it goes on with {params_file}"
    if not (folder / ORIGIN).exists():
        return f"{folder} is of an earlier version and does not say which parameter file made it: {now}"
    place = json.loads((folder / ORIGIN).read_text())["params_file"]
    owner = root / place
    if not owner.exists():
        return f"{folder} was made of {place}, which is gone: {now}"
    if not owner.samefile(params_file):
        msg = f"{folder} is the workspace of {place}: give {params_file} one of its own with --name NAME, or rename it"
        raise ParameterError(msg)
    return ""


def _write(path: Path, text: str) -> None:
    """Write only what changed, so that file times do not make anything look new."""
    if not path.exists() or path.read_text() != text:
        part = path.with_name(f"{path.name}.part")
        part.write_text(text)
        part.replace(path)


def derive_pipeline(pipeline: Mapping[str, Any], up: str) -> dict[str, Any]:
    """The checkout's ``dvc.yaml`` as seen from a workspace: sources lie at ``up``, artifacts beside it."""
    derived: dict[str, Any] = json.loads(json.dumps(pipeline))
    for stage in derived["stages"].values():
        command = stage["cmd"].replace("PATH=.venv/bin:", f"PATH={up}/.venv/bin:")
        stage["cmd"] = f"PYTHONPATH={up}:$PYTHONPATH {command}"
        stage["deps"] = [dep if dep.startswith("artifacts/") else f"{up}/{dep}" for dep in stage["deps"]]
    return derived


def derive_lock(lock: Mapping[str, Any], content: Mapping[str, Any], up: str) -> dict[str, Any]:
    """What the checkout's ``dvc.lock`` says of stages with the same parameters, as seen from a workspace.

    A new workspace begins with it: DVC keeps what a stage made under its command and paths, which differ here, and
    would run again what the checkout has run. What else differs it sees by itself.
    """
    same = {
        name: stage
        for name, stage in ((lock or {}).get("stages") or {}).items()
        if all(content.get(section) == value for section, value in stage.get("params", {}).get(PARAMS, {}).items())
    }
    for stage, derived in zip(same.values(), derive_pipeline(_as_pipeline(same), up)["stages"].values(), strict=True):
        stage["cmd"] = derived["cmd"]
        for entry, path in zip(stage.get("deps", []), derived["deps"], strict=True):
            entry["path"] = path
    return {"schema": (lock or {}).get("schema", "2.0"), "stages": same}


def _as_pipeline(stages: Mapping[str, Any]) -> dict[str, Any]:
    """Commands and paths of what a lock holds, as ``dvc.yaml`` has them."""
    return {
        "stages": {
            name: {"cmd": stage["cmd"], "deps": [entry["path"] for entry in stage.get("deps", [])]}
            for name, stage in stages.items()
        }
    }


_PATHS = (("fetch", "train"), ("fetch", "test"), ("baseline", "checkpoint"), ("sample", "latency_profile"))
"""Fields that may hold a relative path."""


def _relocate(content: Mapping[str, Any], root: Path, folder: Path) -> dict[str, Any]:
    """Relative paths of the parameters as seen from the workspace."""
    moved: dict[str, Any] = json.loads(json.dumps(content))
    for section, name in _PATHS:
        value = (moved.get(section) or {}).get(name)
        if isinstance(value, str) and value not in WORDS and not re.match(r"^(/|~|\$|[a-z0-9]+:)", value):
            moved[section][name] = os.path.relpath(root / value, folder)
    return moved
