"""Every sparsifier ends in the pattern, holds it through whatever the optimiser does, and resumes to the same bytes."""

import pytest
import torch
from torch import nn

import models
from eyas.errors import ParameterError
from eyas.pruning.sparsify import SparseLayers
from eyas.pruning.sparsity.n_m import NOfM
from eyas.pruning.sparsity.one_by_n import OneByN
from eyas.pruning.sparsity.unstructured import Unstructured
from eyas.training import SparseTraining, train
from eyas.training.masked_weights import MaskedWeights
from eyas.training.recipes import Recipe
from eyas.training.recipes.sgd import SGD
from eyas.training.sparsifiers import Sparsifier
from eyas.training.sparsifiers.at_once import AtOnce
from eyas.training.sparsifiers.granet import GraNet
from eyas.training.sparsifiers.soft_shrinkage import SoftShrinkage
from tests.training.helpers import RECIPE, state_hash, train_killed

EPOCHS = 3
PATTERNS = [
    *(Unstructured(zeros=0.75, scope=scope) for scope in ("network", "layer", "erk")),
    OneByN(zeros=0.5),
    NOfM(),
]


def network():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return models.build("resnet8", 10, width=8, in_channels=1)


def accepted(kind):
    """The patterns that a sparsifier comes to."""
    sparsifier, patterns = Sparsifier.parse(kind), []
    for sparsity in PATTERNS:
        try:
            sparsifier.check(sparsity)
        except ParameterError:
            continue
        patterns.append(sparsity)
    return patterns


CASES = [(kind, sparsity) for kind in sorted(Sparsifier.members()) for sparsity in accepted(kind)]
NAMES = [f"{kind}-{sparsity.kind}-{getattr(sparsity, 'scope', '')}" for kind, sparsity in CASES]


def nonzero(model, sparsity):
    return {name: weight != 0 for name, weight in SparseLayers.choose(model, sparsity).weights.items()}


