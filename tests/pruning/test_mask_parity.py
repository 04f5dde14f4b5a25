"""Mask parity sees what the oracle sees, and says by how much a network differs."""

import pytest
import torch
from torch import Tensor, nn

import eyas
from eyas.errors import ParityError
from tests.pruning.oracle import difference, masked


class Counting(nn.Module):
    """Multiplies by its number of channels once ``counts`` is set: then a smaller network computes something else."""

    counts = False

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        return self.b(x * x.shape[1] if self.counts else x)


@pytest.mark.parametrize(("counts", "least", "most"), [(False, 0.0, 1e-6), (True, 0.1, 10.0)])
def test_it_measures_what_the_oracle_measures(counts: bool, least: float, most: float) -> None:
    torch.manual_seed(0)
    model, images = Counting().eval(), torch.randn(2, 3, 5, 5)
    space = eyas.trace(model, (images,))
    plan = space.plan({"a": 4})
    model.counts = counts
    parity = eyas.check_parity(model, space, plan, (images,))
    small = eyas.prune(model, space, plan)
    with torch.no_grad():
        oracle = difference(small(images), masked(model, space.slices(plan))(images))
    assert least <= oracle <= most
    assert parity.max_relative == pytest.approx(oracle, rel=1e-4, abs=1e-7)
    assert parity.outputs == 1
    if counts:
        with pytest.raises(ParityError, match="differs from the masked one"):
            parity.require()
    else:
        assert parity.require() is parity
