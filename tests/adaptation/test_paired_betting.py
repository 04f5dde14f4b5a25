"""The bet against its integral, and its promise: looked at after every label, it is wrong as rarely as asked."""

import sys

import numpy as np
import pytest
import torch
from scipy.integrate import quad

from eyas.adaptation.paired_betting import compare_paired, wealth
from eyas.errors import MissingExtraError, ParameterError


@pytest.mark.parametrize(("wins", "losses"), [(0, 0), (5, 0), (0, 5), (3, 7), (200, 150)])
def test_wealth_is_the_mean_over_all_odds(wins: int, losses: int) -> None:
    expected = 2 * quad(lambda odds: (2 * odds) ** wins * (2 - 2 * odds) ** losses, 0.5, 1)[0]
    assert wealth(wins, losses) == pytest.approx(expected)


def test_wealth_stays_finite() -> None:
    assert wealth(0, 5000) < 1e-3
    assert wealth(5000, 0) > 1e300


def test_networks_as_good_as_each_other_are_rarely_told_apart() -> None:
    random = np.random.default_rng(0)
    draws = torch.from_numpy(random.random((400, 2, 150)) < 0.7)
    told = [compare_paired(before, after, alpha=0.1).finding for before, after in draws]
    assert told.count("better") <= 400 * 0.1
    assert told.count("worse") <= 400 * 0.1


def test_a_better_network_is_told_with_few_labels() -> None:
    after = torch.ones(40, dtype=torch.bool)
    before = torch.arange(40) % 4 != 0
    evidence = compare_paired(before, after)
    assert (evidence.wins, evidence.losses, evidence.labels, evidence.finding) == (10, 0, 40, "better")
    assert evidence.gain == 0.25
    assert compare_paired(after, before).finding == "worse"
    assert compare_paired(before[:12], after[:12]).finding == "open"


def test_a_finding_stays_when_later_labels_say_otherwise() -> None:
    before = torch.tensor([False] * 8 + [True] * 8)
    assert compare_paired(before, ~before).finding == "better"
    before = torch.tensor([False] * 8 + [True] * 100)
    assert compare_paired(before[8:], ~before[8:]).finding == "worse"
    assert compare_paired(before, ~before).finding == "better"
    assert compare_paired(~before, before).finding == "worse"


def test_no_label_tells_nothing_and_alpha_is_a_probability() -> None:
    nothing = torch.zeros(0, dtype=torch.bool)
    assert compare_paired(nothing, nothing).finding == "open"
    assert compare_paired(nothing, nothing).gain == 0
    with pytest.raises(ParameterError, match="`alpha` is 1"):
        compare_paired(nothing, nothing, alpha=1)


def test_without_scipy_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy.special", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'eyas\[pipeline\]'"):
        wealth(1, 0)
