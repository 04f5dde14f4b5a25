"""Saved networks come back as they were; anything else is refused."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

import eyas
from eyas.errors import BadInputError, CheckpointError, ParameterError, PlanError
from eyas.networks.architectures import build_architecture
from eyas.networks.saved_network import Network, load_network, save_network
from tests.pruning.networks import CifarResNet
from tests.pruning.oracle import random_widths

ARCHITECTURE = "tests.pruning.networks:CifarResNet"


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
    record = (folder / "architecture.json").read_text()
    edit(folder / "architecture.json", lambda c: c.update(architecture="os:system"))
    with pytest.raises(CheckpointError, match="was changed: digest"):
        eyas.load(folder, factory=CifarResNet)
    (folder / "architecture.json").write_text(record)
    (folder / "plan.json").unlink()
    with pytest.raises(CheckpointError, match="plan.json is missing"):
        eyas.load(folder, factory=CifarResNet)


def forge(folder: Path, change: Callable[[dict], object]) -> None:
    """Change the record and compute its digest anew, as anybody can."""
    content = json.loads((folder / "architecture.json").read_text())
    change(content)
    content.pop("digest")
    (folder / "architecture.json").write_text(json.dumps({**content, "digest": canonical_sha256(content)}))


def canonical_sha256(content: dict) -> str:
    """The digest as anybody computes it: of sorted keys without spaces."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: c["pruning"]["attributes"].append(["", "forward", 3]), "no plain integer 'forward'"),
        (lambda c: c["pruning"]["attributes"].append(["nothing", "groups", 3]), "no such module"),
        (lambda c: c["pruning"]["attributes"].append(["layers.0.0", "training", 1]), "no plain integer 'training'"),
        (lambda c: c["pruning"]["attributes"].append(["layers.0.0", "groups", 9]), "between 0 and 1"),
        (lambda c: c["pruning"]["attributes"].remove(drop(c, "out_channels")), "by the shapes of its weights"),
        (lambda c: c["pruning"]["attributes"].remove(drop(c, "num_features")), "by the shapes of its weights"),
        (lambda c: c["pruning"]["transient"].update(fc={"0": [99]}), "that its dense shape"),
        (lambda c: c.update(format=3), "is not what eyas.save writes"),
    ],
)  # fmt: skip
def test_forged_records_are_refused(
    saved: tuple[nn.Module, Path], change: Callable[[dict], object], words: str
) -> None:
    forge(saved[1], change)
    with pytest.raises(CheckpointError, match=words):
        eyas.load(saved[1], factory=CifarResNet)


def drop(content: dict, name: str) -> list:
    """An attribute that surgery changed."""
    dense = dict(CifarResNet(1).named_modules())
    return next(a for a in content["pruning"]["attributes"] if a[1] == name and getattr(dense[a[0]], name) != a[2])


def test_a_forged_plan_that_is_not_the_weights_is_refused(saved: tuple[nn.Module, Path]) -> None:
    folder = saved[1]
    plan = eyas.PruningPlan.from_json((folder / "plan.json").read_text())
    shapes = json.loads((folder / "architecture.json").read_text())["pruning"]["dense_shapes"]
    whole = [name for name, channels in plan.channels.items() if shapes[f"{name}.weight"][0] == channels]
    assert len(whole) >= 3
    for name in whole:  # other layers make channels of several groups
        wider = tuple(range(plan.channels[name]))
        kept = plan.kept[name][:-1] if len(plan.kept[name]) > 1 else wider
        other = plan.model_copy(update={"kept": {**plan.kept, name: kept}})
        (folder / "plan.json").write_text(other.to_json())
        forge(folder, lambda c, digest=other.digest: c["pruning"].update(plan=digest))
        with pytest.raises(PlanError, match="not its plan"):
            eyas.load(folder, factory=CifarResNet)


def test_forged_weights_that_are_no_safetensors_are_refused(saved: tuple[nn.Module, Path]) -> None:
    folder = saved[1]
    (folder / "model.safetensors").write_bytes(b"no tensors here, but a record that fits")
    forge(folder, lambda c: c.update(weights=hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()))
    with pytest.raises(CheckpointError, match="is no safetensors file"):
        eyas.load(folder, factory=CifarResNet)


