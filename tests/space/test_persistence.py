"""Saved networks come back as they were; anything else is refused."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

import eyas
from eyas.architectures import build_architecture
from eyas.errors import CheckpointError, ParameterError, PlanError
from tests.space.networks import CifarResNet
from tests.space.oracle import random_widths

ARCHITECTURE = "tests.space.networks:CifarResNet"


@pytest.fixture
def saved(tmp_path: Path) -> tuple[nn.Module, Path]:
    model = CifarResNet(1).eval()
    space = eyas.trace(model, (torch.randn(2, 3, 16, 16),))
    plan = space.plan(random_widths(space, 0))
    small = eyas.prune(model, space, plan)
    eyas.save(small, tmp_path / "a", space=space, plan=plan, architecture=ARCHITECTURE, arguments={"n": 1})
    eyas.save(small, tmp_path / "b", space=space, plan=plan, architecture=ARCHITECTURE, arguments={"n": 1})
    return small, tmp_path / "a"


def test_by_name_and_by_factory(saved: tuple[nn.Module, Path]) -> None:
    small, folder = saved
    state = torch.random.get_rng_state()
    images = torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    for loaded in (eyas.load(folder, allowed=["tests"]), eyas.load(folder, factory=CifarResNet)):
        assert torch.equal(loaded(images), small(images))
        assert not loaded.training
        assert loaded.layers[2].pad.before == small.layers[2].pad.before
        loaded.train()(images).sum().backward()
    assert torch.equal(torch.random.get_rng_state(), state)


def test_the_same_bytes_twice_and_no_pickle(saved: tuple[nn.Module, Path]) -> None:
    folder = saved[1]
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["architecture.json", "model.safetensors", "plan.json"]
    assert all((folder / name).read_bytes() == (folder.parent / "b" / name).read_bytes() for name in names)


def test_names_outside_allowed_packages_are_refused(
    saved: tuple[nn.Module, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ParameterError, match="EYAS_ARCHITECTURES=tests"):
        eyas.load(saved[1])
    with pytest.raises(ParameterError, match="not in an allowed package"):
        build_architecture("modelsX.evil:run", {})
    with pytest.raises(ParameterError, match="must read package.module:factory"):
        build_architecture("os.system", {})
    with pytest.raises(ParameterError, match="cannot be imported"):
        build_architecture("models.nothing:here", {})
    with pytest.raises(ParameterError, match="built a int, not an nn.Module"):
        build_architecture("models.layers:make_divisible", {"channels": 3})
    monkeypatch.setenv("EYAS_ARCHITECTURES", "tests, timm")
    assert isinstance(eyas.load(saved[1]), CifarResNet)


def edit(path: Path, change: object) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_another_architecture_is_refused(saved: tuple[nn.Module, Path]) -> None:
    with pytest.raises(CheckpointError, match="builds another network than the saved one"):
        eyas.load(saved[1], factory=lambda n: CifarResNet(n + 1))


def test_tampered_files_are_refused(saved: tuple[nn.Module, Path]) -> None:
    small, folder = saved
    plan = eyas.PruningPlan.from_json((folder / "plan.json").read_text())
    edit(folder / "plan.json", lambda c: c["kept"][next(iter(c["kept"]))].pop())
    with pytest.raises(PlanError, match="was changed after it was written"):
        eyas.load(folder, factory=CifarResNet)
    name = next(name for name, channels in plan.kept.items() if len(channels) > 1)
    other = plan.model_copy(update={"kept": {**plan.kept, name: plan.kept[name][:-1]}})
    (folder / "plan.json").write_text(other.to_json())
    with pytest.raises(PlanError, match="not the plan these weights were cut by"):
        eyas.load(folder, factory=CifarResNet)
    (folder / "plan.json").write_text(plan.to_json())
    assert eyas.load(folder, factory=CifarResNet) is not small
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(weights[:-1] + bytes([weights[-1] ^ 1]))
    with pytest.raises(CheckpointError, match="was changed or replaced"):
        eyas.load(folder, factory=CifarResNet)
    (folder / "model.safetensors").write_bytes(weights)
    edit(folder / "architecture.json", lambda c: c.update(architecture="os:system"))
    with pytest.raises(CheckpointError, match="was changed: digest"):
        eyas.load(folder, factory=CifarResNet)
    (folder / "plan.json").unlink()
    with pytest.raises(CheckpointError, match="plan.json is missing"):
        eyas.load(folder, factory=CifarResNet)


def test_a_network_beside_another_plan_is_not_saved(tmp_path: Path) -> None:
    model = CifarResNet(1)
    space = eyas.trace(model, (torch.randn(2, 3, 16, 16),))
    with pytest.raises(PlanError, match="save with its own plan"):
        eyas.save(model, tmp_path, space=space, plan=space.plan(random_widths(space, 0)), architecture=ARCHITECTURE)


class Buffered(nn.Module):
    """A buffer that no state dict holds, and tied weights."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c, self.d = nn.Conv2d(3, 6, 1), nn.Conv2d(6, 6, 1), nn.Conv2d(6, 6, 1), nn.Conv2d(6, 2, 1)
        self.c.weight = self.b.weight
        self.register_buffer("ramp", torch.arange(6.0).view(6, 1, 1), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.d(self.c(self.b(self.a(x) * self.ramp).relu()))


def test_transient_buffers_and_tied_weights_come_back(tmp_path: Path) -> None:
    model = Buffered().eval()
    images = torch.randn(2, 3, 4, 4)
    space = eyas.trace(model, (images,))
    plan = space.plan({group.name: 3 for group in space.groups})
    small = eyas.prune(model, space, plan)
    eyas.save(small, tmp_path, space=space, plan=plan, architecture="x:y")
    loaded = eyas.load(tmp_path, factory=Buffered)
    assert torch.equal(loaded(images), small(images))
    assert loaded.c.weight is loaded.b.weight


@pytest.mark.filterwarnings("ignore:The given buffer is not writable")
def test_the_program_needs_no_code(saved: tuple[nn.Module, Path], tmp_path: Path) -> None:
    small, _ = saved
    model = CifarResNet(1).eval()
    space = eyas.trace(model, (torch.randn(1, 3, 16, 16),))
    plan = space.plan(random_widths(space, 0))
    small = eyas.prune(model, space, plan)
    eyas.save(small, tmp_path, space=space, plan=plan, architecture=ARCHITECTURE, program=True)
    content = (tmp_path / "model.pt2").read_bytes()
    assert b"networks.py" not in content
    images = torch.randn(5, 3, 16, 16)
    program = torch.export.load(tmp_path / "model.pt2").module()
    assert torch.allclose(program(images), small(images), atol=1e-6)
