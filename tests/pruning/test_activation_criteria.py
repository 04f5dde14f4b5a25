"""How strongly and how often channels are active: against hooks on modules, by hand, and what the log says."""

import copy
import logging

import pytest
import torch
from torch import Tensor, nn

import eyas
from eyas.pruning.criteria.activation_mean import ActivationMean
from eyas.pruning.criteria.apoz import Apoz
from tests.pruning.oracle import ReadByNoLayer, prepared

IMAGES = torch.randn(10, 3, 8, 8, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


class Streams(nn.Module):
    """A stream that two layers make and three read: at once, behind a ReLU, and flattened."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(3, 6, 1)
        self.plain, self.behind = nn.Conv2d(6, 5, 1), nn.Conv2d(6, 5, 1)
        self.head = nn.Linear(6 * 64 + 5 * 64, 3)

    def forward(self, x: Tensor) -> Tensor:
        stream = self.a(x) + torch.relu(self.b(x))
        mixed = torch.relu(self.plain(stream) + self.behind(torch.relu(stream)))
        return self.head(torch.cat([torch.relu(stream).flatten(1), mixed.flatten(1)], 1))


def inputs(model: nn.Module, names: list[str]) -> list[Tensor]:
    """What layers read of the stream's six channels, ``(6, numbers)`` each, seen by hooks."""
    read: dict[str, Tensor] = {}
    watched = copy.deepcopy(model)
    for name in names:
        hook = lambda _, args, name=name: read.__setitem__(name, args[0])  # noqa: E731
        watched.get_submodule(name).register_forward_pre_hook(hook)
    with torch.no_grad():
        watched.eval()(IMAGES)
    shaped = [x if x.ndim == 4 else x[:, : 6 * 64].unflatten(1, (6, 8, 8)) for x in read.values()]
    return [x.transpose(0, 1).flatten(1) for x in shaped]


def test_readers_see_the_mean_and_the_zeros_that_hooks_see() -> None:
    model = prepared(Streams())
    group = eyas.trace(model, (IMAGES[:2],)).group("a")
    assert {member.parameter for member in group.members if member.role == "in"} == {
        "plain.weight", "behind.weight", "head.weight",
    }  # fmt: skip
    seen = inputs(model, ["plain", "behind", "head"])
    for criterion, statistic in (
        (ActivationMean(), lambda x: x.abs().mean(1)),
        (Apoz(), lambda x: 1 - (x == 0).double().mean(1)),
    ):
        ratings = [statistic(x) for x in seen]
        expected = sum(rating / rating.mean() for rating in ratings)
        torch.testing.assert_close(criterion(group, model, IMAGES), expected)
        few = criterion.model_copy(update={"images": 4})
        torch.testing.assert_close(few(group, model, IMAGES), criterion(group, model, IMAGES[:4]))


def test_by_hand() -> None:
    """Behind the ReLU: 4, 0, 0, 2; never anything; 3, 5, 1, 1."""
    make, read = nn.Conv2d(2, 3, 1, bias=False), nn.Conv2d(3, 1, 1)
    make.weight.data.copy_(torch.tensor([[1.0, 0], [0, -1], [0, 1]])[:, :, None, None])
    model = nn.Sequential(make, nn.ReLU(), read)
    pixels = torch.tensor([[[[4.0, -2, -1, 2]], [[3.0, 5, 1, 1]]]])
    group = eyas.trace(model, (pixels,)).groups[0]
    assert ActivationMean()(group, model, pixels).tolist() == pytest.approx([1.5 / (4 / 3), 0, 2.5 / (4 / 3)])
    assert Apoz()(group, model, pixels).tolist() == pytest.approx([1, 0, 2])


def test_what_nothing_reads_by_weights_is_rated_where_it_is_made() -> None:
    model = ReadByNoLayer().double()
    group = eyas.trace(model, (IMAGES[:2],)).groups[0]
    with torch.no_grad():
        made = model.a(IMAGES).abs().mean((0, 2, 3))
    torch.testing.assert_close(ActivationMean()(group, model, IMAGES), made / made.mean())


def test_without_any_zero_the_log_says_that_all_channels_are_alike(caplog: pytest.LogCaptureFixture) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.SiLU(), nn.Conv2d(4, 2, 1)).double()
    space = eyas.trace(model, (IMAGES[:2],))
    with caplog.at_level(logging.WARNING, logger="eyas"):
        space.ranking(ActivationMean(), data=IMAGES)
        assert [record for record in caplog.records if record.name.startswith("eyas")] == []
        (ranking,) = space.ranking(Apoz(), data=IMAGES)
    words = "criterion apoz rates all channels of 0 alike: the first in order are kept there; take weight_activation"
    assert words in caplog.text
    assert ranking.tolist() == [0, 1, 2, 3]
