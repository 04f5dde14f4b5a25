"""Readers' weights times the activations they read: by hand, against hooks on modules, and what must not matter."""

import copy
import logging

import pytest
import torch
from torch import Tensor, nn

import eyas
from eyas.errors import DataError
from eyas.pruning.activations import record_activations
from eyas.pruning.criteria.group_norm import GroupNorm
from eyas.pruning.criteria.weight_activation import WeightActivation
from tests.pruning.networks import Bottleneck, Inverted, SqueezeExcite, conv_bn
from tests.pruning.oracle import TRANSPOSED, prepared

IMAGES = torch.randn(10, 3, 8, 8, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


def pointwise(*rows: list[float]) -> nn.Conv2d:
    """A 1 x 1 convolution with these rows."""
    weight_OI = torch.tensor(rows, dtype=torch.float64)
    layer = nn.Conv2d(weight_OI.shape[1], weight_OI.shape[0], 1, bias=False, dtype=torch.float64)
    layer.weight.data.copy_(weight_OI[:, :, None, None])
    return layer


class Plain(nn.Module):
    """Two inputs; channels ``x``, ``-x``, ``y`` and a dead one, behind a ReLU."""

    def __init__(self) -> None:
        super().__init__()
        self.make = pointwise([1, 0], [-1, 0], [0, 1], [0, 0])
        self.read = pointwise([3, 6, 0, 9], [4, 8, 1, 9])

    def forward(self, x: Tensor) -> Tensor:
        return self.read(torch.relu(self.make(x)))


# Behind the ReLU: channel 0 reads 4, 0, channel 1 reads 0, 2, channel 2 reads 3, 5.
PIXELS = torch.tensor([[[[4.0, -2.0]], [[3.0, 5.0]]]], dtype=torch.float64)


@pytest.mark.parametrize(
    ("activation", "products"),
    [
        ("rms", [5 * 8**0.5, 10 * 2**0.5, 17**0.5, 0]),
        ("mean", [5 * 2, 10 * 1, 4, 0]),
        ("std", [5 * 2, 10 * 1, 1, 0]),
    ],
)
def test_by_hand(activation: str, products: list[float]) -> None:
    model = Plain()
    group = eyas.trace(model, (PIXELS,)).group("make")
    expected = torch.tensor(products, dtype=torch.float64)
    plain = WeightActivation(activation=activation, normalise="none")
    torch.testing.assert_close(plain(group, model, PIXELS), expected)
    layer = WeightActivation(activation=activation)
    torch.testing.assert_close(layer(group, model, PIXELS), expected / expected.mean())
    both = WeightActivation(activation=activation, producers=True)
    made = torch.tensor([1, 1, 1, 0], dtype=torch.float64) / 0.75
    torch.testing.assert_close(both(group, model, PIXELS), expected / expected.mean() + made)


def test_outputs_that_vary_much_count_less_when_each_is_normalised_by_its_variance() -> None:
    model = Plain()
    group = eyas.trace(model, (PIXELS,)).group("make")
    model.read.weight.data[0, 1] = 0  # the outputs are 12, 0 and 19, 21: variances 36 and 1
    squares = torch.tensor([9 / 36 + 16, 64, 1, 81 / 36 + 81], dtype=torch.float64)
    expected = (squares * torch.tensor([8.0, 2.0, 17.0, 0.0], dtype=torch.float64)).sqrt()
    criterion = WeightActivation(normalise="output", activation="rms")
    torch.testing.assert_close(criterion(group, model, PIXELS), expected)


class Streams(nn.Module):
    """Two producers on one stream that two layers read, and a concatenation of it with a third."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(3, 6, 1), nn.Conv2d(3, 4, 1)
        self.plain, self.joined = nn.Conv2d(6, 5, 1), nn.Conv2d(10, 5, 3, padding=1)
        self.up, self.head = nn.ConvTranspose2d(5, 4, 2, 2), nn.Linear(4 * 16 * 16, 3)
        self.twice = nn.Conv2d(5, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        stream = torch.relu(self.a(x)) + self.b(x)
        y = self.plain(stream) + self.joined(torch.cat([self.c(x), stream], 1))
        y = self.twice(torch.tanh(self.twice(y)))
        return self.head(self.up(y).flatten(1))


def by_hooks(model: nn.Module, images: Tensor, activation: str) -> dict[str, Tensor]:
    """Per weight and entry of its input dimension: its sum of squares, times the input's mean square or variance."""
    reads: dict[str, list[Tensor]] = {}

    def watch(name: str, module: nn.Module) -> None:
        def hook(_: nn.Module, args: tuple[Tensor, ...]) -> None:
            channels_last = isinstance(module, nn.Linear)
            rows = args[0] if channels_last else args[0].movedim(1, -1)
            reads.setdefault(name, []).append(rows.reshape(-1, rows.shape[-1]))

        module.register_forward_pre_hook(hook)

    watched = copy.deepcopy(model)
    for name, module in watched.named_modules():
        if isinstance(module, (nn.Conv2d, nn.Linear, *TRANSPOSED)) and getattr(module, "groups", 1) == 1:
            watch(name, module)
    with torch.no_grad():
        watched.eval()(images)
    energies = {}
    for name, rows in reads.items():
        module = watched.get_submodule(name)
        weight = module.weight if isinstance(module, TRANSPOSED) else module.weight.transpose(0, 1)
        inputs = torch.cat(rows)
        energy = inputs.square().mean(0) if activation == "rms" else inputs.var(0, correction=0)
        energies[f"{name}.weight"] = weight.detach().flatten(1).square().sum(1) * energy
    return energies


NETWORKS = {
    "streams": Streams,
    "bottleneck": lambda: nn.Sequential(
        conv_bn(3, 8, 3), Bottleneck(8, 6, 16, 2, g=2), Bottleneck(16, 6, 16), nn.Flatten(), nn.Linear(16 * 16, 3)
    ),
    "depthwise": lambda: nn.Sequential(
        conv_bn(3, 8, 3), Inverted(8, 24, 8, 3, 1, 6, nn.ReLU, nn.Sigmoid), SqueezeExcite(8, 4), nn.Conv2d(8, 2, 1)
    ),
}


@pytest.mark.parametrize("activation", ["std", "rms"])
@pytest.mark.parametrize("name", NETWORKS)
def test_as_hooks_on_modules_see_it(name: str, activation: str) -> None:
    """Sums, concatenation, transposed, grouped and depthwise convolutions, flattened heads, layers used twice."""
    torch.manual_seed(0)
    model = prepared(NETWORKS[name]())
    space, energies = eyas.trace(model, (IMAGES[:2],)), by_hooks(model, IMAGES, activation)
    recorded = record_activations(model, IMAGES, batch_size=4)
    for group in space.groups:
        expected = torch.zeros(group.units, dtype=torch.float64)
        for member in group.members:
            if member.role == "in":
                rating = energies[member.parameter][torch.from_numpy(member.positions)].sum(1).sqrt()
                expected += rating / rating.mean()
        importance = WeightActivation(activation=activation)(group, model, recorded)
        torch.testing.assert_close(importance, expected[torch.from_numpy(group.unit_of_channel)])


def test_joined_channels_are_rated_by_their_own_columns() -> None:
    """A column of ``joined`` that is zero belongs to the fourth channel of ``c``, or to the second of the stream."""
    model = prepared(Streams())
    space = eyas.trace(model, (IMAGES[:2],))
    with torch.no_grad():
        model.joined.weight[:, 3] = 0
        model.joined.weight[:, 4 + 1] = 0
        model.plain.weight[:, 1] = 0
    for name, dead in (("c", 3), ("a", 1)):
        importance = WeightActivation()(space.group(name), model, IMAGES)
        assert (importance == 0).nonzero().tolist() == [[dead]]


@pytest.mark.parametrize("normalise", ["layer", "output", "none"])
@pytest.mark.parametrize("activation", ["rms", "mean", "std"])
def test_the_scale_between_producer_and_readers_does_not_matter(activation: str, normalise: str) -> None:
    model = prepared(Streams())
    space, scales = eyas.trace(model, (IMAGES[:2],)), torch.tensor([0.01, 1, 2, 30, 0.5, 1], dtype=torch.float64)
    group, criterion = space.group("a"), WeightActivation(activation=activation, normalise=normalise)
    before, answer = criterion(group, model, IMAGES), model(IMAGES)
    with torch.no_grad():
        for layer in (model.a, model.b):
            layer.weight.mul_(scales[:, None, None, None])
            layer.bias.mul_(scales)
        model.plain.weight.div_(scales[:, None, None])
        model.joined.weight[:, 4:].div_(scales[:, None, None])
    torch.testing.assert_close(model(IMAGES), answer)
    torch.testing.assert_close(criterion(group, model, IMAGES), before)


def test_a_channel_that_is_never_active_gets_nothing() -> None:
    model = nn.Sequential(conv_bn(3, 6, 3), nn.Conv2d(6, 2, 1)).eval()
    model[0][1].bias.data[4] = -100.0
    group = eyas.trace(model, (IMAGES[:2].float(),)).groups[0]
    importance = WeightActivation()(group, model, IMAGES)
    assert (importance == 0).nonzero().tolist() == [[4]]
    assert eyas.trace(model, (IMAGES[:2].float(),)).plan({group.name: 5}, WeightActivation(), data=IMAGES).kept == {
        group.name: (0, 1, 2, 3, 5)
    }


class Counting(nn.Module):
    """Writes to a buffer whenever it runs."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.bn = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 2, 1), nn.BatchNorm2d(4)
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.seen += len(x)
        return self.b(self.bn(self.a(x)))


def test_the_network_and_its_mode_stay_as_they_were() -> None:
    model = Counting()
    space = eyas.trace(model, (IMAGES[:2].float(),))
    model.train()
    model.bn.eval()
    before, flags = copy.deepcopy(model.state_dict()), [module.training for module in model.modules()]
    first = space.ranking(WeightActivation(), data=IMAGES)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert [module.training for module in model.modules()] == flags
    assert all((a == b).all() for a, b in zip(first, space.ranking(WeightActivation(), data=IMAGES), strict=True))
    assert all(parameter.grad is None for parameter in model.parameters())


def test_only_so_many_images_are_read_and_batches_do_not_matter() -> None:
    model = prepared(Streams())
    space = eyas.trace(model, (IMAGES[:2],))
    for group in space.groups:
        few = WeightActivation(images=6)(group, model, IMAGES)
        torch.testing.assert_close(few, WeightActivation()(group, model, IMAGES[:6]))
        one_by_one = record_activations(model, IMAGES[:6], batch_size=1)
        torch.testing.assert_close(few, WeightActivation()(group, model, one_by_one))


def test_without_images_the_weights_of_all_members_decide_and_the_log_says_so(caplog: pytest.LogCaptureFixture) -> None:
    model = Streams()
    space = eyas.trace(model, (IMAGES[:2].float(),))
    with caplog.at_level(logging.WARNING):
        ranking = space.ranking(WeightActivation())
    assert [record.message for record in caplog.records if record.name.startswith("eyas.")] == [
        "criterion weight_activation has no calibration images: the weights of all members decide"
    ]
    assert all((a == b).all() for a, b in zip(ranking, space.ranking(GroupNorm()), strict=True))


@pytest.mark.parametrize("images", [IMAGES[:0], torch.zeros(2, 3, 8, 8, dtype=torch.uint8), [IMAGES], 3])
def test_images_that_are_none_are_refused(images: object) -> None:
    space = eyas.trace(Streams(), (IMAGES[:2].float(),))
    with pytest.raises(DataError, match=r"calibration images are .*: give one tensor \(N, C, H, W\)"):
        space.ranking(WeightActivation(), data=images)


class Derived(nn.Module):
    """``w`` is read as a layer's weight, ``v`` only as something computed from it."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 4, 1)
        self.w, self.v = nn.Parameter(torch.randn(4, 2)), nn.Parameter(torch.randn(2, 4))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = torch.relu(self.a(x)).mean((2, 3))
        return y @ self.w, nn.functional.linear(y, 2 * self.v)


def test_what_is_read_in_another_way_counts_by_its_values_and_the_log_says_so(caplog: pytest.LogCaptureFixture) -> None:
    model = Derived().double()
    group = eyas.trace(model, (IMAGES[:2],)).group("a")
    with torch.no_grad():
        std = torch.relu(model.a(IMAGES)).mean((2, 3)).std(0, correction=0)
        seen, unseen = model.w.norm(dim=1) * std, model.v.norm(dim=0)
    with caplog.at_level(logging.WARNING, logger="eyas"):
        importance = WeightActivation()(group, model, IMAGES)
    torch.testing.assert_close(importance, seen / seen.mean() + unseen / unseen.mean())
    assert "no layer was called with v as its weight: its values alone count" in caplog.text
