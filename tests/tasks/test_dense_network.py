"""What a file says of a network builds nothing that ``params.yaml`` does not name: forged records run no code."""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import eyas
from eyas.config import PipelineParams, parse_params
from eyas.errors import CheckpointError, EyasError, PlanError
from eyas.progress import silent
from eyas.pruning.plan import canonical_json
from tasks import baseline, export, finetune, sample, score
from tasks.dense_network import load_dense
from tasks.registered_checkpoint import RegisteredCheckpoint

STAGES = {"sample": sample.sample, "score": score.score, "finetune": finetune.finetune, "export": export.export}
PRUNED = "eyas.networks.pruned_architecture"


def attacks(marker: Path) -> dict[str, tuple[str, dict[str, Any]]]:
    """A factory and its arguments for each way to have a file made."""
    shell, python = f"touch {marker}", f"open({str(marker)!r}, 'w').close()"
    inner = {"architecture": "os:system", "arguments": {"command": shell}, "allowed": ["os"]}
    rest = {"shapes": {}, "attributes": [], "num_classes": 10}
    return {
        "shell": ("os:system", {"command": shell}),
        "process": ("subprocess:run", {"args": shell, "shell": True}),
        "hub": ("torch.hub:load", {"repo_or_dir": str(marker.parent), "model": "touch", "source": "local"}),
        "pydoc": ("pydoc:pipepager", {"text": "", "cmd": shell}),
        "timer": ("timeit:timeit", {"stmt": python, "number": 1}),
        "own_builder": (f"{PRUNED}:build_architecture", inner),
        "own_reader": (f"{PRUNED}:load", {"folder": str(marker.parent / "network"), "allowed": ["os"]}),
        "nested": (f"{PRUNED}:build", {"architecture": "os:system", "arguments": {"command": shell}, **rest}),
        "other_arguments": ("models:build", {"name": "resnet20", "num_classes": 10}),
    }


@pytest.fixture
def marker(tmp_path: Path) -> Iterator[Path]:
    """A file that no test may find afterwards, beside a hub and a network that would make it."""
    marker = tmp_path / "marker"
    (tmp_path / "hubconf.py").write_text(f"def touch():\n    open({str(marker)!r}, 'w').close()\n")
    yield marker
    assert not marker.exists()


@pytest.fixture
def artifacts(pruned_digits: Path, tmp_path: Path) -> Path:
    names = ("fetch", "baseline", "sample", "score", "finetune")
    for name in names:
        shutil.copytree(pruned_digits / name, tmp_path / "artifacts" / name)
    sample_file = tmp_path / "artifacts/sample/candidates.parquet"
    sample_file.write_bytes(b"")  # never read: the network comes first
    (tmp_path / "artifacts/export").mkdir()
    return tmp_path / "artifacts"


def forge(path: Path, **changes: Any) -> None:
    """Change a record and compute its digest anew, as anybody can."""
    content = {**json.loads(path.read_text()), **changes}
    content.pop("digest")
    digest = hashlib.sha256(canonical_json(content).encode()).hexdigest()
    path.write_text(json.dumps({**content, "digest": digest}))


def params_of(digits_params: PipelineParams, tmp_path: Path) -> PipelineParams:
    runtime = digits_params.runtime.model_copy(update={"state": str(tmp_path / "state"), "device": "cpu"})
    return digits_params.model_copy(update={"runtime": runtime})


@pytest.mark.parametrize("attack", attacks(Path()))
@pytest.mark.parametrize("stage", STAGES)
def test_no_stage_builds_what_only_a_file_names(
    stage: str, attack: str, artifacts: Path, marker: Path, digits_params: PipelineParams
) -> None:
    architecture, arguments = attacks(marker)[attack]
    forge(artifacts / "baseline/architecture.json", architecture=architecture, arguments=arguments)
    with pytest.raises(CheckpointError, match=r"architecture.json tells of .*nothing was built"):
        STAGES[stage](params_of(digits_params, marker.parent), artifacts, silent)


