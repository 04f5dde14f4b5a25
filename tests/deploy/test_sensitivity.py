"""Layers kept in float: the costliest first, only as many as it takes, judged on images that gave no range."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import onnx
import pytest
import torch
from torch import Tensor, nn

from eyas.deploy.exporters import Exporter
from eyas.deploy.sensitivity import HeldOut, find_layers_to_keep
from eyas.errors import DataError

WRONG = {"a": 0, "b": 30, "c": 10, "d": 2}
"""Images of 100 that go wrong by each layer in 8 bits."""


def write(kept: Sequence[str]) -> Callable[[Tensor], Tensor]:
    """A network of four layers, each of which spoils other images."""

    def answer(images: Tensor) -> Tensor:
        logits, start = torch.eye(2)[torch.zeros(len(images), dtype=torch.long)].clone(), 0
        for layer, count in WRONG.items():
            if layer not in kept:
                logits[start : start + count] = torch.tensor([0.0, 1.0])
            start += count
        return logits

    return answer


def held_out() -> HeldOut:
    return HeldOut(torch.zeros(100, 1, 2, 2), torch.zeros(100, dtype=torch.long))


@pytest.mark.parametrize(
    ("limit", "kept", "drop"),
    [(0.5, (), 0.42), (0.12, ("b",), 0.12), (0.11, ("b", "c"), 0.02), (0.0, ("b", "c", "d"), 0.0)],
)
def test_the_costliest_layers_are_kept_until_the_limit_holds(limit: float, kept: tuple[str, ...], drop: float) -> None:
    images = held_out()
    result = find_layers_to_keep(list(WRONG), write, write(list(WRONG))(images.images), images, limit)
    assert result.kept == kept
    assert (result.images, result.accuracy) == (100, 1.0)
    assert result.quantised_drop == pytest.approx(0.42)
    assert result.drop == pytest.approx(drop)
    costs = {cost.layer: cost.accuracy_drop for cost in result.costs}
    assert costs == (pytest.approx({layer: count / 100 for layer, count in WRONG.items()}) if kept else {})


class Spread(nn.Module):
    """A layer whose output is far wider than what is read of it: no scale of 8 bits holds it."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 4, 1, bias=False)
        self.wide = nn.Conv2d(4, 4, 1, bias=False)
        self.last = nn.Linear(4, 2, bias=False)
        with torch.no_grad():
            self.first.weight.copy_(torch.eye(4)[:, :1, None, None] + 0.5)
            self.wide.weight.copy_(torch.eye(4)[:, :, None, None] * torch.tensor([1e4, 1, 1, 1])[:, None, None, None])
            self.last.weight.copy_(torch.tensor([[0.0, 1, 0, 0], [0.0, 0, 0, 0]]))

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.wide(self.first(x)).mean((2, 3)))


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.randn(96, 1, 4, 4, generator=torch.Generator().manual_seed(0))


def quantise(model: nn.Module, images: Tensor, path: Path, **options: object) -> tuple[set[str], dict]:
    """Layers whose weights are in 8 bits, and the report."""
    exporter = Exporter.parse({"kind": "onnx_int8", **options})
    judged = HeldOut(images[32:], model(images[32:]).argmax(1))
    exporter.write(model, images[:32], judged, path)
    proto = onnx.load(path)
    report = exporter.report(path)
    quantised = {
        tensor.name.removesuffix("_quantized") for tensor in proto.graph.initializer if "quantized" in tensor.name
    }
    return quantised, json.loads(report.read_text()) if report.exists() else {}


def test_a_layer_that_8_bits_spoil_stays_in_float_and_is_told_with_its_cost(images: Tensor, tmp_path: Path) -> None:
    model = Spread().eval()
    every, none = quantise(model, images, tmp_path / "all.int8.onnx", max_accuracy_drop=None)
    assert {"first.weight", "wide.weight"} <= every
    assert none == {}
    some, report = quantise(model, images, tmp_path / "some.int8.onnx", max_accuracy_drop=0.05)
    assert report["quantised_drop"] > 0.05 >= report["drop"]
    assert report["kept"] == ["wide", "last"]
    assert len(report["costs"]) > len(report["kept"])
    assert report["images"] == 64
    assert some < every


@pytest.mark.parametrize("options", [{"calibration": "percentile"}, {"calibration": "entropy"}, {"per_channel": False}])
def test_every_way_to_take_ranges_gives_another_file_that_is_nearly_as_right(
    options: dict[str, object], images: Tensor, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(128, 10)).eval()
    ranges = torch.cat([images, images[:1] * 3])  # with an outlier, which ranges may leave out
    contents = []
    for name, chosen in (("plain", {}), ("other", options)):
        exporter = Exporter.parse({"kind": "onnx_int8", **chosen})
        path = exporter(model, ranges, tmp_path / f"{name}.int8.onnx")
        contents.append(path.read_bytes())
        with torch.inference_mode():
            agreement = (exporter.run(path, images).argmax(1) == model(images).argmax(1)).double().mean()
        assert agreement >= 0.9
    assert contents[0] != contents[1]
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize("kind", sorted(kind for kind, member in Exporter.members().items() if member.calibrates))
def test_calibrating_on_nothing_is_refused(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Exporter, "check", lambda _: None)
    with pytest.raises(DataError, match="there are no calibration images"):
        Exporter.parse(kind)(nn.Flatten(), torch.zeros(0, 1, 4, 4), tmp_path / "model")


def test_nothing_held_out_to_choose_layers_by_is_refused(images: Tensor, tmp_path: Path) -> None:
    model, none = Spread().eval(), HeldOut(images[:0], torch.zeros(0, dtype=torch.long))
    with pytest.raises(DataError, match=r"left to choose layers by .*\(max_accuracy_drop\): raise `calib"):
        Exporter.parse("onnx_int8").write(model, images[:1], none, tmp_path / "model.int8.onnx")
    chosen = Exporter.parse({"kind": "onnx_int8", "max_accuracy_drop": None})
    assert chosen.write(model, images[:1], none, tmp_path / "model.int8.onnx").exists()
