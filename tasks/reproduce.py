"""From a registered version back to its making: what is needed, what of it is here, and what to type.

Looks at the profile and the workspace that the version was made in, whatever the present one is. Checks out nothing and
changes nothing.
"""

import functools
import json
import shlex
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from eyas.config import PipelineParams, parse_params
from eyas.errors import EyasError, StorageError
from eyas.operations.fingerprint import OWN, Code, Fingerprint, changed_files, code_digest
from eyas.operations.lineage import OPERATING, Lineage, git_state, has_commit, params_digest
from eyas.operations.tracking import MlflowStore, Version, model_registry, promotion, report_address, run_exists
from eyas.operations.tracking.adaptation_run import parent_of
from eyas.storage import Store, redacted
from eyas.storage.digests import file_sha256, json_sha256
from tasks.adapted_gates import ADAPTATION
from tasks.adapted_version import ADAPT
from tasks.dvc_cli import stage_key, stage_names
from tasks.fingerprint import code_files
from tasks.registry_source import checkpoint_versions
from tasks.reproduction import Check, Reproduction
from tasks.source_version import SourceVersions, data_versions
from tasks.tracking_store import candidate_alias, open_store
from tasks.users_code import PYTHON_PATH, folders_of_code, of_the_users_code, own_code_here, with_python_path
from tasks.version_profile import open_by_command
from tasks.workspace import Workspace

MAX_NAMED = 5
"""Differing parameters that are named."""


def reproduce(workspace: Workspace, number: str | None = None) -> Reproduction:
    """What it takes to make a version (without a number the candidate) again, each part verified.

    Args:
        workspace: names the registered model and the MLflow store.
        number: of the version.

    Raises:
        BadInputError: there is no such version, or it was registered by other means.
    """
    store, root = open_store(workspace), workspace.root
    version = promotion.requested_version(store, workspace.params.register_.model, number, candidate_alias(workspace))
    with tempfile.TemporaryDirectory() as scratch:
        files, check = _fetch(store, version, Path(scratch))
        params = json.loads((files / "params.json").read_text()) if files else {}
        code = model_registry.read_code(files / model_registry.CODE, version) if files else {}
    lineage = Lineage.from_tags(version.tags, params)
    then = Fingerprint.from_tags(version.tags)
    own, why = _made_in(root, lineage)
    is_here = own_code_here(workspace, code).keys() == code.get(OWN, {}).keys()
    was_in = "" if is_here else version.tags.get(PYTHON_PATH, "")
    known = run_exists(store, lineage.run_id)
    words = (
        ("has the adaptation" if parent_of(version) else "has the stages' runs")
        if known
        else "is unknown to this store"
    )
    needed = [check, *_of_the_commit(root, lineage), *of_the_users_code(workspace, code, was_in)]
    needed += _of_the_sources(workspace, own, lineage, then)
    needed.append(Check("MLflow run", known, f"{lineage.run_id} {words}"))
    of_the_workspace = _of_the_workspace(own, lineage) if own else [Check("params", False, why)]
    here = (_of_the_code(own or workspace, then, code), *of_the_workspace)
    run = with_python_path(f".venv/bin/{lineage.command}", folders_of_code(workspace, code) or was_in)
    report = report_address(store, lineage.run_id) if known else None
    commands = (*_commands(lineage, run), *_adaptation(version))
    return Reproduction(version, lineage, tuple(needed), here, report, commands)


def _fetch(store: MlflowStore, version: Version, scratch: Path) -> tuple[Path | None, Check]:
    """The version's files, and whether they are what was registered."""
    registered = version.manifest_digest
    try:
        folder = model_registry.download(store, version, scratch)
    except EyasError as error:
        return None, Check("files", False, str(error))
    return folder, Check("files", True, f"as registered (manifest {registered[:12]})")


def _made_in(root: Path, lineage: Lineage) -> tuple[Workspace | None, str]:
    """The workspace of the version's own profile, with its parameters as they are now; or why there is none."""
    try:
        return open_by_command(root, lineage.command), ""
    except EyasError as error:
        return None, f"the profile {lineage.profile!r} cannot be opened: {error}"


def _of_the_commit(root: Path, lineage: Lineage) -> Iterator[Check]:
    """The commit, and whether it was all of the code."""
    commit, short = lineage.git_commit, lineage.git_commit[:12]
    if not commit:
        yield Check("commit", False, "unknown: made without git, and EYAS_COMMIT was not set")
        return
    here, dirty = git_state(root)
    there = here == commit or has_commit(root, commit)
    state = "checked out" if here == commit and not dirty else "in this repository"
    yield Check("commit", there, f"{short} is {state}" if there else f"{short} is not here: git fetch")
    if lineage.git_dirty:
        yield Check("changes", False, "the checkout held changes that no commit has: see what differs below")


def _of_the_sources(
    workspace: Workspace, own: Workspace | None, lineage: Lineage, then: Fingerprint | None
) -> Iterator[Check]:
    """Whether data and checkpoint still answer at their addresses as they did."""
    try:
        params = _recorded(workspace, own, lineage)
    except EyasError as error:
        yield Check("data source", False, f"its address is not known: {error}")
        return
    addresses = " and ".join(redacted(list(params.fetch.addresses.values())))
    look = functools.partial(data_versions, params.fetch, Store(params.runtime.storage), workspace.root)
    yield _answers("data source", addresses, then.data if then else "", look)
    if params.baseline.checkpoint:
        look = functools.partial(checkpoint_versions, params, workspace.root)
        yield _answers("checkpoint source", redacted(params.baseline.checkpoint), then.checkpoint if then else "", look)


