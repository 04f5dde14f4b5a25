"""Optuna's algorithms behind the samplers' interface: better than chance, repeatable, several objectives."""

import sys

import numpy as np
import pytest

from eyas.errors import MissingExtraError, ParameterError
from eyas.sampling.budget import Budget
from eyas.sampling.generations import Generations
from eyas.sampling.samplers import Sampler
from tests.sampling.spaces import Chain

DEEP = Chain([16] * 5 + [32] * 4 + [64] * 4)
CHANNELS = np.array([group.channels for group in DEEP.groups])
BUDGET = Budget.of(DEEP, "macs", 0.5)


def nearness(widths):
    """A landscape with one top: some layers whole, the others thin."""
    wanted = np.where(np.arange(len(CHANNELS)) % 3 == 0, 0.95, 0.6)
    return -np.square(widths / CHANNELS - wanted).sum(1)


def of(algorithm, **how):
    return {"kind": "optuna", "algorithm": algorithm, "generation": 16, **how}


def search(sampler, seed=0, candidates=96, score=nearness):
    generations = Generations(DEEP, BUDGET, Sampler.parse(sampler), candidates=candidates, seed=seed)
    widths = generations.first()
    while len(new := generations(widths, score(widths))):
        widths = np.concatenate([widths, new])
    return widths


def test_without_optuna_it_is_refused_with_the_command_that_brings_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    sampler = Sampler.parse("optuna")
    for call in (lambda: sampler.check_space(DEEP), lambda: sampler.ask(DEEP, BUDGET, 4, seed=0)):
        with pytest.raises(MissingExtraError) as refused:
            call()
        assert str(refused.value) == "`sampler` 'optuna' needs Optuna: pip install 'eyas[optuna]'"


def test_cmaes_has_one_objective():
    with pytest.raises(ParameterError, match="cmaes follows the score alone, not params as well: choose tpe or nsga2"):
        Sampler.parse({"kind": "optuna", "algorithm": "cmaes", "also": ["params"]})


class TestInstalled:
    """What needs the library."""

    @pytest.fixture(autouse=True)
    def _optuna(self):
        pytest.importorskip("optuna", reason="optuna is not installed: pip install 'eyas[optuna]'")
        pytest.importorskip("cmaes", reason="cmaes is not installed: pip install 'eyas[optuna]'")

    @pytest.mark.parametrize("algorithm", ["tpe", "cmaes", "nsga2"])
    def test_it_ends_higher_than_as_many_random_widths(self, algorithm):
        best, drawn = [], []
        for seed in range(2):
            widths = search(of(algorithm), seed, candidates=64)
            assert len(np.unique(widths, axis=0)) == 64
            best.append(nearness(widths).max())
            drawn.append(nearness(search("budget", seed, candidates=64)).max())
        assert np.mean(best) > np.mean(drawn)

    @pytest.mark.parametrize("algorithm", ["tpe", "cmaes", "nsga2"])
    def test_a_repeated_study_is_the_one_that_never_stopped(self, algorithm):
        """One study, asked and told without a break, against :meth:`ask`, which repeats it from its seed."""
        from eyas.sampling.placement import Placement
        from eyas.sampling.samplers.optuna_sampler import _quiet_optuna, _Study

        sampler = Sampler.parse(of(algorithm))
        asked, unbroken = search(sampler, candidates=64), []
        with _quiet_optuna() as optuna:
            study = _Study(optuna, sampler, Placement(DEEP, BUDGET), 0)
            for _ in range(4):
                unbroken.append(study.propose(16))
                study.tell(unbroken[-1], nearness(unbroken[-1]))
        assert np.array_equal(np.concatenate(unbroken), asked)

    @pytest.mark.parametrize("algorithm", ["tpe", "nsga2"])
    def test_costs_that_are_to_be_low_fall(self, algorithm):
        def flat(widths):
            return np.zeros(len(widths))

        lean = search(of(algorithm, also=["params"]), candidates=48, score=flat)
        drawn = search("budget", candidates=48)
        assert DEEP.costs(lean[32:]).params.mean() < 0.97 * DEEP.costs(drawn).params.mean()
        assert BUDGET.holds(BUDGET.costs(DEEP, lean)).all()

    def test_it_leaves_optunas_logging_as_it_was(self):
        import optuna

        before = optuna.logging.get_verbosity()
        search("optuna", candidates=20)
        assert optuna.logging.get_verbosity() == before