def require_pattern(model, sparsity):
    """Zeros where the pattern wants them; some more where a weight that grew did not learn."""
    filled = nonzero(model, sparsity)
    if isinstance(sparsity, NOfM):
        most = max(int(kept.movedim(1, -1).reshape(-1, sparsity.m).sum(1).max()) for kept in filled.values())
        assert most == sparsity.n
    if isinstance(sparsity, OneByN):
        for kept in filled.values():
            blocks = kept.reshape(len(kept) // sparsity.n, sparsity.n, kept.shape[1], -1).transpose(1, 2).flatten(2)
            assert int((~blocks.any(2)).sum()) >= round(sparsity.share * blocks.shape[0] * blocks.shape[1])
    zeros = sum(int((~kept).sum()) for kept in filled.values())
    total = sum(kept.numel() for kept in filled.values())
    assert zeros == pytest.approx(sparsity.share * total, abs=0.01 * total)
    assert zeros >= round(sparsity.share * total)


@pytest.mark.parametrize(("kind", "sparsity"), CASES, ids=NAMES)
class TestContract:
    def test_training_ends_in_the_pattern_and_learns(self, kind, sparsity, digits):
        model = network()
        sparse = SparseTraining(sparsity, Sparsifier.parse(kind))
        recipe = SGD(batch_size=16, learning_rate=0.1)
        result = train(model, *digits[:2], recipe=recipe, epochs=6, sparse=sparse)
        require_pattern(model, sparsity)
        assert result.best.accuracy > 0.6
        assert len(result.history) == 6

    def test_killed_and_resumed_ends_with_the_same_bytes(self, kind, sparsity, digits, tmp_path):
        options = {"recipe": RECIPE, "epochs": EPOCHS, "sparse": SparseTraining(sparsity, Sparsifier.parse(kind))}
        whole = network()
        expected = train(whole, *digits[:2], **options)
        train_killed(network(), *digits[:2], resume_folder=tmp_path, **options)
        resumed = network()
        result = train(resumed, *digits[:2], resume_folder=tmp_path, **options)
        assert result.resumed_from == EPOCHS - 1
        assert state_hash(resumed) == state_hash(whole)
        assert result.history == expected.history
        assert result.best_epoch == expected.best_epoch

    def test_only_epochs_with_all_zeros_can_be_the_best(self, kind, sparsity, digits):
        sparsifier = Sparsifier.parse(kind)
        model = network()
        steps = len(digits[0]) // RECIPE.batch_size
        result = train(model, *digits[:2], recipe=RECIPE, epochs=4, sparse=SparseTraining(sparsity, sparsifier))
        assert result.best_epoch * steps >= sparsifier.steps(4 * steps)


@pytest.mark.parametrize("kind", sorted(Sparsifier.members()))
def test_a_sparsifier_is_done_when_it_says(kind):
    sparsifier = Sparsifier.parse(kind)
    for total in (1, 2, 10, 1001):
        assert 0 <= sparsifier.steps(total) <= total


OPTIMISERS = [
    {"kind": "sgd", "weight_decay": 0.1, "decay": "all"},
    {"kind": "sgd", "optimizer": "adamw", "learning_rate": 0.01, "weight_decay": 0.1},
    {"kind": "sgd", "optimizer": "rmsprop", "learning_rate": 0.001, "momentum": 0.9},
    {"kind": "sgd", "optimizer": "lamb", "learning_rate": 0.01},
    {"kind": "sgd", "clip_norm": 0.1, "ema_decay": 0.9, "layer_freezing": {"trained": 1, "period": 3}},
    {"kind": "sgd", "frozen_statistics": True},
    {"kind": "sandwich"},
]


@pytest.mark.parametrize("options", OPTIMISERS, ids=lambda options: str(options.get("optimizer", options)))
@pytest.mark.parametrize("kind", sorted(Sparsifier.members()))
def test_zeros_stay_through_decay_moments_averages_and_frozen_layers(options, kind, digits):
    sparsity, model = Unstructured(zeros=0.75), network()
    recipe = Recipe.parse({"batch_size": 32, **options})
    epochs = 1 if recipe.kind == "sandwich" else 2
    train(model, *digits[:2], recipe=recipe, epochs=epochs, sparse=SparseTraining(sparsity, Sparsifier.parse(kind)))
    filled = nonzero(model, sparsity)
    total = sum(kept.numel() for kept in filled.values())
    assert sum(int((~kept).sum()) for kept in filled.values()) >= round(0.75 * total)


def masked(sparsifier, sparsity, steps=100, model=None):
    """What follows a training of a hand-made network, its optimiser, and the network."""
    model = model or network()
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    return MaskedWeights(SparseTraining(sparsity, sparsifier), model, optimiser, steps), optimiser, model


def take_step(weights, optimiser, model, seed=0):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(16, 1, 8, 8, generator=generator)
    labels = torch.randint(10, (16,), generator=generator)
    optimiser.zero_grad()
    nn.functional.cross_entropy(model(images), labels).backward()
    optimiser.step()
    weights.after_step()


def test_gradients_and_moments_of_zeros_are_zero():
    weights, optimiser, model = masked(AtOnce(), Unstructured(zeros=0.5))
    assert weights.final
    for step in range(3):
        take_step(weights, optimiser, model, step)
    for name, weight in weights.weights.items():
        mask = weights.masks[name]
        assert not weight[~mask].any()
        assert not weight.grad[~mask].any()
        assert not optimiser.state[weight]["momentum_buffer"][~mask].any()
        assert weight[mask].ne(0).any()


def test_a_step_that_writes_into_zeros_is_undone():
    weights, _, _ = masked(AtOnce(), Unstructured(zeros=0.5))
    with torch.no_grad():
        for weight in weights.weights.values():
            weight.fill_(1.0)
    weights.after_step()
    for name, weight in weights.weights.items():
        assert torch.equal(weight.detach(), weights.masks[name].float())


def test_gradients_are_left_alone_after_training(digits):
    model = network()
    train(model, *digits[:2], recipe=RECIPE, epochs=1, sparse=SparseTraining(Unstructured(), AtOnce()))
    model(digits[0].images[:8]).sum().backward()
    filled = nonzero(model, Unstructured())
    assert any(model.get_parameter(name).grad[~kept].any() for name, kept in filled.items())


def test_without_training_the_zeros_are_there_as_well(digits):
    model = network()
    train(model, *digits[:2], recipe=RECIPE, epochs=0, sparse=SparseTraining(NOfM(), AtOnce()))
    require_pattern(model, NOfM())


class TestGraNet:
    """arXiv:2106.10404; card checks."""

    def test_the_share_of_zeros_hits_both_ends_and_is_the_cubic_in_between(self):
        granet = GraNet()
        assert granet.zeros(0.9, 0, 50) == 0
        assert granet.zeros(0.9, 50, 50) == 0.9
        assert granet.zeros(0.8, 25, 50) == pytest.approx(0.7)
        rising = [granet.zeros(0.9, step, 50) for step in range(51)]
        assert rising == sorted(rising)

    def test_regrowth_falls_by_the_cosine(self):
        granet = GraNet(regrowth=0.5)
        assert granet.rate(0, 50) == 0.5
        assert granet.rate(50, 50) == pytest.approx(0.005)
        assert granet.rate(25, 50) == pytest.approx((0.5 + 0.005) / 2)
        assert GraNet(regrowth=0).rate(10, 50) == 0

    @pytest.mark.parametrize("sparsity", [Unstructured(zeros=0.75), OneByN(zeros=0.75)], ids=lambda s: s.kind)
    def test_each_layer_has_as_many_weights_after_the_growth_as_before_the_drop(self, sparsity):
        weights, optimiser, model = masked(GraNet(every=5, share=0.2), sparsity)
        for step in range(1, 21):
            before = {name: weight.detach().clone() for name, weight in weights.weights.items()}
            take_step(weights, optimiser, model, step)
            if step % 5:
                continue
            share = GraNet().zeros(0.75, step, 20)
            moved = {name: weight.detach() for name, weight in weights.weights.items()}
            assert any(not torch.equal(before[name], moved[name]) for name in moved)
            total = sum(mask.numel() for mask in weights.masks.values())
            active = sum(int(mask.sum()) for mask in weights.masks.values())
            assert active == pytest.approx((1 - share) * total, abs=4 * len(moved) * 9)
        assert weights.final
        assert active == pytest.approx(0.25 * total, abs=4 * len(moved) * 9)

    def test_dropped_are_the_least_and_grown_the_steepest_and_these_start_from_zero(self):
        layer = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 5, bias=False))
        optimiser = torch.optim.SGD(layer.parameters(), lr=0.1, momentum=0.9)
        sparsity = Unstructured(zeros=0.4)
        weights = MaskedWeights(SparseTraining(sparsity, GraNet(every=1, regrowth=0.5, share=0.5)), layer, optimiser, 2)
        weight = layer[1].weight
        with torch.no_grad():
            weight.copy_(torch.arange(1.0, 21).reshape(5, 4))
        optimiser.state[weight]["momentum_buffer"] = torch.ones(5, 4)
        gradient = torch.zeros(20)
        gradient[[0, 9, 3]] = torch.tensor([9.0, -8.0, 7.0])  # units 1, 10 and 4 in ascending order
        weight.grad = None
        (weight * gradient.reshape(5, 4)).sum().backward()
        weights.after_step()
        # Of 20 the 8 least go, ceil(0.005 * 12) = 1 more (weight 9) at the end, and unit 1 comes back.
        expected = torch.arange(1.0, 21)
        expected[:9] = 0
        assert weight.detach().flatten().tolist() == expected.tolist()
        mask = weights.masks["1.weight"].flatten()
        assert mask.nonzero().flatten().tolist() == [0, *range(9, 20)]
        momentum = optimiser.state[weight]["momentum_buffer"].flatten()
        assert momentum.tolist() == [0.0] * 9 + [1.0] * 11

    def test_growth_reads_the_gradient_at_zeros_too(self):
        weights, optimiser, model = masked(GraNet(every=1, share=0.1, regrowth=0.5), Unstructured(zeros=0.9))
        for step in range(1, 10):
            take_step(weights, optimiser, model, step)
        before = {name: mask.clone() for name, mask in weights.masks.items()}
        take_step(weights, optimiser, model, 10)
        grown = sum(int((~before[name] & mask).sum()) for name, mask in weights.masks.items())
        assert grown > 0

    def test_without_regrowth_it_is_gradual_magnitude_pruning(self):
        sparsity = Unstructured(zeros=0.8)
        weights, optimiser, model = masked(GraNet(every=1, share=0.1, regrowth=0), sparsity)
        for step in range(1, 11):
            take_step(weights, optimiser, model, step)
            share = 0.8 * (1 - (1 - step / 10) ** 3)
            expected = sparsity.masks_at(weights.weights, share)
            assert all(torch.equal(weights.masks[name], mask) for name, mask in expected.items())
        total = sum(mask.numel() for mask in weights.masks.values())
        assert sum(int((~mask).sum()) for mask in weights.masks.values()) == round(0.8 * total)

    def test_patterns_without_free_units_are_refused(self):
        with pytest.raises(ParameterError, match=r"sparsity n_m has none: take one_by_n, unstructured"):
            GraNet().check(NOfM())


