"""Criteria that train gates: the formulas of each, what they find, what they refuse."""

import hashlib
import logging
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import eyas
from eyas.errors import DataError
from eyas.pruning.calibration_set import CalibrationSet
from eyas.pruning.criteria import Criterion
from eyas.pruning.criteria.class_votes import ClassVotes, Votes
from eyas.pruning.criteria.consensus_gates import ConsensusGates, disagreement
from eyas.pruning.criteria.gate_criterion import GateCriterion
from eyas.pruning.criteria.group_norm import GroupNorm
from eyas.pruning.criteria.gumbel_gates import DrawnGates
from eyas.pruning.criteria.lottery_jackpots import LotteryJackpots
from eyas.pruning.gate_training import GateBatch, GateProblem, hard
from eyas.pruning.gated_network import GatedNetwork, macs_share
from tests.pruning.networks import Bottleneck, conv_bn
from tests.pruning.oracle import Mapped, ReadByNoLayer, prepared

KINDS = [kind for kind, member in Criterion.members().items() if issubclass(member, GateCriterion)]
IMAGES = torch.randn(32, 3, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def batch(answers: Tensor, *, seed: int = 0, progress: float = 0.0, labels: Tensor | None = None) -> GateBatch:
    return GateBatch(IMAGES[: len(answers)], answers, labels, progress, torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def block() -> tuple[nn.Module, eyas.SearchSpace]:
    torch.manual_seed(0)
    layers = conv_bn(3, 8, 3, 2), Bottleneck(8, 6, 16, 2, g=2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 3)
    model = prepared(nn.Sequential(*layers))
    return model, eyas.trace(model, (IMAGES[:1],))


def problem(model: nn.Module, space: eyas.SearchSpace) -> GateProblem:
    norms = []
    for group in space.groups:
        norm_U = torch.zeros(group.units, dtype=torch.float64)
        norm_U[torch.from_numpy(group.unit_of_channel)] = GroupNorm()(group, model)
        norms.append(norm_U)
    return GateProblem(GatedNetwork(model, space), space, torch.cat(norms), batch(model(IMAGES).detach()))


class Misleading(nn.Module):
    """Channels 0 to 3 decide the class; 4 to 7, with weights ten times as large, shift all classes alike."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.head = nn.Conv2d(3, 8, 1), nn.Linear(8, 3)
        with torch.no_grad():
            self.a.weight[4:] *= 10
            self.head.weight[:, 4:] = 10
            self.head.weight[:, :4] *= 20

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.a(x)).mean((2, 3)))


@pytest.mark.parametrize("kind", KINDS)
def test_channels_that_decide_come_before_large_ones_that_do_not(kind: str) -> None:
    torch.manual_seed(1)
    model = prepared(Misleading())
    space = eyas.trace(model, (IMAGES[:1],))
    before = hashlib.sha256(b"".join(tensor.detach().numpy().tobytes() for tensor in model.state_dict().values()))
    # A channel is an eighth of this network, so that the default weight of the cost would say more than the answers.
    options = {"macs_weight": 1.0} if kind == "gumbel_gates" else {}
    criterion = Criterion.parse({"kind": kind, **options})
    assert set(space.ranking(criterion, data=IMAGES)[0][:4].tolist()) == {0, 1, 2, 3}
    after = hashlib.sha256(b"".join(tensor.detach().numpy().tobytes() for tensor in model.state_dict().values()))
    assert before.digest() == after.digest()
    assert set(space.ranking(GroupNorm())[0][:4].tolist()) == {4, 5, 6, 7}


@pytest.mark.parametrize("kind", KINDS)
def test_labels_teach_where_they_are_read(kind: str, block: Any) -> None:
    model, space = block
    ratings = [
        Criterion.parse({"kind": kind, "labels": read, "steps": 5}).prepare_groups(space, model, data)
        for read, data in (
            (False, IMAGES),
            (False, CalibrationSet(IMAGES, torch.arange(32) % 3)),
            (True, CalibrationSet(IMAGES, torch.arange(32) % 3)),
            (True, CalibrationSet(IMAGES, torch.zeros(32, dtype=torch.int64))),
        )
    ]
    same = [all(torch.equal(ratings[0][place], other[place]) for place in other) for other in ratings[1:]]
    assert same == [True, False, False]
    assert any(not torch.equal(ratings[2][place], ratings[3][place]) for place in ratings[2])


@pytest.mark.parametrize("kind", KINDS)
def test_a_ranking_trains_the_gates_of_its_own_space_alone(kind: str, block: Any) -> None:
    model, space = block
    smaller = eyas.trace(model, (IMAGES[:1],), ignore=["0.0"])
    criterion = Criterion.parse({"kind": kind, "steps": 5})
    places = [criterion.prepare_groups(each, model, IMAGES).keys() for each in (space, smaller)]
    assert places[1] < places[0]
    assert all(name != "1.conv1.weight" for name, _ in places[1])
    assert places[0] == criterion.prepare(model, IMAGES).keys(), "traced where there is no space"


@pytest.mark.parametrize("kind", KINDS)
def test_a_channel_that_no_answer_depends_on_comes_last(kind: str) -> None:
    torch.manual_seed(0)
    model = prepared(nn.Sequential(conv_bn(3, 6), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3)))
    model[3].weight.data[:, 2] = 0
    (ranking,) = eyas.trace(model, (IMAGES[:1],)).ranking(Criterion.parse(kind), data=IMAGES)
    assert ranking[-1] == 2


@pytest.mark.parametrize("kind", KINDS)
def test_what_no_layer_reads_is_rated_by_its_weights(kind: str) -> None:
    model = prepared(ReadByNoLayer())
    (group,) = eyas.trace(model, (IMAGES[:1],)).groups
    torch.testing.assert_close(
        Criterion.parse({"kind": kind, "steps": 2})(group, model, IMAGES), GroupNorm()(group, model)
    )


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "class_votes"])
def test_a_class_per_pixel_and_the_chosen_output_count(kind: str) -> None:
    """Of a head of zeros the answers depend on nothing, whatever the other one says."""
    model = prepared(Mapped())
    group = eyas.trace(model, (IMAGES[:1],)).group("a")
    model.head.weight.data[:, 1:] = 0
    labels = torch.randint(0, 3, (32, 8, 8), generator=torch.Generator().manual_seed(0))
    labels[:, 0], labels[2] = -100, -100
    for options in ({"labels": True}, {}):
        data = CalibrationSet(IMAGES, labels, "map")
        importance = Criterion.parse({"kind": kind, "steps": 20, **options})(group, model, data)
        assert importance[0] > importance[1:].max()
        assert len(importance[1:].unique()) == 1


def test_class_votes_refuse_a_class_per_pixel() -> None:
    model = prepared(Mapped())
    space = eyas.trace(model, (IMAGES[:1],))
    with pytest.raises(DataError, match=r"shape \(32, 3, 8, 8\), not a class per image: take gumbel_gates"):
        space.ranking(ClassVotes(), data=CalibrationSet(IMAGES, output="map"))


@pytest.mark.parametrize("kind", KINDS)
def test_what_has_no_classes_fits_no_labels_or_has_no_gradients_is_refused(kind: str, block: Any) -> None:
    _, space = block
    criterion = Criterion.parse({"kind": kind, "labels": True})
    for labels, message in (
        (torch.full((32,), 3), "labels hold 3, the network answers with classes 0 to 2"),
        (torch.zeros(32, 2, dtype=torch.int64), r"labels of 32 images have shape \(32, 2\)"),
    ):
        with pytest.raises(DataError, match=message):
            space.ranking(criterion, data=CalibrationSet(IMAGES, labels))

    class Closed(Misleading):
        @torch.no_grad()
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x)

    class Value(Misleading):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x)[:, :1]

    for other, message in ((Closed(), "Closed computes without gradients"), (Value(), "and not with classes")):
        with pytest.raises(DataError, match=message):
            eyas.trace(prepared(other), (IMAGES[:1],)).ranking(Criterion.parse(kind), data=IMAGES)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_a_caller_without_gradients_gets_the_same(kind: str, context: Any, block: Any) -> None:
    model, space = block
    criterion = Criterion.parse({"kind": kind, "steps": 3})
    expected = criterion.prepare_groups(space, model, IMAGES)
    with context():
        got = criterion.prepare_groups(space, model, IMAGES * 1.0)
    assert all(torch.equal(expected[place], got[place]) for place in expected)


@pytest.mark.parametrize("kind", KINDS)
def test_a_seed_repeats_and_another_trains_anew(kind: str, block: Any) -> None:
    model, space = block
    first, again, other = (
        Criterion.parse({"kind": kind, "steps": 3, "batch_size": 8, "seed": seed}).prepare_groups(space, model, IMAGES)
        for seed in (0, 0, 1)
    )
    assert all(torch.equal(first[place], again[place]) for place in first)
    assert not all(torch.equal(first[place], other[place]) for place in first)


def test_one_image_and_fewer_than_a_batch_are_enough(block: Any) -> None:
    _, space = block
    for kind in KINDS:
        assert len(space.ranking(Criterion.parse({"kind": kind, "steps": 2}), data=IMAGES[:1])) == len(space.groups)


def test_the_straight_through_gate_is_exact_and_has_the_soft_slope() -> None:
    logits = torch.linspace(-3, 3, 7, dtype=torch.float64).requires_grad_()
    gates = hard(logits.sigmoid(), logits > 0)
    assert torch.equal(gates.detach(), (logits > 0).double())
    (slope,) = torch.autograd.grad(gates.sum(), logits)
    torch.testing.assert_close(slope, logits.sigmoid() * (1 - logits.sigmoid()))


def votes_of(num_classes: int) -> Votes:
    votes = Votes(num_classes, [0, 2, 5], sparsity=0.5)
    generator = torch.Generator().manual_seed(3)
    votes.masks_KU.data = torch.rand(num_classes, 5, generator=generator, dtype=torch.float64)
    return votes


def test_class_votes_mix_masks_as_their_mean_says() -> None:
    """The mean of s is that of all masks, the own class counted twice; the ones at first leave s at 1."""
    votes, answers = votes_of(4), torch.eye(4, dtype=torch.float64)[2].expand(20_000, -1)
    expected = (votes.masks_KU.sum(0) + votes.masks_KU[2]) / 5
    torch.testing.assert_close(votes(batch(answers)).mean(0), expected, atol=5e-3, rtol=0)
    labelled = votes(batch(answers, labels=torch.full((20_000,), 1))).mean(0)
    torch.testing.assert_close(labelled, (votes.masks_KU.sum(0) + votes.masks_KU[1]) / 5, atol=5e-3, rtol=0)
    torch.testing.assert_close(Votes(4, [0, 5], 0)(batch(answers)).mean(0), torch.ones(5).double(), atol=5e-3, rtol=0)
    assert torch.equal(Votes(1, [0, 5], 0)(batch(answers[:3, :1])), torch.ones(3, 5).double()), "one class: the network"


def test_class_votes_have_the_gradient_written_by_hand() -> None:
    votes, answers = votes_of(4), torch.eye(4, dtype=torch.float64)
    slopes_NU = torch.randn(4, 5, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    (votes(batch(answers)) * slopes_NU).sum().backward()
    shares = torch.rand(4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    shares.fill_diagonal_(1)
    torch.testing.assert_close(votes.masks_KU.grad, shares.T @ slopes_NU * 2 / 5)
    sums = votes.masks_KU.detach().sum(0)
    norms = sums[:2].square().sum().sqrt() + sums[2:].square().sum().sqrt()
    torch.testing.assert_close(votes.penalty(votes(batch(answers))).detach(), 0.5 * norms)
    torch.testing.assert_close(votes.importance(), sums)


def test_a_channel_without_votes_can_be_cut(block: Any) -> None:
    """Mask parity with the other channels' gates as they are."""
    model, space = block
    first, units = space.groups[0], int(space.layout.offsets[-1])
    votes = Votes(3, space.layout.offsets.tolist(), 0)
    votes.masks_KU.data[:, 0] = 0
    gates_NU = votes(batch(model(IMAGES))).detach()
    cut = eyas.prune(model, space, space.plan().model_copy(
        update={"kept": {**space.plan().kept, first.name: tuple(range(1, first.channels))}}
    ))  # fmt: skip
    smaller = GatedNetwork(cut, eyas.trace(cut, (IMAGES[:1],)))
    assert smaller.units == units - 1
    torch.testing.assert_close(GatedNetwork(model, space)(IMAGES, gates_NU), smaller(IMAGES, gates_NU[:, 1:]))


def test_gumbel_gates_are_open_as_likely_as_their_log_odds_say(block: Any) -> None:
    """Whatever the temperature: it changes the gradient alone."""
    model, space = block
    gates = DrawnGates(space, problem(model, space).weight_order(), 0.5, 1.0)
    gates.log_odds_U.data = torch.linspace(-3, 3, len(gates.log_odds_U)).double()
    answers = torch.zeros(1, 3)
    drawn = torch.stack([gates(batch(answers, seed=seed)).detach() for seed in range(4000)])
    torch.testing.assert_close(drawn.mean(0), gates.log_odds_U.detach().sigmoid(), atol=0.035, rtol=0)
    cold = torch.stack([gates(batch(answers, seed=seed, progress=0.9)).detach() for seed in range(200)])
    assert torch.equal(drawn[:200], cold)


def test_gumbel_gates_move_towards_the_budget(block: Any) -> None:
    """The slope of the cost has the sign of the distance from the target, at every unit."""
    model, space = block
    for target, sign in ((0.01, 1), (1.0, -1)):
        gates = DrawnGates(space, problem(model, space).weight_order(), target, 1.0)
        gates.log_odds_U.data.fill_(1.0)
        drawn = gates(batch(torch.zeros(1, 3)))
        penalty = gates.penalty(drawn)
        penalty.backward()
        assert (gates.log_odds_U.grad * sign > 0).all()
        assert penalty.item() == pytest.approx((macs_share(space, drawn).item() - target) ** 2)


def test_open_gates_follow_the_budget(block: Any) -> None:
    """What the gates cost that are open after the training, or on average where they are drawn."""
    model, space = block
    for kind, opened in (("gumbel_gates", torch.sigmoid), ("consensus_gates", lambda logits: (logits > 0).double())):
        shares = []
        for target in (0.2, 0.8):
            options = {"learning_rate": 0.3} if kind == "gumbel_gates" else {}
            criterion = Criterion.parse({"kind": kind, "target": target, "macs_weight": 100.0, **options})
            ratings = criterion.prepare_groups(space, model, IMAGES)
            importance_U = torch.cat([criterion(g, model, ratings)[unit_channels(g)] for g in space.groups])
            shares.append(float(macs_share(space, opened(importance_U))))
        assert shares[0] < 0.5 < shares[1], kind


def unit_channels(group: eyas.ChannelGroup) -> list[int]:
    return [group.unit_of_channel.tolist().index(unit) for unit in range(group.units)]


def test_jackpots_that_do_not_learn_are_the_magnitudes(block: Any, caplog: pytest.LogCaptureFixture) -> None:
    _, space = block
    for options in ({"learning_rate": 0.0}, {"steps": 0}):
        with caplog.at_level(logging.INFO, "eyas"):
            ranking = space.ranking(LotteryJackpots().model_copy(update=options), data=IMAGES)
        assert "overlap of its mask with that of the magnitudes 1.00" in caplog.text
        for got, expected in zip(ranking, space.ranking(GroupNorm()), strict=True):
            assert got.tolist() == expected.tolist()
    with caplog.at_level(logging.INFO, "eyas"):
        caplog.clear()
        space.ranking(LotteryJackpots(learning_rate=1.0), data=IMAGES)
    assert 0 < float(caplog.text.split("magnitudes ")[1].split(" ")[0]) < 1


def test_jackpots_keep_as_many_channels_of_each_group_in_every_step(block: Any) -> None:
    model, space = block
    seen, criterion = problem(model, space), LotteryJackpots(kept=0.4)
    gates = criterion.gates(seen)
    counts = [[int(mask.sum()) for mask in masks_of(gates(seen.first), space)]]
    optimizer = criterion.optimizer(gates)
    for seed in range(20):
        gates.scores_U.grad = torch.randn(seen.network.units, generator=torch.Generator().manual_seed(seed)).double()
        optimizer.step()
        mask_U = gates(seen.first).detach()
        assert set(mask_U.tolist()) == {0.0, 1.0}
        counts.append([int(mask.sum()) for mask in masks_of(mask_U, space)])
        for mask, score in zip(masks_of(mask_U, space), masks_of(gates.scores_U, space), strict=True):
            assert score[mask == 1].min() >= torch.cat([score[mask == 0], torch.tensor([-99.0])]).max()
    assert all(count == counts[0] for count in counts)
    assert sum(counts[0]) == round(0.4 * seen.network.units)


def test_jackpots_begin_a_hundredth_apart_and_norms_tell_equals_apart(block: Any) -> None:
    """A channel that is masked at first comes back once it gained 0.01 on the weakest that is kept."""
    seen = problem(*block)
    gates = LotteryJackpots(kept=0.4).gates(seen)
    mask_U, scores_U = gates(seen.first).detach() == 1, gates.scores_U.detach()
    above_U = scores_U - torch.where(mask_U, 1.0, 0.99)
    assert 0 <= float(above_U.min()) < float(above_U.max()) <= 1e-3 + 1e-12
    for mask, above, norms in zip(
        masks_of(mask_U, seen.space), masks_of(above_U, seen.space), masks_of(seen.norms, seen.space), strict=True
    ):
        assert above.argsort().tolist() == norms.argsort().tolist()
        assert mask.all() or norms[mask].min() >= norms[~mask].max()


def masks_of(values_U: Tensor, space: eyas.SearchSpace) -> list[Tensor]:
    return [values_U.detach()[start:stop] for start, stop in pairwise(space.layout.offsets.tolist())]


def test_images_disagree_by_a_quarter_at_most() -> None:
    half = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    assert float(disagreement(half)) == 0.25
    for agreed in (torch.zeros(3, 4), torch.ones(3, 4), torch.tensor([[1.0, 0.0, 1.0]]).expand(5, -1)):
        assert float(disagreement(agreed)) == 0
    assert 0 < float(disagreement(torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 1.0]]))) < 0.25


