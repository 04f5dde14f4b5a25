"""The refit: unpruned networks, an independent least-squares optimum, removed duplicates, every topology."""

import copy
import logging
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn

import eyas
from eyas.calibration.batchnorm import batch_statistics
from eyas.errors import CheckpointError, DataError, ParameterError, PlanError
from eyas.pruning.activations import record_activations
from eyas.pruning.criteria.random import Random
from eyas.pruning.space import SearchSpace
from eyas.recovery.base import Recovery
from eyas.recovery.dense_targets import DenseTargets
from eyas.recovery.least_squares import LeastSquares
from eyas.recovery.refit import undone_words
from tests.pruning.networks import (
    Bottleneck,
    CifarResNet,
    ConvNeXtBlock,
    DenseNet121,
    Fire,
    GhostBottleneck,
    InceptionModule,
    Inverted,
    RepBlock,
    ShuffleUnit,
    UNet,
    conv_bn,
)
from tests.pruning.oracle import random_widths
from tests.pruning.test_shared import Tied, Twice

KINDS = sorted(Recovery.registry)
IMAGES = torch.randn(24, 3, 16, 16, generator=torch.Generator().manual_seed(4))


def calibrated(model: nn.Module) -> nn.Module:
    """Statistics as after training, scales and shifts that do something."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.5, 0.5)
    if any(isinstance(module, nn.BatchNorm2d) for module in model.modules()):
        eyas.recalibrate(model, IMAGES)
    return model.eval()


def half(model: nn.Module, seed: int | None = None) -> tuple[SearchSpace, eyas.PruningPlan, nn.Module]:
    """The network pruned to half of every width, or to random widths."""
    space = eyas.trace(model, (IMAGES[:2].to(next(model.parameters()).dtype),))
    middle = [legal[len(legal) // 2] for legal in map(space.legal_widths, space.groups)]
    plan = space.plan(middle if seed is None else random_widths(space, seed), Random(seed=seed or 0))
    return space, plan, eyas.prune(model, space, plan)


def head(channels: int) -> list[nn.Module]:
    return [nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * channels, 5)]


NETWORKS = {
    "option A": lambda: CifarResNet(1),
    "grouped and gated": lambda: nn.Sequential(
        conv_bn(3, 8, 3), Bottleneck(8, 8, 16, 2, g=2, se=4), Bottleneck(16, 8, 16), *head(16)
    ),
    "depthwise": lambda: nn.Sequential(
        conv_bn(3, 8, 3), Inverted(8, 24, 8, 3, 1, 6, nn.ReLU, nn.Sigmoid),
        Inverted(8, 16, 12, 5, 2, 0, nn.SiLU, nn.Sigmoid), *head(12),
    ),
    "dense layers": lambda: DenseNet121((2, 2), 4),
    "transposed": lambda: UNet((4, 8, 12)),
    "fire": lambda: nn.Sequential(nn.Conv2d(3, 8, 3, padding="same", padding_mode="reflect"), Fire(8, 4, 8), *head(16)),
    "inception": lambda: nn.Sequential(conv_bn(3, 8, 3), InceptionModule(8, 4, (4, 6), (2, 4), 4), *head(18)),
    "shuffle": lambda: nn.Sequential(conv_bn(3, 8, 3), ShuffleUnit(8, 16, 2), ShuffleUnit(16, 16, 1), *head(16)),
    "ghost": lambda: nn.Sequential(conv_bn(3, 8, 3), GhostBottleneck(8, 16, 12, 3, 2, True), *head(12)),
    "parallel": lambda: nn.Sequential(RepBlock(3, 8, 2), RepBlock(8, 8, 1), *head(8)),
    "layer norm": lambda: nn.Sequential(nn.Conv2d(3, 8, 2, 2), ConvNeXtBlock(8), *head(8)),
    "used twice": lambda: nn.Sequential(Twice(), *head(2)),
    "tied": lambda: nn.Sequential(Tied(), *head(2)),
    "one dimension": lambda: nn.Sequential(
        nn.Flatten(2), nn.Conv1d(3, 8, 5, 2, 3, 2), nn.ReLU(), nn.ConvTranspose1d(8, 6, 4, 3, 1, 1, dilation=2),
        nn.ReLU(), nn.Conv1d(6, 2, 3),
    ),
    "three dimensions": lambda: nn.Sequential(
        nn.Unflatten(1, (1, 3)), nn.Conv3d(1, 6, 3, (1, 2, 2), 1), nn.BatchNorm3d(6), nn.ReLU(),
        nn.ConvTranspose3d(6, 4, (1, 2, 3), (1, 2, 2), (0, 0, 1), (0, 0, 1)), nn.ReLU(),
        nn.Conv3d(4, 2, 3, dilation=(1, 2, 2)),
    ),
}  # fmt: skip


@pytest.mark.parametrize("recovery", KINDS)
@pytest.mark.parametrize("name", NETWORKS)
def test_every_topology_refits_without_raising_its_held_out_error(name: str, recovery: str) -> None:
    torch.manual_seed(1)
    model = calibrated(NETWORKS[name]())
    before = copy.deepcopy(model.state_dict())
    space, plan, small = half(model)
    lost = {
        member.parameter
        for group in space.groups
        for member in group.members
        if member.role == "in" and member.dim in space.slices(plan).get(member.parameter, {})
    }
    report = eyas.refit(model, small, space, plan, IMAGES, recovery=recovery)
    assert lost <= report.layers.keys() | report.left.keys()
    assert report.error_after <= report.error_before
    assert all(after <= before + 1e-9 for before, after in report.layers.values())
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert all(not value.isnan().any() for value in small.state_dict().values())


@pytest.mark.parametrize("name", NETWORKS)
def test_least_squares_helps_every_topology(name: str) -> None:
    torch.manual_seed(1)
    model = calibrated(NETWORKS[name]())
    space, plan, small = half(model)
    report = eyas.refit(model, small, space, plan, IMAGES)
    assert report.layers
    assert report.error_after < report.error_before


@pytest.mark.parametrize("recovery", KINDS)
def test_nothing_pruned_nothing_changed(recovery: str) -> None:
    model = calibrated(NETWORKS["grouped and gated"]())
    space = eyas.trace(model, (IMAGES[:2],))
    plan = space.plan()
    small = eyas.prune(model, space, plan).eval()
    report = eyas.refit(model, small, space, plan, IMAGES, recovery=recovery)
    assert not report.layers
    torch.testing.assert_close(small(IMAGES), model(IMAGES), rtol=0, atol=1e-6)
    assert all(torch.equal(a, b) for a, b in zip(small.state_dict().values(), model.state_dict().values(), strict=True))


def linear_network(bias: bool) -> nn.Module:
    torch.manual_seed(2)
    layers = [nn.Conv2d(3, 8, 3, padding=1, bias=bias), nn.Conv2d(8, 6, 3, stride=2, bias=bias), nn.Conv2d(6, 4, 1)]
    return nn.Sequential(*layers).double().eval()


def unfolded(inputs: Tensor, layer: nn.Conv2d) -> Tensor:
    """Windows by torch's own unfolding, ``(rows, features)``."""
    windows = nn.functional.unfold(inputs, layer.kernel_size, padding=layer.padding, stride=layer.stride)
    return windows.transpose(1, 2).reshape(-1, windows.shape[1])


