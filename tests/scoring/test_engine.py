"""The engine's own promises: bounded memory, and no waiting for a GPU."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import eyas
from eyas.calibration import Calibrator
from eyas.scoring import Rung
from eyas.scoring.engine import Engine, ScoringMethod
from eyas.scoring.image_sets import prepare_images
from eyas.scoring.reduction import in_pieces, to_host
from eyas.scoring.scorers import Scorer
from tests.scoring.networks import Net

HELD_OUT = Rung(images=120, calibration_images=80, mode="held_out")


class PerPixel(nn.Module):
    """One answer per pixel."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.out = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.Conv2d(8, 6, 1)

    def forward(self, x):
        return self.out(self.norm(self.conv(x)).relu())


def make_engine(model, label_shape=(), scorer="cross_entropy", device="cpu"):
    generator = torch.Generator().manual_seed(0)
    calibration, scoring = (torch.randn(n, 3, 8, 8, generator=generator) for n in (80, 120))
    labels = torch.randint(0, 5, (120, *label_shape), generator=generator)
    space = eyas.trace(model.eval(), (scoring[:2],))
    images = replace(
        prepare_images(calibration, scoring, labels, seed=0), dense=torch.randn(120, 5, generator=generator)
    )
    method = ScoringMethod(Calibrator.parse("pooled"), Scorer.parse(scorer))
    return Engine(model, space, images, method, device=device), space.plan()


@pytest.mark.parametrize("scorer", ["cross_entropy", "top1", "dense_probe"])
@pytest.mark.parametrize("rung", [Rung(images=120), HELD_OUT], ids=["fused", "held_out"])
def test_judging_piece_by_piece_is_judging_at_once(scorer, rung, monkeypatch):
    engine, plan = make_engine(Net(), scorer=scorer)
    whole = engine.measure(plan, rung, 16)
    monkeypatch.setattr("eyas.scoring.engine._VALUES_SCORED_AT_ONCE", 200)
    pieces = engine.measure(plan, rung, 16)
    assert pieces.image_scores.tobytes() == whole.image_scores.tobytes()
    assert pieces.accuracy == whole.accuracy
    assert pieces.cross_entropy == pytest.approx(whole.cross_entropy, abs=1e-12)


def test_outputs_of_a_rung_are_never_all_in_memory(monkeypatch):
    engine, plan = make_engine(PerPixel(), (8, 8))
    monkeypatch.setattr("eyas.scoring.engine._VALUES_SCORED_AT_ONCE", 16 * 6 * 64)
    seen = []
    judge = type(engine.method.scorer).__call__
    monkeypatch.setattr(
        type(engine.method.scorer), "__call__", lambda self, a: seen.append(len(a.logits)) or judge(self, a)
    )
    measured = engine.measure(plan, Rung(images=120), 16)
    assert sum(seen) == measured.images == len(measured.image_scores) == 120
    assert max(seen) <= 30  # two batches of 15: the first alone is below the limit


def test_pieces_are_neighbours_in_order():
    parts = [torch.arange(3), torch.arange(3, 5), torch.arange(5, 9), torch.arange(9, 10)]
    assert [piece.tolist() for piece in in_pieces(parts, 4)] == [[0, 1, 2, 3, 4], [5, 6, 7, 8], [9]]
    assert [len(piece) for piece in in_pieces(parts, float("inf"))] == [10]


def test_a_result_waits_for_its_own_copies_and_not_for_what_was_queued_since(monkeypatch):
    told = []

    class Event:
        def record(self, stream):
            told.append(("record", stream))

        def synchronize(self):
            told.append("synchronize")

    class OnGpu:
        is_cuda, device = True, "cuda:1"

        def to(self, where, *, non_blocking):
            told.append(("copy", where, non_blocking))
            return torch.ones(2)

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: f"stream of {device}")
    wait = to_host(OnGpu(), OnGpu())
    assert told == [("copy", "cpu", True)] * 2 + [("record", "stream of cuda:1")]
    assert np.array_equal(wait()[1], torch.ones(2))
    assert told[3:] == ["synchronize"]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("rung", [Rung(images=120), HELD_OUT], ids=["fused", "held_out"])
def test_launch_never_waits_for_the_gpu(rung):
    engine, plan = make_engine(Net(), device="cuda")
    expected = engine.measure(plan, rung, 32)  # the first call sets libraries up, which waits
    torch.cuda.set_sync_debug_mode("error")
    try:
        wait = engine.launch(plan, rung, 32)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert wait().score == pytest.approx(expected.score, abs=1e-6)