@pytest.mark.parametrize("share", [0.25, 0.5, 1.0])
def test_consensus_gates_are_charged_the_distance_from_the_target(share: float, block: Any) -> None:
    """Where all images agree on a mask: the weight times what the pruned network's cost is off, not its square."""
    model, space = block
    gates = ConsensusGates(target=0.4, macs_weight=2.0, agreement=0.5).gates(problem(model, space))
    open_U, widths = torch.zeros(int(space.layout.offsets[-1]), dtype=torch.float64), {}
    for group, start in zip(space.groups, space.layout.offsets.tolist(), strict=False):
        units = max(1, round(share * group.units))
        open_U[start : start + units], widths[group.name] = 1, units * group.step
    off = abs(space.cost(widths).macs / space.cost().macs - 0.4)
    assert float(gates.penalty(open_U.expand(6, -1))) == pytest.approx(2 * off)
    torn_NU = open_U.expand(6, -1).clone()
    torn_NU[::2] = 0
    torn_NU[::2, space.layout.offsets.tolist()[:-1]] = 1
    penalty, mean_U = float(gates.penalty(torn_NU)), torn_NU.mean(0)
    expected = 0.5 * float((mean_U - mean_U**2).mean()) + 2 * abs(float(macs_share(space, mean_U)) - 0.4)
    assert penalty == pytest.approx(expected)


