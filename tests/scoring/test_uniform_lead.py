"""The winner beside uniform widths, against differences taken by hand from the same tables of image scores."""

import numpy as np
import pytest

from eyas.scoring.uniform_lead import with_uniform
from tests.scoring.recorded import RecordedExecutor, run
from tests.scoring.test_race import RUNGS, image_scores

QUALITY = np.linspace(0, 1, 40)


def compared(uniform, held_out=None, original=None, quality=QUALITY):
    """The executor, and the race's table with the uniform candidate in it."""
    fused = image_scores(quality, 512, 0)
    executor = RecordedExecutor(fused, fused if held_out is None else held_out)
    result, table = run(executor, 40, RUNGS, original=original)
    executor.images = 0
    return executor, with_uniform(table, uniform, result, executor)


def test_one_that_left_early_is_measured_once_more_on_the_winners_last_rung():
    executor, table = compared(0)
    assert table.rung[0] == 0
    row, scores = table.diagnostics["uniform"], executor.tables["held_out"].astype(np.float32).astype(float)
    gaps = scores[table.winner] - scores[0]
    assert (row["candidate"], row["rung"], row["rank"], row["lead_images"]) == (0, 0, table.rank[0], 512)
    assert row["score"] == table.score[0]
    assert row["lead"] == pytest.approx(gaps.mean())
    assert row["lead_error"] == pytest.approx(gaps.std(ddof=1) / np.sqrt(512))
    assert executor.images == RUNGS[-1].cost()


def test_a_finalist_is_not_measured_again():
    _, table = compared(None)
    finalist = int(np.flatnonzero((table.rung == 2) & (table.rank > 1))[0])
    executor, table = compared(finalist)
    assert executor.images == 0
    assert table.diagnostics["uniform"]["lead"] == pytest.approx(table.score[table.winner] - table.score[finalist])


def test_the_winner_itself_has_no_lead():
    _, table = compared(None)
    executor, table = compared(table.winner)
    assert table.diagnostics["uniform"]["rank"] == 1
    assert "lead" not in table.diagnostics["uniform"]
    assert executor.images == 0


def test_an_equal_of_the_winner_has_none_either():
    quality, original = np.zeros(40), np.arange(40)
    quality[5], original[39] = 3, 5
    _, table = compared(39, original=original, quality=quality)
    assert table.winner == 5
    assert "lead" not in table.diagnostics["uniform"]


def test_scores_that_are_not_finite_leave_the_lead_unknown():
    held_out = image_scores(QUALITY, 512, 0)
    held_out[0] = np.nan
    _, table = compared(0, held_out)
    assert np.isnan(table.diagnostics["uniform"]["lead"])


def test_without_such_a_candidate_nothing_is_said():
    executor, table = compared(None)
    assert "uniform" not in table.diagnostics
    assert executor.images == 0
