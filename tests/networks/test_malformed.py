"""Damaged networks, plans and search spaces end in one line, also where whoever damaged them sealed them again.

``EYAS_MUTATIONS`` sets how many of each kind are tried.
"""

import io
import json
import os
import resource
import zipfile
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import nn

import eyas
from eyas.errors import CheckpointError, PlanError
from eyas.networks.architecture_record import content_digest
from eyas.networks.checkpoint import load_weights
from eyas.pruning.space import SearchSpace
from eyas.pruning.space_json import LARGEST, sealed
from tests.pruning.networks import CifarResNet
from tests.pruning.oracle import random_widths
from tests.support.mutations import attack, json_mutations, mutations

COUNT = int(os.environ.get("EYAS_MUTATIONS", "60"))


@pytest.fixture(scope="module")
def network() -> tuple[nn.Module, SearchSpace]:
    model = CifarResNet(1).eval()
    return model, eyas.trace(model, (torch.randn(2, 3, 16, 16),))


@pytest.fixture
def saved(network: tuple[nn.Module, SearchSpace], tmp_path: Path) -> Path:
    model, space = network
    plan = space.plan(random_widths(space, 0))
    small = eyas.prune(model, space, plan)
    name = "tests.pruning.networks:CifarResNet"
    return eyas.save(small, tmp_path / "a", space=space, plan=plan, architecture=name, arguments={"n": 1})


@pytest.mark.parametrize("name", ["architecture.json", "plan.json", "model.safetensors"])
def test_a_saved_network(saved: Path, name: str) -> None:
    path = saved / name

    def attempt(data: bytes) -> None:
        path.write_bytes(data)
        eyas.load(saved, factory=CifarResNet)

    attack(mutations(path.read_bytes(), COUNT), attempt)


def test_an_architecture_that_was_sealed_again(saved: Path) -> None:
    path = saved / "architecture.json"
    content = json.loads(path.read_text())
    del content["digest"]

    def attempt(damaged: dict[str, Any]) -> None:
        damaged = {**damaged, "arguments": content["arguments"]}  # a factory may well take hours for other ones
        path.write_text(json.dumps({**damaged, "digest": content_digest(damaged)}))
        eyas.load(saved, allowed=["tests"])

    attack(json_mutations(content, COUNT), attempt, least=0.2)


def test_a_search_space(network: tuple[nn.Module, SearchSpace]) -> None:
    model, space = network
    text = json.dumps(space.to_json()).encode()
    attack(mutations(text, COUNT), lambda data: SearchSpace.from_json(model, data))


def test_a_search_space_that_was_sealed_again(network: tuple[nn.Module, SearchSpace]) -> None:
    model, space = network
    content = {key: value for key, value in space.to_json().items() if key not in {"version", "digest"}}
    attack(json_mutations(content, COUNT), lambda one: SearchSpace.from_json(model, sealed(one)), least=0.1)


@pytest.mark.parametrize("runs", [f"0..{10**15}", f"7*{10**15}", " ".join([f"0..{LARGEST // 2}"] * 3)])
def test_a_search_space_of_endless_runs(network: tuple[nn.Module, SearchSpace], runs: str) -> None:
    model, space = network
    content = space.to_json()
    content["layout"]["units"][0] = runs
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(PlanError, match=rf"no more than {LARGEST} numbers are read"):
        SearchSpace.from_json(model, sealed({k: v for k, v in content.items() if k not in {"version", "digest"}}))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**20  # KiB: three quarters are allowed


@pytest.mark.parametrize("text", [b"[" * 100_000, b'{"a":' * 100_000])
def test_nesting_without_end(network: tuple[nn.Module, SearchSpace], saved: Path, text: bytes) -> None:
    with pytest.raises(PlanError, match="nested too deeply"):
        SearchSpace.from_json(network[0], text)
    with pytest.raises(PlanError, match="nested too deeply"):
        eyas.PruningPlan.from_json(text)
    (saved / "architecture.json").write_bytes(text)
    with pytest.raises(CheckpointError, match=r"architecture\.json .* nested too deeply"):
        eyas.load(saved, factory=CifarResNet)


def saved_weights(kind: str) -> bytes:
    weights = CifarResNet(1).state_dict()
    if kind == "safetensors":
        return safetensors.torch.save(weights)
    buffer = io.BytesIO()
    torch.save({"state_dict": weights}, buffer, _use_new_zipfile_serialization=kind == "zip")
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["safetensors", "zip", "legacy"])
def test_a_checkpoint(tmp_path: Path, kind: str) -> None:
    path = tmp_path / ("x.safetensors" if kind == "safetensors" else "x.pt")

    def attempt(data: bytes) -> None:
        path.write_bytes(data)
        load_weights(path)

    attack(mutations(saved_weights(kind), COUNT), attempt, least=0.2)


def test_a_checkpoint_that_is_packed(tmp_path: Path) -> None:
    torch.save({"w": torch.zeros(2**22)}, tmp_path / "plain.pt")
    with (
        zipfile.ZipFile(tmp_path / "plain.pt") as source,
        zipfile.ZipFile(tmp_path / "packed.pt", "w", zipfile.ZIP_DEFLATED) as target,
    ):
        for name in source.namelist():
            target.writestr(name, source.read(name))
    assert load_weights(tmp_path / "plain.pt")["w"].numel() == 2**22
    with pytest.raises(CheckpointError, match=r"packed\.pt unpacks from \d+ bytes to 1677\d+"):
        load_weights(tmp_path / "packed.pt")