def test_frozen_consensus_gates_answer_alike_where_images_agreed(block: Any) -> None:
    model, space = block
    seen = problem(model, space)
    gates = ConsensusGates().gates(seen)
    generator = torch.Generator().manual_seed(0)
    for weight in gates.weights:
        weight.data = torch.randn(weight.shape, generator=generator, dtype=torch.float64) / len(weight)
    gates.bias_U.data = torch.randn(seen.network.units, generator=generator, dtype=torch.float64)
    gates_NU = gates(seen.first).detach()
    assert float(disagreement(gates_NU)) > 0
    static_U = (gates_NU.mean(0) > 0.5).double()
    by_image, static = seen.network(IMAGES, gates_NU), seen.network(IMAGES, static_U)
    agreed = (gates_NU == static_U).all(1)
    assert 0 < int(agreed.sum()) < len(IMAGES)
    torch.testing.assert_close(by_image[agreed], static[agreed])
    assert not torch.allclose(by_image[~agreed], static[~agreed])
    torch.testing.assert_close(gates.importance(), logits_by_hand(gates, seen))


def logits_by_hand(gates: Any, seen: GateProblem) -> Tensor:
    strengths, logits = seen.network.strengths(IMAGES), []
    for (start, stop), weight in zip(gates.bounds, gates.weights, strict=True):
        part = strengths[:, start:stop]
        logits.append((part / part.mean() @ weight).mean(0) + gates.bias_U[start:stop])
    return torch.cat(logits)
