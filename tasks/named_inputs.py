"""What ``params.yaml`` names and DVC does not see, as ``inputs.json``, which every stage lists among its parameters.

That is the user's own code that a stage reaches, files among the arguments of a network's factory, the latency profile
and the checkpoint: its content where it is a file, its number where an alias of the registry names it; and the rule of
another section that a bundle carries to the device. A flow writes it
before the first stage; the checkout keeps the one of its own profile in git, beside ``params.yaml``.
"""

import json
import os
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from eyas.component import Component
from eyas.config import expand
from eyas.config.safe_yaml import load_yaml
from eyas.operations.source_files import LIBRARY, SourceFiles
from eyas.storage.addresses import parse
from eyas.storage.digests import file_sha256, json_sha256
from tasks import dense_source
from tasks.registered_checkpoint import registered_address
from tasks.workspace import Workspace

INPUTS = "inputs.json"
CHECKPOINT, DEVICE_RULE = "baseline.checkpoint", "adapt.rule"
_REFERENCE = re.compile(r"[^\W\d][\w.]*:[^\W\d][\w.]*")
NETWORKS = "models"
"""Package of the architectures with plain names; a stage that lists it builds networks."""

StageInputs = dict[str, dict[str, str]]
"""By stage, then by name: a sha256, a version, an address."""


def write_inputs(workspace: Workspace, registered: str | None = None) -> StageInputs:
    """Leave ``inputs.json`` as things are now; call it inside the workspace's lock.

    Args:
        workspace: whose stages will run.
        registered: the version that ``baseline.checkpoint`` names, if it names one in the registry.

    Raises:
        BadInputError: the checkpoint's file is not there.
    """
    inputs = own_code(workspace)
    if "baseline" in inputs:
        inputs["baseline"] |= _checkpoint(workspace, registered)
    if "export" in inputs:
        inputs["export"] |= _device_rule(workspace)
    text = json.dumps(inputs, indent=2, sort_keys=True) + "\n"
    path = workspace.folder / INPUTS
    if not path.exists() or path.read_text() != text:
        path.write_text(text)
    return inputs


def read_own_code(workspace: Workspace) -> dict[str, str]:
    """What ``inputs.json`` says of the code that the stages ran with, all stages together."""
    path = workspace.folder / INPUTS
    inputs: StageInputs = json.loads(path.read_text()) if path.exists() else {}
    return {
        name: value for part in inputs.values() for name, value in part.items() if name not in {CHECKPOINT, DEVICE_RULE}
    }


def own_code(workspace: Workspace) -> StageInputs:
    """By stage, the source files that its parameters reach and ``dvc.yaml`` does not list, and what is installed."""
    sources = SourceFiles(search_path(workspace))
    stages = load_yaml((workspace.root / "dvc.yaml").read_text(), "dvc.yaml")["stages"]
    return {name: _of_stage(workspace, stage, sources) for name, stage in stages.items()}


def search_path(workspace: Workspace) -> list[str]:
    """Where a stage's process looks for modules, first of all."""
    beside = (workspace.root / workspace.params_file).resolve().parent
    return [str(folder) for folder in (workspace.folder, workspace.root, *python_path(workspace), *sys.path, beside)]


def python_path(workspace: Workspace) -> list[Path]:
    """The folders of ``PYTHONPATH``; relative ones start where a stage runs."""
    return [workspace.folder / folder for folder in os.environ.get("PYTHONPATH", "").split(os.pathsep) if folder]


def _of_stage(workspace: Workspace, stage: Mapping[str, Any], sources: SourceFiles) -> dict[str, str]:
    """What one stage of ``dvc.yaml`` reaches."""
    listed = [workspace.root.resolve() / dep for dep in stage.get("deps", ())]
    named = [name for name in stage.get("params", ()) if isinstance(name, str)]
    sections = [getattr(workspace.params, name, None) for name in named]
    modules = [module for section in sections for module in _modules(section)]
    builds = NETWORKS in stage.get("deps", ())
    network = workspace.params.baseline
    modules += [NETWORKS, *_modules([network.architecture, network.arguments])] if builds else []
    code = sources.reached_from(modules, lambda path: any(path.resolve().is_relative_to(dep) for dep in listed))
    profile = _profile(workspace) if "sample" in named else {}
    return code | profile | (_files(workspace, network.arguments) if builds else {})


def plugins(value: Any) -> Iterator[str]:
    """Members of families among parameters that are no part of the library, each with its module."""
    if isinstance(value, Component) and type(value).__module__.partition(".")[0] != LIBRARY:
        yield f"{value.family} {value.kind} of {type(value).__module__}"
    for inner in _inside(value):
        yield from plugins(inner)


def _modules(value: Any) -> Iterator[str]:
    """Modules behind parameters: of their components, and of every ``package.module:name``."""
    if isinstance(value, Component):
        yield type(value).__module__
    if isinstance(value, str) and _REFERENCE.fullmatch(value):
        yield value.partition(":")[0]
    for inner in _inside(value):
        yield from _modules(inner)


def _files(workspace: Workspace, value: Any) -> dict[str, str]:
    """Files that a network's arguments name, as a stage would open them; of a folder, all below it."""
    if isinstance(value, str) and len(value) < os.pathconf("/", "PC_NAME_MAX") and "\0" not in value:
        path = workspace.folder / value
        if path.is_dir() and not workspace.folder.resolve().is_relative_to(path.resolve()):
            inner = sorted(file for file in path.rglob("*") if file.is_file())
            return {f"{value}/{file.relative_to(path).as_posix()}": file_sha256(file) for file in inner}
        return {value: file_sha256(path)} if path.is_file() else {}
    return {name: sha256 for inner in _inside(value) for name, sha256 in _files(workspace, inner).items()}


def _profile(workspace: Workspace) -> dict[str, str]:
    """The latency profile; a relative path starts at the checkout."""
    name = workspace.params.sample.latency_profile
    path = workspace.root / name if name else None
    return {name: file_sha256(path)} if name and path and path.is_file() else {}


def _inside(value: Any) -> list[Any]:
    if isinstance(value, BaseModel):
        return [inner for _, inner in value]
    if isinstance(value, Mapping):
        return list(value.values())
    return list(value) if isinstance(value, (list, tuple)) else []


def _device_rule(workspace: Workspace) -> dict[str, str]:
    """What an adaptable bundle takes of section ``adapt``, which most parameter files leave out."""
    params = workspace.params
    rule = {"rule": params.adapt.rule.model_dump(), "source_images": params.adapt.source_images}
    return {DEVICE_RULE: json_sha256(rule)} if params.export.adaptable else {}


def _checkpoint(workspace: Workspace, registered: str | None) -> dict[str, str]:
    """The checkpoint, if it can be known without asking a remote, which retraining does."""
    params = workspace.params
    if registered is not None:
        return {CHECKPOINT: registered}
    address = params.baseline.checkpoint
    if address is None or registered_address(params) or parse(expand(address)).scheme != "file":
        return {}
    return {CHECKPOINT: dense_source.checkpoint_versions(params, workspace.root)["checkpoint"]}
