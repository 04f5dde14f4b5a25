"""Networks that were saved in the first format are what they were, and are written in today's."""

import json
import shutil
from pathlib import Path

import pytest
import torch

import eyas
from eyas.errors import CheckpointError, ParameterError
from eyas.networks.architecture_record import read_record
from eyas.networks.pruned_architecture import dense_architecture, describe
from eyas.networks.saved_network import load_network, save_network

SAVED = Path(__file__).parent / "format_1"
IMAGES = torch.linspace(-1, 1, 128).view(2, 1, 8, 8)
ARGUMENTS = {"name": "resnet8", "num_classes": 3, "width": 2, "in_channels": 1}


@pytest.mark.parametrize("name", ["dense", "pruned", "pruned_twice"])
def test_they_compute_what_they_computed(name: str) -> None:
    """``pruned_twice`` names its factory by a module that is elsewhere now."""
    logits = torch.tensor(json.loads((SAVED / "logits.json").read_text())[name])
    assert torch.allclose(eyas.load(SAVED / name)(IMAGES), logits, atol=1e-6)


def test_their_records_say_what_they_said() -> None:
    records = {name: read_record(SAVED / name) for name in ("dense", "pruned", "pruned_twice")}
    assert {name: record.input_shape for name, record in records.items()} == dict.fromkeys(records, (1, 8, 8))
    assert [record.seen_by_checkpoint for record in records.values()] == [True, False, False]
    assert [record.pruning is None for record in records.values()] == [True, False, False]
    assert records["pruned_twice"].architecture == "eyas.pruned:build"
    for record in records.values():
        first = dense_architecture(record.architecture, record.arguments)
        assert (first.factory, first.arguments) == ("models:build", ARGUMENTS)


def test_a_dense_one_is_written_in_the_present_format_with_the_same_weights(tmp_path: Path) -> None:
    save_network(load_network(SAVED / "dense"), tmp_path)
    assert (tmp_path / "model.safetensors").read_bytes() == (SAVED / "dense/model.safetensors").read_bytes()
    assert read_record(tmp_path) == read_record(SAVED / "dense")
    assert json.loads((tmp_path / "architecture.json").read_text())["format"] == 2


def test_a_pruned_one_is_written_in_the_present_format_with_the_same_weights_and_plan(tmp_path: Path) -> None:
    dense = eyas.load(SAVED / "dense")
    plan = eyas.PruningPlan.from_json((SAVED / "pruned/plan.json").read_text())
    space, small = eyas.trace(dense, (IMAGES,)), eyas.load(SAVED / "pruned")
    eyas.save(small, tmp_path, space=space, plan=plan, architecture="models:build", arguments=ARGUMENTS)
    for name in ("model.safetensors", "plan.json"):
        assert (tmp_path / name).read_bytes() == (SAVED / "pruned" / name).read_bytes()
    record = read_record(tmp_path)
    assert record.answers is not None
    assert record.model_copy(update={"answers": None}) == read_record(SAVED / "pruned")
    assert describe(tmp_path) == describe(SAVED / "pruned")


def test_changes_to_them_are_seen(tmp_path: Path) -> None:
    folder = shutil.copytree(SAVED / "pruned", tmp_path / "pruned")
    content = json.loads((folder / "architecture.json").read_text())
    (folder / "architecture.json").write_text(json.dumps({**content, "architecture": "os:system"}))
    with pytest.raises(CheckpointError, match="was changed: digest"):
        eyas.load(folder)
    (folder / "architecture.json").write_text(json.dumps({**content, "attributes": []}))
    with pytest.raises(CheckpointError, match="was changed: digest"):
        eyas.load(folder)
    folder = shutil.copytree(SAVED / "dense", tmp_path / "dense")
    content = json.loads((folder / "architecture.json").read_text())
    (folder / "architecture.json").write_text(json.dumps({**content, "architecture": "os:system"}))
    with pytest.raises(ParameterError, match="not in an allowed package"):
        eyas.load(folder)
    (folder / "architecture.json").write_text(json.dumps({**content, "more": 1}))
    with pytest.raises(CheckpointError, match="is not what eyas.save writes"):
        eyas.load(folder)
