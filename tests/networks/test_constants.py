"""Tensors that no state dict holds: the same after save and load, or refused in words."""

import pytest
import torch
from torch import nn

import eyas
from eyas.errors import CheckpointError


class Reading(nn.Module):
    """A convolution times a tensor that a closure, an attribute, a list or a default argument holds."""

    def __init__(self, where, *, random=True):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 4, 1)
        factor = torch.rand(1, 1, 6, 6) if random else torch.linspace(0.5, 1, 36).view(1, 1, 6, 6)
        self.where = where
        if where == "closure":
            self.scale = lambda x: x * factor
        elif where == "default":
            self.scale = lambda x, factor=factor: x * factor
        elif where == "attribute":
            self.factor = factor
        elif where == "list":
            self.factors = [factor]
        else:
            self.register_buffer("factor", factor)

    def forward(self, x):
        x = torch.relu(self.first(x))
        if self.where in {"closure", "default"}:
            return self.second(self.scale(x))
        return self.second(x * (self.factors[0] if self.where == "list" else self.factor))


def saved(network, folder):
    space = eyas.trace(network, (torch.zeros(2, 3, 6, 6),))
    plan = space.plan({"first": 5})
    small = eyas.prune(network, space, plan).eval()
    eyas.save(small, folder, space=space, plan=plan, architecture="mine:net")
    return small


@pytest.mark.parametrize("where", ["closure", "default", "attribute", "list"])
def test_what_the_factory_draws_anew_is_refused(where, tmp_path):
    saved(Reading(where), tmp_path)
    with pytest.raises(CheckpointError, match=r"reads tensors of shape \(1, 1, 6, 6\) .* register_buffer"):
        eyas.load(tmp_path, factory=lambda: Reading(where))


@pytest.mark.parametrize(
    ("where", "random"),
    [("closure", False), ("default", False), ("attribute", False), ("list", False), ("buffer", True)],
)
def test_what_repeats_or_is_a_buffer_gives_the_same_answers(where, random, tmp_path):
    small, images = saved(Reading(where, random=random), tmp_path), torch.randn(3, 3, 6, 6)
    loaded = eyas.load(tmp_path, factory=lambda: Reading(where, random=random))
    assert torch.equal(loaded(images), small(images))
    assert ("constants" in (tmp_path / "architecture.json").read_text()) == (where != "buffer")


def test_rounding_is_forgiven(tmp_path):
    network = Reading("attribute", random=False)
    saved(network, tmp_path)

    def factory():
        other = Reading("attribute", random=False)
        other.factor = other.factor * (1 + 1e-7)
        return other

    eyas.load(tmp_path, factory=factory)
