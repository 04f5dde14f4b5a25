"""Progress in words, with a clock that the test turns."""

from eyas.scoring.race.progress import RaceProgress
from eyas.scoring.race.rungs import Rung
from tests.scoring.recorded import measurement

RUNGS = (Rung(images=100, keep=0.5), Rung(images=300, calibration_images=100, mode="held_out"))


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def test_rate_time_left_and_best_so_far():
    reports, clock = [], Clock()
    progress = RaceProgress(lambda *a: reports.append(a), RUNGS, 8, clock=clock)
    progress.start_rung(0, 8)
    for number in range(8):
        clock.now += 0.5
        progress.record(0, number, measurement([number, number + 1.0]))
    # 8 candidates in 4 s at 100 images each; 4 x 400 images remain, twice the work so far
    assert reports[-1][:2] == (8, 12)
    assert reports[-1][2] == "rung 1 of 2 (8 of 8 on 100 images): 2.0/s, 8 s left, best of this rung 7.5000"
    progress.start_rung(1, 4)
    for number in range(4):
        clock.now += 2
        progress.record(1, number, measurement([1.0, 1.0]))
    assert reports[-1][:2] == (12, 12)
    assert "rung 2 of 2 (4 of 4 on 300 images): " in reports[-1][2]
    assert "0 s left, best of this rung 1.0000" in reports[-1][2]


def test_it_speaks_a_few_times_a_second_and_always_at_the_end():
    reports, clock = [], Clock()
    progress = RaceProgress(lambda *a: reports.append(a), RUNGS[:1], 1000, clock=clock)
    progress.start_rung(0, 1000)
    for number in range(1000):
        clock.now += 1 / 64  # of which 13 are the first beyond 0.2 s
        progress.record(0, number, measurement([0.0, 1.0]))
    assert [done for done, *_ in reports] == [*range(13, 1000, 13), 1000]
    assert reports[-1][:2] == (1000, 1000)


def test_a_race_that_ends_early_shrinks_its_total():
    reports, clock = [], Clock()
    progress = RaceProgress(lambda *a: reports.append(a), RUNGS, 8, clock=clock)
    progress.start_rung(0, 8)
    for number in range(8):
        progress.record(0, number, measurement([0.0, 1.0]))
    progress.start_rung(1, 1)
    progress.record(1, 3, measurement([0.0, 1.0]))
    assert reports[-1][:2] == (9, 9)


def test_what_an_earlier_run_measured_is_no_work_of_this_one():
    reports, clock = [], Clock()
    progress = RaceProgress(lambda *a: reports.append(a), RUNGS[:1], 1000, clock=clock)
    progress.start_rung(0, 1000)
    for number in range(900):
        clock.now += 0.01  # reading the journal
        progress.record(0, number, measurement([1.0, 2.0]), replayed=True)
    done, total, text = reports[-1]
    assert (done > 800, total) == (True, 1000)
    assert text == f"rung 1 of 1 ({done} of 1000 on 100 images): {done} from the journal, best of this rung 1.5000"
    for number in range(900, 905):
        clock.now += 1
        progress.record(0, number, measurement([0.0, 1.0]))
    assert reports[-1] == (
        905, 1000, "rung 1 of 1 (905 of 1000 on 100 images): 1.0/s, 2 min left, best of this rung 1.5000",
    )  # fmt: skip


def test_further_generations_go_on_where_the_first_ended():
    reports, clock = [], Clock()
    progress = RaceProgress(lambda *a: reports.append(a), RUNGS, 20, clock=clock)
    for start in (0, 8):
        progress.start_rung(0, 8)
        for number in range(start, start + 8):
            clock.now += 0.5
            progress.record(0, number, measurement([number, number + 1.0]))
        # of 20 at most, 10 go on, each at 400 images of the first rung's 100
        assert reports[-1][:2] == (start + 8, 30)
        left = (20 - start - 8) / 2 + 10 * 4 / 2
        assert reports[-1][2] == (
            f"rung 1 of 2 ({start + 8} of 20 on 100 images): 2.0/s, {left:.0f} s left, "
            f"best of this rung {start + 7.5:.4f}"
        )
