"""The reward: its formula by hand, its order by brute force, and what it is in the race."""

import numpy as np
import pytest

import eyas
from eyas.config import parse_params
from eyas.errors import ParameterError
from eyas.scoring.reward import Reward
from tests.sampling.latencies import Aligned
from tests.sampling.spaces import Chain, macs_by_hand, params_by_hand
from tests.scoring.conftest import FUSED, RACE, columns

SPACE = Chain([8, 12, 16], side=8)
WIDTHS = np.array([[4, 6, 8], [8, 12, 16], [1, 1, 1], [8, 3, 5]])


def saved(cost, dense):
    """C (2 - C), as the paper has it."""
    share = 1 - cost / dense
    return share * (2 - share)


def test_it_is_the_papers_formula():
    by_hand = [saved(params_by_hand(SPACE, row), params_by_hand(SPACE, WIDTHS[1])) for row in WIDTHS]
    np.testing.assert_allclose(Reward(params=1).factors(SPACE, WIDTHS), by_hand)
    assert Reward(params=1).factors(SPACE, WIDTHS)[1] == 0, "nothing is saved"


@pytest.mark.parametrize(("left", "factor"), [(0.5, 0.75), (0.1, 0.99), (0.01, 0.9999)])
def test_it_saturates(left, factor):
    class Share:
        dense_ms = 2.0

        def milliseconds(self, widths):
            return np.full(len(widths), 2.0 * left)

    assert Reward(latency=1).factors(SPACE, WIDTHS, Share()) == pytest.approx([factor] * 4)


def test_several_goals_are_multiplied_each_to_its_weight():
    latency = Aligned(SPACE)
    by_hand = [
        saved(macs_by_hand(SPACE, row), macs_by_hand(SPACE, WIDTHS[1])) ** 2 * saved(ms, latency.dense_ms) ** 0.5
        for row, ms in zip(WIDTHS, latency.milliseconds(WIDTHS), strict=True)
    ]
    np.testing.assert_allclose(Reward(macs=2, latency=0.5).factors(SPACE, WIDTHS, latency), by_hand)


def test_what_is_slower_than_the_dense_network_earns_nothing():
    class Slower:
        dense_ms = 1.0

        def milliseconds(self, widths):
            return np.full(len(widths), 1.5)

    assert (Reward(latency=1).factors(SPACE, WIDTHS, Slower()) == 0).all()


def test_scores_are_multiplied_and_nothing_else(scene):
    plain, rewarded = (scene.score(rungs=FUSED, scorer="top1", **how) for how in ({}, {"reward": {"params": 1}}))
    factors = Reward(params=1).factors(scene.space, scene.plans.widths)
    np.testing.assert_allclose(rewarded.score, plain.score * factors, rtol=1e-12)
    np.testing.assert_allclose(rewarded.standard_error, plain.standard_error * factors, rtol=1e-12)
    for name in ("accuracy", "cross_entropy", "images", "rung"):
        np.testing.assert_array_equal(getattr(rewarded, name), getattr(plain, name))
    assert rewarded.settings["reward"]["params"] == 1
    assert "reward" not in plain.settings
    assert rewarded.winner == (plain.score * factors).argmax() != plain.winner


def test_workers_and_a_journal_have_it_too(scene, tmp_path):
    latency = Aligned(Chain([group.channels for group in scene.space.groups]))
    how = {"rungs": RACE, "scorer": "top1", "reward": {"latency": 1}, "latency": latency, "threads": 1}
    alone = columns(scene.score(**how))
    assert columns(scene.score(**how, workers=2, journal=tmp_path / "j")) == alone
    assert columns(scene.score(**how, journal=tmp_path / "j")) == alone
    less = scene.score(**{**how, "reward": {"latency": 0.1}}, journal=tmp_path / "j")
    assert columns(less) != alone, "the journal of another reward is begun anew"


@pytest.mark.parametrize(
    ("how", "words"),
    [
        (
            {"scorer": "cross_entropy"},
            "such as accuracies, and those of `scorer` cross_entropy are none: set `scorer` to one of dense_probe",
        ),
        ({"prior": "log_widths"}, "`prior` adds to what it multiplies: give one of them"),
        ({"reward": {"latency": 1}}, "it weighs latency: give `latency`, such as a LatencyModel"),
        ({"reward": {"params": 0}}, "no cost has a weight: give one of macs, params, activation_bytes, latency"),
        ({"reward": {"flops": 1}}, "flops: no such parameter; reward knows macs, params,"),
        ({"reward": {"params": -1}}, "params: Input should be greater than or equal to 0"),
        ({"reward": "params"}, "expected fields, as in reward: {field: value}; reward knows macs, params,"),
    ],
)
def test_what_it_does_not_go_with_is_refused(scene, how, words):
    with pytest.raises(ParameterError, match="`reward`") as refused:
        scene.score(scene.plans[:2], **{"rungs": FUSED, "scorer": "top1", "reward": {"params": 1}, **how})
    assert words in str(refused.value)


def test_a_search_takes_it(scene):
    """Candidates at the same MACs: the winner with a reward has fewer parameters, or as many."""
    options = {"rungs": FUSED, "scorer": "top1", "tolerance": 0.05}
    images = (scene.calibration, scene.scoring, scene.labels)
    how = {"candidates": 24, "sampler": "budget", "seed": 0}
    plain, lean = (
        eyas.search(
            scene.model,
            scene.space,
            {"macs": 0.5},
            *images,
            **how,
            options=eyas.SearchOptions(**options, reward=reward),
        )
        for reward in (None, {"params": 4})
    )
    assert lean.cost.params < plain.cost.params


def test_a_parameter_file_takes_it():
    assert parse_params({"score": {"reward": {"params": 1}}}).score.reward == Reward(params=1)
    with pytest.raises(ParameterError, match=r"score\.reward: .*no cost has a weight"):
        parse_params({"score": {"reward": {}}})