class TestSoftShrinkage:
    """arXiv:2303.09650; card checks."""

    def still(self, factor, steps, sparsity=None, share=0.5, total=100):
        """Weights after steps in which no gradient moved them."""
        model = network()
        before = {name: value.clone() for name, value in model.state_dict().items()}
        sparsity = sparsity or Unstructured(zeros=0.5)
        weights, _, _ = masked(SoftShrinkage(share=share).model_copy(update={"factor": factor}), sparsity, total, model)
        for _ in range(steps):
            weights.after_step()
        return before, weights, sparsity

    def test_a_weight_that_stays_small_shrinks_by_the_factor_in_each_step(self):
        before, weights, sparsity = self.still(0.99, 10)
        first = sparsity.masks({name: before[name] for name in weights.weights})
        for name, weight in weights.weights.items():
            expected = torch.where(first[name], before[name], before[name] * 0.99**10)
            torch.testing.assert_close(weight.detach(), expected)

    def test_factor_one_prunes_nothing_before_the_end_and_factor_zero_is_hard(self):
        before, weights, _ = self.still(1.0, 49)  # a limit that nobody may ask for
        assert all(torch.equal(weight, before[name]) for name, weight in weights.weights.items())
        before, weights, sparsity = self.still(0.0, 1)
        masks = sparsity.masks({name: before[name] for name in weights.weights})
        assert all(torch.equal(weight, before[name] * masks[name]) for name, weight in weights.weights.items())

    def test_factor_zero_with_gradients_is_iterative_hard_thresholding(self):
        sparsity = Unstructured(zeros=0.5)
        weights, optimiser, model = masked(SoftShrinkage(factor=0.0, share=0.5), sparsity)
        for step in range(5):
            take_step(weights, optimiser, model, step)
            zeros = sum(int((weight == 0).sum()) for weight in weights.weights.values())
            total = sum(weight.numel() for weight in weights.weights.values())
            assert zeros == round(0.5 * total)
            assert all(mask.all() for mask in weights.masks.values())  # free to recover

    @pytest.mark.parametrize("sparsity", [Unstructured(zeros=0.6), NOfM(n=1, m=4), OneByN(zeros=0.75)], ids=str)
    def test_the_last_step_leaves_the_exact_pattern(self, sparsity):
        _, weights, _ = self.still(0.9, 50, sparsity)
        assert weights.final
        total = sum(weight.numel() for weight in weights.weights.values())
        zeros = sum(int((weight == 0).sum()) for weight in weights.weights.values())
        assert zeros == round(sparsity.share * total)

    def test_a_weight_can_recover(self):
        weights, _, _ = masked(SoftShrinkage(factor=0.9, share=0.5), Unstructured(zeros=0.5))
        name, weight = next(iter(weights.weights.items()))
        place = int(weight.detach().abs().flatten().argmin())
        weights.after_step()
        with torch.no_grad():
            weight.view(-1)[place] = 5.0
        for _ in range(60):
            weights.after_step()
        assert float(weight.detach().flatten()[place]) == 5.0
        assert bool(weights.masks[name].flatten()[place])


def test_a_pattern_that_fits_no_layer_is_told_before_training(digits):
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.Flatten(), nn.Linear(3 * 36, 10))
    with pytest.raises(ParameterError, match="its 10 filters are no multiple of 4"):
        train(model, *digits[:2], recipe=RECIPE, epochs=1, sparse=SparseTraining(OneByN(), AtOnce()))
