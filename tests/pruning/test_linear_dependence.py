"""Pivoted QR of what is read: against projections one by one, and channels that others make up for exactly."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import eyas
from eyas.pruning.criteria.group_norm import GroupNorm
from eyas.pruning.criteria.linear_dependence import LinearDependence, pivoted_norms
from eyas.pruning.criteria.weight_activation import WeightActivation
from tests.pruning.oracle import ReadByNoLayer

IMAGES = torch.randn(12, 3, 6, 6, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


def by_projections(columns: np.ndarray) -> np.ndarray:
    """The remainder of each column when its turn comes, each time by least squares on those chosen."""
    norms, chosen = np.zeros(columns.shape[1]), list[int]()
    while len(chosen) < columns.shape[1]:
        left = columns - columns[:, chosen] @ np.linalg.lstsq(columns[:, chosen], columns, rcond=None)[0]
        sizes = np.linalg.norm(left, axis=0)
        sizes[chosen] = -1
        chosen.append(int(sizes.argmax()))
        norms[chosen[-1]] = sizes.max()
    return norms


@pytest.mark.parametrize("seed", range(3))
def test_norms_are_those_of_projections_one_by_one(seed: int) -> None:
    columns = np.random.default_rng(seed).normal(size=(40, 9)) * np.arange(1, 10)
    gram = torch.from_numpy(columns.T @ columns)
    np.testing.assert_allclose(pivoted_norms(gram).numpy(), by_projections(columns))
    np.testing.assert_allclose(pivoted_norms(gram).prod() ** 2, np.linalg.det(gram.numpy()))


def test_a_column_that_others_make_up_has_nothing_left() -> None:
    columns = np.random.default_rng(0).normal(size=(40, 5))
    columns[:, 3] = 0.1 * columns[:, 0] - 0.1 * columns[:, 4]
    assert pivoted_norms(torch.from_numpy(columns.T @ columns))[3] == 0
    assert pivoted_norms(torch.zeros(3, 3, dtype=torch.float64)).tolist() == [0, 0, 0]


class TwoReaders(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.make, self.near, self.flat = nn.Conv2d(3, 5, 1), nn.Conv2d(5, 4, 3), nn.Linear(5 * 36, 2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = self.make(x).sigmoid()
        return self.near(y), self.flat(y.flatten(1))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("centred", [False, True])
def test_all_readers_and_all_positions_count(weighted: bool, centred: bool) -> None:
    """A flattened channel is read at 36 places, each with weights and a mean of its own."""
    torch.manual_seed(0)
    model = TwoReaders().double()
    group = eyas.trace(model, (IMAGES[:2],)).group("make")
    with torch.no_grad():
        read = model.make(IMAGES).sigmoid()
    places = read.flatten(2).transpose(1, 2)  # images, positions, channels
    near, flat = places.flatten(0, 1), places
    if centred:
        near, flat = near - near.mean(0), flat - flat.mean(0)
    if weighted:
        near = near * model.near.weight.detach().square().sum((0, 2, 3)).sqrt()
        flat = flat * model.flat.weight.detach().unflatten(1, (5, 36)).square().sum(0).sqrt().T
    rows = [part.reshape(-1, 5) / part.square().sum().sqrt() * 5**0.5 for part in (near, flat)]
    criterion = LinearDependence(weighted=weighted, centred=centred)
    expected = by_projections(torch.cat(rows).numpy())
    np.testing.assert_allclose(criterion(group, model, IMAGES).numpy(), expected)


class Dependent(nn.Module):
    """Channel 4 is the sum of channels 0 and 1, and strong; channel 2 is weak, and its own."""

    def __init__(self) -> None:
        super().__init__()
        self.make, self.read = nn.Conv2d(3, 5, 1), nn.Conv2d(5, 4, 1)
        self.make.weight.data = torch.eye(5, 3)[[0, 1, 2, 0, 0]][..., None, None] * torch.tensor([3, 3, 0.3, 3, 3.0]
            )[:, None, None, None]  # fmt: skip
        self.make.weight.data[4] = self.make.weight.data[0] + self.make.weight.data[1]
        self.make.weight.data[3] = -self.make.weight.data[1]
        self.double()

    def forward(self, x: Tensor) -> Tensor:
        return self.read(self.make(x))


def test_what_depends_on_others_goes_and_a_refit_loses_nothing() -> None:
    model = Dependent()
    space = eyas.trace(model, (IMAGES[:2],))
    plan = space.plan({"make": 3}, LinearDependence(), data=IMAGES)
    assert 2 in plan.kept["make"]
    strong = space.plan({"make": 3}, WeightActivation(), data=IMAGES)
    assert 2 not in strong.kept["make"], "magnitudes keep what others make up for"
    with torch.no_grad():
        made = model.make(IMAGES).transpose(0, 1).flatten(1).T.numpy()
    errors = []
    for chosen in (plan, strong):
        kept = np.c_[made[:, chosen.kept["make"]], np.ones(len(made))]
        left = made - kept @ np.linalg.lstsq(kept, made, rcond=None)[0]
        small = eyas.prune(model, space, chosen)
        errors.append((np.abs(left).max(), eyas.refit(model, small, space, chosen, IMAGES).error_after))
    (exact, refitted), (lost, not_refitted) = errors
    assert exact < 1e-12
    assert lost > 0.1
    assert refitted < not_refitted / 100


def test_positions_are_bounded_and_drawn_alike_each_time() -> None:
    model = TwoReaders().double()
    criterion = LinearDependence(positions=48, images=8)
    rows = criterion.prepare(model, IMAGES)
    assert {name: tuple(part.shape) for name, part in rows.items()} == {
        "make.weight": (48, 3), "near.weight": (48, 5), "flat.weight": (8, 180),
    }  # fmt: skip
    again = criterion.prepare(model, IMAGES)
    assert all(torch.equal(rows[name], again[name]) for name in rows)


def test_what_nothing_reads_by_weights_is_rated_by_all_its_weights() -> None:
    model = ReadByNoLayer().double()
    group = eyas.trace(model, (IMAGES[:2],)).groups[0]
    torch.testing.assert_close(LinearDependence()(group, model, IMAGES), GroupNorm()(group, model))