def _recorded(workspace: Workspace, own: Workspace | None, lineage: Lineage) -> PipelineParams:
    """The parameters of the version: as they stand where they are the same, for records leave secrets out."""
    same = own is not None and params_digest(own.all_params) == lineage.params_digest
    if not same and not lineage.params:
        msg = "the version's parameters are not here"
        raise StorageError(msg)
    params = own.params if own is not None and same else parse_params(lineage.params, "the version's params.json")
    return params.model_copy(update={"runtime": workspace.params.runtime})


def _answers(name: str, address: str, expected: str, look: Callable[[], SourceVersions]) -> Check:
    if not expected:
        return Check(name, False, f"{address}: what it held then was not recorded")
    try:
        digest = json_sha256(look())
    except EyasError as error:
        return Check(name, False, str(error))
    words = "holds the same" if digest == expected else "holds something else now"
    return Check(name, digest == expected, f"{address} {words}")


def _of_the_code(workspace: Workspace, then: Fingerprint | None, code: Code) -> Check:
    """The files that the stages depend on, whatever commit they are of."""
    if then is None:
        return Check("code", False, "what the stages' files were was not recorded")
    now = code_files(workspace)
    if code_digest(now) == then.code:
        return Check("code", True, "the files of the stages are the same")
    now = {**now, OWN: {**own_code_here(workspace, code), **now.get(OWN, {})}}
    changes = [change.replace(" is gone", " cannot be found") for change in changed_files(now, code)] if code else []
    return Check("code", False, f"the files of the stages are others{': ' if changes else ''}{', '.join(changes)}")


def _of_the_workspace(own: Workspace, lineage: Lineage) -> Iterator[Check]:
    """Parameters, data, dense weights and stage keys, as they are in the version's own workspace now."""
    params = own.all_params
    same = params_digest(params) == lineage.params_digest
    names = ", ".join(_differing(params, lineage.params)) or "(the version's parameters are not here)"
    yield Check("params", same, f"{own.name} has the same" if same else f"{own.name} has others: {names}")
    manifest = own.artifacts / "fetch" / "manifest.json"
    dataset = str(json.loads(manifest.read_text())["digest"]) if manifest.exists() else ""
    yield _same("data", own, dataset, lineage.dataset_hash)
    weights = own.artifacts / "baseline" / "model.safetensors"
    yield _same("checkpoint", own, file_sha256(weights) if weights.exists() else "", lineage.baseline_sha256)
    now = _stage_keys(own)
    differing = [stage for stage, key in lineage.stage_keys.items() if stage != ADAPT and now.get(stage) != key]
    words = f"dvc.lock differs in {', '.join(differing)}" if differing else "dvc.lock holds the same for every stage"
    yield Check("lock", not differing, words)


def _differing(now: Mapping[str, Any], then: Mapping[str, Any]) -> list[str]:
    """``section.field`` of parameters that differ and can change a network, the first few of them."""
    seen, parts = redacted(now), [part for part in then if part not in OPERATING]
    names = [
        f"{part}.{name}" for part in parts for name in then[part] if seen.get(part, {}).get(name) != then[part][name]
    ]
    return [*names[:MAX_NAMED], *(["..."] if len(names) > MAX_NAMED else [])]


def _same(name: str, own: Workspace, digest: str, expected: str) -> Check:
    if digest == expected:
        return Check(name, True, f"{own.name} has the same ({expected[:12]})")
    has = f"has {digest[:12]}" if digest else "has none yet"
    return Check(name, False, f"expected {expected[:12]}, {own.name} {has}")


def _stage_keys(workspace: Workspace) -> dict[str, str]:
    if not (workspace.folder / "dvc.lock").exists():
        return {}
    return {stage: stage_key(workspace.folder, stage) for stage in stage_names(workspace.folder)}


def _commands(lineage: Lineage, run: str) -> Iterator[str]:
    """Commands in a clone; the version's own parameters come with it where a profile made it."""
    if lineage.git_commit:
        yield f"git checkout {lineage.git_commit}"
    yield "make setup"
    yield ".venv/bin/python -m dvc pull --run-cache   # optional: takes what the remote has instead of computing it"
    yield run


def _adaptation(version: Version) -> Iterator[str]:
    """How an adapted version follows from its parent, which the other commands make again."""
    parent = parent_of(version)
    if parent is None:
        return
    record = json.loads(version.tags[ADAPTATION])
    how = {f"adapt.{name}": record[name] for name in ("adapter", "batch_size", "seed")}
    options = [part for name, value in how.items() for part in ("--set", f"{name}={json.dumps(value)}")]
    profile = shlex.split(version.lineage.command)[2:]
    labelled = ["--labels"] if record["labelled"] else []
    own = ["--version", str(parent[1]), "--force", *labelled]
    command = shlex.join(["eyas", "adapt", "IMAGES", *profile, *own, *options])
    images = f"{record['images']} images, whose sha256 are in images.json of MLflow run {version.lineage.run_id}"
    yield f".venv/bin/{command}   # {images}"
