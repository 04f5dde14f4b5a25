"""A rung of steps that trains only some: whom, in which order, and that a killed race goes on alike."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from eyas.progress import silent
from eyas.scoring import Rung
from eyas.scoring.priors import Prior
from eyas.scoring.race.journal import NoRaceJournal, RaceJournal
from eyas.scoring.race.progress import RaceProgress
from eyas.scoring.race.race import RaceSpec, race
from eyas.scoring.race.training_rounds import ROUND
from tests.scoring.conftest import columns
from tests.scoring.networks import images
from tests.scoring.recorded import measurement

COUNT, IMAGES = 40, 64
RNG = np.random.default_rng(21)
LOG_WIDTHS = -RNG.random((COUNT, 3))
BEFORE = RNG.normal(size=COUNT)
AFTER = 0.5 * BEFORE + 4 * LOG_WIDTHS[:, 0]
"""What training makes of a candidate: most of it stands in a width that the score does not see."""
RUNGS = (Rung(images=IMAGES, keep=32), Rung(steps=10, images=IMAGES, trained=20, keep=3), Rung(steps=40, images=IMAGES))


class Trainer:
    """Answers with a candidate's value, before or after training; ends itself after so many measurements."""

    def __init__(self, after=AFTER, most=10**6):
        self.after, self.left, self.trained = after, most, []

    def measure(self, rung, batch_size, candidates):
        for candidate in candidates:
            if not self.left:
                raise KeyboardInterrupt
            self.left -= 1
            if rung.steps == 10:
                self.trained.append(candidate)
            value = BEFORE[candidate] if rung.steps is None else self.after[candidate]
            yield candidate, measurement(value + np.linspace(-1, 1, IMAGES))


def run_race(trainer, rungs=RUNGS, journal=None):
    spec = RaceSpec(COUNT, np.arange(COUNT), rungs, 128, np.inf, log_widths=lambda numbers: LOG_WIDTHS[numbers])
    journal = journal or NoRaceJournal()
    result = race(spec, trainer, journal, RaceProgress(silent, rungs, COUNT))
    return result, result.standings.table(spec.original)


def test_so_many_are_trained_and_the_first_of_them_by_score():
    trainer = Trainer()
    result, table = run_race(trainer)
    assert result.entered == [COUNT, 20, 3]
    assert sorted(set(trainer.trained)) == sorted(trainer.trained)
    assert set(trainer.trained[:ROUND]) == set(np.argsort(-BEFORE)[:ROUND])
    assert set(np.flatnonzero(table.rung >= 1)) == set(trainer.trained)
    assert len(result.promotions[0][0]) == 20


def test_the_surrogate_sees_what_the_score_does_not():
    entered = np.argsort(-BEFORE)[:32]
    best = entered[AFTER[entered].argmax()]
    assert best not in np.argsort(-BEFORE)[:20]  # training the first twenty would have missed it
    _, table = run_race(Trainer())
    assert table.winner == best


def test_all_are_trained_where_there_are_no_more():
    rungs = (RUNGS[0], RUNGS[1].model_copy(update={"trained": 32}), RUNGS[2])
    assert run_race(Trainer(), rungs)[0].entered == [COUNT, 32, 3]


def test_a_candidate_that_breaks_is_not_trained_again():
    broken = np.where(np.arange(COUNT) % 3 == 0, np.nan, AFTER)
    trainer = Trainer(broken)
    result, table = run_race(trainer)
    assert len(set(trainer.trained)) == len(trainer.trained) == result.entered[1] == 20
    assert np.isfinite(table.score[table.winner])


@pytest.mark.parametrize("killed_after", [45, 52, 60, 61])
def test_a_killed_race_ends_alike(killed_after, tmp_path):
    def journal():
        return RaceJournal(tmp_path / "j", fingerprint="one", batch_size=128)

    expected = run_race(Trainer())[1]
    kept = journal()
    with pytest.raises(KeyboardInterrupt):
        run_race(Trainer(most=killed_after), journal=kept)
    kept.close()
    trainer = Trainer()
    _, table = run_race(trainer, journal=journal())
    assert table.score.tobytes() == expected.score.tobytes()
    assert table.rank.tobytes() == expected.rank.tobytes()
    assert len(trainer.trained) == max(0, 60 - killed_after)


def test_only_a_rung_of_steps_has_it():
    with pytest.raises(ValidationError, match="trained: only a rung of training steps has them"):
        Rung(images=64, trained=8)


def test_a_real_race_trains_some_and_ends_alike_with_workers_and_a_journal(scene, tmp_path):
    labels = torch.randint(0, 5, (64,), generator=torch.Generator().manual_seed(9))
    training = images(5, 1)[labels] + 1.5 * images(64, 11), labels
    rungs = [Rung(images=60, keep=14), Rung(steps=2, trained=ROUND + 2, images=120, batch_size=32)]
    alone = scene.score(rungs=rungs, training=training, threads=1)
    assert alone.diagnostics["entered"] == [len(scene.plans), ROUND + 2]
    assert (alone.rung == 1).sum() == ROUND + 2
    how = {"rungs": rungs, "training": training, "threads": 1, "journal": tmp_path / "j"}
    assert columns(scene.score(**how, workers=2)) == columns(alone)
    assert columns(scene.score(**how)) == columns(alone)


@pytest.mark.parametrize(("steps", "weight"), [(0, 0.5), (1, 0)])
def test_the_prior_counts_after_a_refit_and_not_after_training(scene, steps, weight):
    labels = torch.randint(0, 5, (64,), generator=torch.Generator().manual_seed(9))
    how = {
        "training": (images(5, 1)[labels] + 1.5 * images(64, 11), labels) if steps else None,
        "rungs": [Rung(steps=steps, images=120, batch_size=32)],
        "threads": 1,
    }
    plans, prior = scene.plans[:3], Prior.parse({"kind": "log_widths", "weight": 0.5})
    gaps = scene.score(plans, prior=prior, **how).score - scene.score(plans, **how).score
    np.testing.assert_allclose(gaps, weight * prior(scene.space, plans.widths), atol=1e-12)