@pytest.mark.parametrize("attack", attacks(Path()))
def test_export_builds_no_other_network_than_the_one_that_was_pruned(
    attack: str, artifacts: Path, marker: Path, digits_params: PipelineParams
) -> None:
    architecture, arguments = attacks(marker)[attack]
    forge(artifacts / "finetune/architecture.json", architecture=architecture, arguments=arguments)
    with pytest.raises(CheckpointError, match=r"architecture.json tells of .*nothing was built"):
        export.export(params_of(digits_params, marker.parent), artifacts, silent)


@pytest.mark.parametrize("attack", [name for name in attacks(Path()) if name != "other_arguments"])
def test_a_folder_is_loaded_from_allowed_packages_only(attack: str, artifacts: Path, marker: Path) -> None:
    architecture, arguments = attacks(marker)[attack]
    shutil.copytree(artifacts / "finetune", marker.parent / "network")
    forge(marker.parent / "network/architecture.json", architecture="os:system", arguments={"command": "true"})
    forge(artifacts / "finetune/architecture.json", architecture=architecture, arguments=arguments)
    with pytest.raises(EyasError, match="not in an allowed package"):
        eyas.load(artifacts / "finetune")


@pytest.mark.parametrize("attack", attacks(Path()))
def test_a_registered_version_is_built_from_what_the_parameters_name(
    attack: str, artifacts: Path, marker: Path, digits_params: PipelineParams
) -> None:
    architecture, arguments = attacks(marker)[attack]
    params = params_of(digits_params, marker.parent)
    section = params.baseline.model_copy(update={"checkpoint": "models:/digits/1"})
    state = marker.parent / "state"
    shutil.copytree(artifacts / "finetune", state / "registered/digits-1")
    forge(state / "registered/digits-1/architecture.json", architecture=architecture, arguments=arguments)
    RegisteredCheckpoint("models:/digits/1", "digits 1", "v", "digits-1", {}).write(state)
    with pytest.raises(CheckpointError, match="name the same network"):
        baseline.baseline(params.model_copy(update={"baseline": section}), artifacts, silent)


@pytest.mark.parametrize("write", [dict, lambda keys: [keys], lambda keys: ["name", keys]])
def test_a_search_space_imports_nothing(
    write: Callable[[Any], Any], artifacts: Path, marker: Path, digits_params: PipelineParams,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """``torch.utils._pytree`` imports the class of a key that is an enumeration."""
    (marker.parent / "enumeration.py").write_text(f"open({str(marker)!r}, 'w').close()\n")
    monkeypatch.syspath_prepend(str(marker.parent))
    content = json.loads((artifacts / "sample/space.json").read_text())
    enumeration = {"__enum__": True, "fqn": "enumeration:Kind", "name": "first"}
    spec = {"type": "builtins.dict", "context": json.dumps(write(enumeration)), "children_spec": []}
    example = {**content["example"], "structure": json.dumps([1, spec])}
    forge(artifacts / "sample/space.json", example=example)
    with pytest.raises(PlanError, match="tuples, lists and dicts can be read"):
        score.score(params_of(digits_params, marker.parent), artifacts, silent)


def test_a_user_s_factory_is_loaded_by_its_name_alone(tmp_path: Path) -> None:
    """The package of the factory that the parameters name has other functions, too."""
    arguments = {"num_classes": 10, "width": 4, "in_channels": 1}
    section = {"architecture": "models.resnet_cifar:resnet8", "arguments": {"width": 4, "in_channels": 1}}
    params = parse_params({"baseline": section})
    model = eyas.networks.architectures.build_model("models.resnet_cifar:resnet8", arguments, 10)
    network = eyas.networks.saved_network.Network(model, "models.resnet_cifar:resnet8", arguments, (1, 8, 8))
    eyas.networks.saved_network.save_network(network, tmp_path / "baseline")
    assert load_dense(params, tmp_path).arguments == arguments
    forge(tmp_path / "baseline/architecture.json", architecture="models.resnet_cifar:resnet20")
    with pytest.raises(CheckpointError, match="nothing was built"):
        load_dense(params, tmp_path)