@pytest.mark.parametrize("bias", [True, False])
def test_a_linear_network_reaches_the_optimum_of_an_independent_solver(bias: bool) -> None:
    """Layer by layer in order, each on what those before it make by then."""
    model, images = linear_network(bias), IMAGES.double()
    space, plan, small = half(model)
    recovery = LeastSquares(strengths=(1e-13,), rows_per_feature=10_000)
    report = eyas.refit(model, small, space, plan, images, recovery=recovery)
    assert list(report.layers) == ["1.weight", "2.weight"]
    slices = space.slices(plan)
    with torch.no_grad():
        for number in (1, 2):
            dense, fitted = model[: number + 1](images), small[number]
            kept = slices.get(f"{number}.weight", {}).get(0, range(dense.shape[1]))
            target = dense[:, list(kept)].movedim(1, -1).flatten(0, 2)
            rows = unfolded(small[:number](images), fitted)
            if fitted.bias is not None:
                rows = torch.cat([rows, torch.ones(len(rows), 1)], 1)
            optimum = torch.linalg.lstsq(rows, target).solution.T
            torch.testing.assert_close(
                fitted.weight.flatten(1), optimum[:, : fitted.weight[0].numel()], rtol=1e-6, atol=1e-8
            )
            if fitted.bias is not None:
                torch.testing.assert_close(fitted.bias, optimum[:, -1], rtol=1e-6, atol=1e-8)


