"""The race on scores recorded from 40 ResNet-20 candidates on CIFAR-10 (benchmarks/scoring.py --record)."""

from pathlib import Path

import numpy as np

from eyas.scoring.race.rungs import DEFAULT_RUNGS, fit_rungs
from tests.scoring.recorded import RecordedExecutor, run

RECORDED = np.load(Path(__file__).parent / "recorded.npz")
FUSED, HELD_OUT = (RECORDED[name].astype(np.float32) for name in ("fused", "held_out"))
RUNGS = fit_rungs(DEFAULT_RUNGS, calibration=1024, scoring=2048)


def trial(seed):
    """Images in an order of this seed's own; the winner, the images it took, and whether it is as good as the best."""
    rng = np.random.default_rng(seed)
    fused, held_out = rng.permutation(FUSED, axis=1), rng.permutation(HELD_OUT, axis=1)
    executor = RecordedExecutor(fused, held_out)
    _, table = run(executor, len(FUSED), RUNGS)
    full = held_out.mean(1, dtype=float)
    error = held_out[full.argmax()].std(ddof=1) / held_out.shape[1] ** 0.5
    return executor.images, full[table.winner] >= full.max() - error


def test_a_third_of_the_cost_finds_a_winner_within_one_standard_error():
    trials = [trial(seed) for seed in range(100)]
    assert sum(good for _, good in trials) >= 95
    assert max(images for images, _ in trials) <= len(FUSED) * RUNGS[-1].cost() / 3


def test_the_recorded_scores_have_something_to_find():
    full = HELD_OUT.mean(1, dtype=float)
    errors = HELD_OUT.std(1, ddof=1) / HELD_OUT.shape[1] ** 0.5
    assert (full < full.max() - errors[full.argmax()]).mean() > 0.5
    one, other = (HELD_OUT[:, half::2].mean(1, dtype=float) for half in (0, 1))
    assert np.corrcoef(one, other)[0, 1] > 0.9  # two halves of the images agree: no noise