class Borrowed(nn.Module):
    """Reads a layer's weight itself: the layer's own attributes stay dense."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.head = nn.Conv2d(3, 6, 1), nn.Conv2d(6, 5, 1), nn.Conv2d(5, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(nn.functional.conv2d(self.a(x), self.b.weight, self.b.bias))


def test_layers_whose_weights_other_code_reads_come_back(tmp_path: Path) -> None:
    model = Borrowed().eval()
    images = torch.randn(2, 3, 4, 4)
    space = eyas.trace(model, (images,))
    plan = space.plan({group.name: 3 for group in space.groups})
    small = eyas.prune(model, space, plan)
    eyas.save(small, tmp_path, space=space, plan=plan, architecture="x:y")
    assert torch.equal(eyas.load(tmp_path, factory=Borrowed)(images), small(images))


def test_factories_that_are_none_or_raise_are_named() -> None:
    with pytest.raises(ParameterError, match="models:importlib.* is a module: name a function"):
        build_architecture("models:importlib", {})
    with pytest.raises(ParameterError, match=r"CifarResNet.*did not build: TypeError: .*unexpected keyword.*'depth'"):
        build_architecture(ARCHITECTURE, {"depth": 3}, ["tests"])


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


class ByKeyword(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 6, 1), nn.Conv2d(6, 2, 1)

    def forward(self, x: torch.Tensor, *, gain: torch.Tensor) -> torch.Tensor:
        return self.b(self.a(x) * gain)


@pytest.mark.filterwarnings("ignore:The given buffer is not writable")
def test_a_program_with_keyword_inputs_takes_any_batch(tmp_path: Path) -> None:
    model = ByKeyword().eval()
    space = eyas.trace(model, (torch.randn(1, 3, 4, 4),), {"gain": torch.randn(1, 1, 1, 1)})
    plan = space.plan({"a": 4})
    small = eyas.prune(model, space, plan)
    eyas.save(small, tmp_path, space=space, plan=plan, architecture="x:y", program=True)
    x, gain = torch.randn(5, 3, 4, 4), torch.randn(5, 1, 1, 1)
    program = torch.export.load(tmp_path / "model.pt2").module()
    assert torch.allclose(program(x, gain=gain), small(x, gain=gain), atol=1e-6)


class Deciding(nn.Sequential):
    """Its forward code turns to Python once ``decide`` is set: no export is possible."""

    decide = False

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x + 1 if self.decide and float(x.sum()) > 0 else x)


def test_a_failed_program_is_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    model = Deciding(nn.Conv2d(3, 6, 1), nn.Conv2d(6, 2, 1)).eval()
    space = eyas.trace(model, (torch.randn(1, 3, 4, 4),))
    plan = space.plan({"0": 4})
    small = eyas.prune(model, space, plan)
    small.decide = True
    capfd.readouterr()
    with pytest.raises(BadInputError, match="torch.export cannot write Deciding as a program") as raised:
        eyas.save(small, tmp_path, space=space, plan=plan, architecture="x:y", program=True)
    assert "\n" not in str(raised.value)
    assert capfd.readouterr() == ("", "")


def test_a_dense_network_is_the_case_without_a_plan(tmp_path: Path) -> None:
    model = Buffered().eval()
    save_network(Network(model, "x:y", {}, (3, 4, 4)), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["architecture.json", "model.safetensors"]
    loaded = load_network(tmp_path, factory=Buffered)
    images = torch.randn(2, 3, 4, 4)
    assert torch.equal(loaded.model(images), model(images))
    assert loaded.model.c.weight is loaded.model.b.weight
    assert torch.equal(loaded.example(2), torch.zeros(2, 3, 4, 4))
    with pytest.raises(CheckpointError, match="does not fit Borrowed: .*2 missing: head.weight, head.bias"):
        eyas.load(tmp_path, factory=Borrowed)
    with pytest.raises(ParameterError, match="not in an allowed package"):
        eyas.load(tmp_path)
    forge(tmp_path, lambda c: c.pop("weights"))
    with pytest.raises(CheckpointError, match="is not what eyas.save writes"):
        eyas.load(tmp_path, factory=Buffered)