class Duplicated(nn.Module):
    """Channels 0 and 3 of ``a`` are the same; a convolution, a transposed one and a linear layer read them."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.a, self.bn, self.b = (
            nn.Conv2d(3, 4, 3, padding=1),
            nn.BatchNorm2d(4),
            nn.Conv2d(4, 5, 3, stride=2, padding=1),
        )
        self.up, self.head = nn.ConvTranspose2d(4, 2, 3, 2, 1, 1), nn.Linear(4 * 4 * 4, 3)
        with torch.no_grad():
            self.a.weight[3] = self.a.weight[0]
            self.a.bias[3] = self.a.bias[0]

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        y = torch.relu(self.bn(self.a(x)))
        return self.b(y), self.up(y), self.head(nn.functional.adaptive_avg_pool2d(y, 4).flatten(1))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_removed_duplicate_of_a_kept_channel_is_recovered_exactly(dtype: torch.dtype) -> None:
    model = calibrated(Duplicated()).to(dtype).eval()
    images = torch.randn(200, 3, 16, 16, dtype=dtype)
    for tensor in (model.bn.weight.data, model.bn.bias.data):
        tensor[3] = tensor[0]
    eyas.recalibrate(model, images, batch_size=len(images), seed=None)
    space = eyas.trace(model, (images[:2],))
    plan = eyas.PruningPlan(space=space.fingerprint, channels={"a": 4}, kept={"a": (0, 1, 2)})
    small = eyas.prune(model, space, plan).eval()
    exact = LeastSquares(strengths=(1e-9,) if dtype == torch.float64 else (1e-5,), images=200)
    report = eyas.refit(model, small, space, plan, images, recovery=exact)
    assert report.left == {}
    with torch.no_grad():
        for dense, recovered in zip(model(images), small(images), strict=True):
            torch.testing.assert_close(recovered, dense, rtol=0, atol=1e-6 if dtype == torch.float64 else 1e-3)
    kept = model.b.weight[:, [0, 1, 2]].clone()
    kept[:, 0] += model.b.weight[:, 3]
    torch.testing.assert_close(small.b.weight, kept, rtol=0, atol=1e-6 if dtype == torch.float64 else 1e-3)


@pytest.mark.parametrize("recovery", KINDS)
def test_again_gives_the_same_and_gradients_and_modes_are_left_alone(recovery: str) -> None:
    model = calibrated(NETWORKS["grouped and gated"]())
    space, plan, small = half(model)
    again = copy.deepcopy(small).train()
    flags = [module.training for module in again.modules()]
    first = eyas.refit(model, small, space, plan, IMAGES, recovery=recovery)
    second = eyas.refit(model, again, space, plan, IMAGES, recovery=recovery)
    assert first == second
    assert [module.training for module in again.modules()] == flags
    for one, other in zip(small.state_dict().values(), again.state_dict().values(), strict=True):
        assert torch.equal(one, other)
    assert all(parameter.requires_grad and parameter.grad is None for parameter in small.parameters())


def test_statistics_are_those_of_the_images_by_the_refitted_weights() -> None:
    model = calibrated(NETWORKS["option A"]())
    space, plan, small = half(model)
    eyas.refit(model, small, space, plan, IMAGES)
    again = copy.deepcopy(small)
    eyas.recalibrate(again, IMAGES, batch_size=len(IMAGES), seed=None)
    for one, other in zip(small.buffers(), again.buffers(), strict=True):
        assert torch.equal(one, other)


def test_what_leads_the_answers_away_is_undone(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    model = calibrated(NETWORKS["option A"]())
    space, plan, small = half(model)
    before = {name: weight.clone() for name, weight in small.named_parameters()}
    monkeypatch.setattr(LeastSquares, "__call__", lambda self, layer: -0.9 * layer.weight)
    with caplog.at_level(logging.WARNING, logger="eyas"):
        report = eyas.refit(model, small, space, plan, IMAGES)
    assert report.layers == {}
    assert set(report.left.values()) == {"undone: the answers were led away from the dense network's"}
    assert report.error_after == pytest.approx(report.error_before, rel=1e-4)
    assert all(torch.equal(before[name], weight) for name, weight in small.named_parameters())
    (message,) = (record.getMessage() for record in caplog.records if record.levelno == logging.WARNING)
    assert message.startswith(undone_words(report.undone))
    assert "give more calibration images (64 or more), or refit nothing" in message
    assert {f"{name}.weight" for name in report.undone} == set(report.left)
    assert undone_words(["a", "b", "c", "d", "e"]).startswith("the refit of a, b, c and 2 more is undone: ")


def test_a_layer_used_twice_is_fitted_to_both_calls_at_once() -> None:
    """Its joint error on all rows is that of an independent solver on both calls' rows together."""
    torch.manual_seed(5)
    model = Twice().double().eval()
    space, plan, small = half(model)
    images = IMAGES.double()
    with torch.no_grad():
        kept = torch.tensor(plan.kept["a"])
        rows, targets = [], []
        for network, into in ((small, rows), (model, targets)):
            first = network.shared(network.a(images))
            second = network.shared(torch.relu(first))
            if network is small:
                into += [unfolded(x, network.shared) for x in (network.a(images), torch.relu(first))]
            else:
                into += [y[:, kept].movedim(1, -1).flatten(0, 2) for y in (first, second)]
        features = torch.cat([torch.cat(rows), torch.ones(len(torch.cat(rows)), 1)], 1)
        optimum = torch.linalg.lstsq(features, torch.cat(targets)).solution.T
    exact = LeastSquares(strengths=(1e-13,), rows_per_feature=10_000)
    report = eyas.refit(model, small, space, plan, images, recovery=exact)
    assert list(report.layers) == ["shared.weight", "c.weight"]
    torch.testing.assert_close(small.shared.weight.flatten(1), optimum[:, :-1], rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(small.shared.bias, optimum[:, -1], rtol=1e-6, atol=1e-8)


def test_what_cannot_be_refitted_is_refused_by_name() -> None:
    model = calibrated(NETWORKS["option A"]())
    space, plan, small = half(model)
    with pytest.raises(CheckpointError, match="`small` is not what `plan` keeps"):
        eyas.refit(model, copy.deepcopy(model), space, plan, IMAGES)
    with pytest.raises(CheckpointError, match="is not the architecture that was traced"):
        eyas.refit(Twice(), small, space, plan, IMAGES)
    with pytest.raises(PlanError, match="another search space"):
        eyas.refit(model, small, space, plan.model_copy(update={"space": "other"}), IMAGES)
    for images, words in (
        (IMAGES[:1], "holds 1: give two at least"),
        (IMAGES.to(torch.uint8), "are torch.uint8: give normalised floats"),
        ([IMAGES], "is a list that is no tensor .*: give one tensor"),
    ):
        with pytest.raises(DataError, match=f"`images` {words}"):
            eyas.refit(model, small, space, plan, images)
    for images in (IMAGES[:, :1], IMAGES[:, 0], IMAGES[:, None]):
        with pytest.raises(DataError, match=r"`images` is \(.*\), and the network was traced with \("):
            eyas.refit(model, small, space, plan, images)
    with pytest.raises(ParameterError, match="unknown recovery kind 'prayer'"):
        eyas.refit(model, small, space, plan, IMAGES, recovery="prayer")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_gives_what_the_cpu_gives() -> None:
    model = calibrated(NETWORKS["option A"]())
    space, plan, small = half(model)
    on_gpu = copy.deepcopy(small).cuda()
    report = eyas.refit(model, small, space, plan, IMAGES)
    other = eyas.refit(copy.deepcopy(model).cuda(), on_gpu, space, plan, IMAGES)
    assert other.error_after == pytest.approx(report.error_after, rel=0.05)
    assert {weight.device.type for weight in on_gpu.parameters()} == {"cuda"}


def test_targets_recorded_once_serve_many_networks() -> None:
    model = calibrated(NETWORKS["option A"]())
    space, plan, small = half(model)
    recovery = LeastSquares()
    weights = [name for name, _ in model.named_parameters()]
    targets = DenseTargets.record(model, IMAGES, weights, recovery)
    for seed in (1, 2):
        space, plan, small = half(model, seed)
        again = copy.deepcopy(small)
        first = eyas.refit(model, small, space, plan, IMAGES)
        assert eyas.refit(model, again, space, plan, IMAGES, recovery=recovery, targets=targets) == first
        assert all(
            torch.equal(a, b) for a, b in zip(small.state_dict().values(), again.state_dict().values(), strict=True)
        )


class Reused(nn.Module):
    """The weight of a layer is also scaled, and another is read only as something computed from it."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 8, 3), nn.Linear(8, 5)
        self.c = nn.Parameter(torch.randn(8, 5))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        y = torch.relu(self.a(x)).mean((2, 3))
        return self.b(y), nn.functional.linear(y, 2 * self.b.weight), y @ self.c, y @ self.c.abs()


def test_weights_that_something_else_is_computed_from_are_left() -> None:
    torch.manual_seed(6)
    model = Reused().eval()
    space, plan, small = half(model)
    report = eyas.refit(model, small, space, plan, IMAGES)
    reason = "something else than a layer's output is computed from it, too"
    assert report.left == {"b.weight": reason, "c": reason}
    kept = torch.tensor(plan.kept["a"])
    assert torch.equal(small.b.weight, model.b.weight[:, kept])


class Normalised(nn.Module):
    """Batch-norm takes the mean from what ``b`` makes; what ``c`` makes is also read before it."""

    def __init__(self) -> None:
        super().__init__()
        self.a = conv_bn(3, 8, 3)
        self.b, self.c = nn.Conv2d(8, 4, 3, bias=False), nn.Conv2d(8, 4, 3, bias=False)
        self.bn_b, self.bn_c = nn.BatchNorm2d(4), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        c = self.c(x)
        return torch.cat([torch.relu_(self.bn_b(self.b(x))), torch.relu_(self.bn_c(c)) + c.square()], 1)


def test_an_offset_is_fitted_beside_only_where_batch_norm_takes_it_away() -> None:
    torch.manual_seed(7)
    model = calibrated(Normalised()).double().eval()
    images = IMAGES.double()
    space, plan, small = half(model)
    recovery = LeastSquares(strengths=(1e-13,), rows_per_feature=10_000)
    assert DenseTargets.record(model, images, ["b.weight", "c.weight"], recovery).normalised >= {"b.weight"}
    before = copy.deepcopy(small)
    eyas.refit(model, small, space, plan, images, recovery=recovery)
    with torch.no_grad(), batch_statistics(before):
        rows = unfolded(before.a(images), before.b)
    dense = {name: getattr(model, name)(model.a(images)).detach() for name in ("b", "c")}
    for name in ("b", "c"):
        kept = space.slices(plan).get(f"{name}.weight", {}).get(0, range(4))
        target = dense[name][:, list(kept)].movedim(1, -1).flatten(0, 2)
        centred = (rows - rows.mean(0), target - target.mean(0)) if name == "b" else (rows, target)
        optimum = torch.linalg.lstsq(*centred).solution.T
        torch.testing.assert_close(getattr(small, name).weight.flatten(1), optimum, rtol=1e-6, atol=1e-8)


class Grateful(nn.Module):
    """Its forward code turns gradients on again."""

    def __init__(self) -> None:
        super().__init__()
        self.body = CifarResNet(1)

    @torch.enable_grad()
    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


def test_forward_code_that_turns_gradients_on_is_refitted_alike() -> None:
    model = Grateful()
    calibrated(model.body)
    space, plan, small = half(model.eval())
    report = eyas.refit(model, small, space, plan, IMAGES)
    plain = eyas.trace(model.body, (IMAGES[:2],))
    kept = {name.removeprefix("body."): channels for name, channels in plan.kept.items()}
    same = eyas.PruningPlan(space=plain.fingerprint, channels=plain.widths, kept=kept)
    expected = eyas.refit(model.body, eyas.prune(model.body, plain, same), plain, same, IMAGES)
    assert report.error_after == expected.error_after < expected.error_before
    assert not any(parameter.grad_fn for parameter in small.parameters())
    assert record_activations(model, IMAGES)["body.fc.weight"].inputs.rms().grad_fn is None


def test_arrays_are_images_and_values_that_are_not_finite_change_nothing() -> None:
    model = calibrated(NETWORKS["option A"]())
    space, plan, small = half(model)
    other, broken = copy.deepcopy(small), IMAGES.clone()
    assert eyas.refit(model, other, space, plan, IMAGES.double().numpy()) == eyas.refit(
        model, copy.deepcopy(small), space, plan, IMAGES
    )
    before = copy.deepcopy(small.state_dict())
    broken[0, 0, 0, 0] = torch.nan
    with pytest.raises(DataError, match="`images` hold values that are not finite"):
        eyas.refit(model, small, space, plan, broken)
    assert all(torch.equal(tensor, before[name]) for name, tensor in small.state_dict().items())


@pytest.mark.parametrize(
    ("give", "what"),
    [(lambda weight: None, "a NoneType"), (lambda weight: [0.0], "a list"), (lambda weight: weight[:, :-1], "shape")],
)
def test_a_recovery_that_gives_no_change_of_the_weights_is_told_by_name(give: Any, what: str) -> None:
    class Odd(Recovery):
        kind: Literal["odd"] = "odd"

        def __call__(self, layer: Any) -> Any:
            return give(layer.weight)

    del Recovery.registry["odd"]
    model = calibrated(NETWORKS["option A"]())
    space, plan, small = half(model)
    with pytest.raises(ParameterError, match=rf"recovery odd gives {what}.* for layer.*: it must give a tensor \("):
        eyas.refit(model, small, space, plan, IMAGES, recovery=Odd())
