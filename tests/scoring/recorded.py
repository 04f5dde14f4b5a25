"""A race on recorded per-image goodness: no network, the same logic."""

import numpy as np

from eyas.scoring.race.journal import NoJournal
from eyas.scoring.race.measurement import Measurement
from eyas.scoring.race.race import Course, race


class Recorded:
    """Measures by looking up; ``fused`` and ``held_out`` are (candidates, images)."""

    def __init__(self, fused, held_out):
        self.tables = {"fused": fused, "held_out": held_out}
        self.images = 0

    def run(self, rung, batch_size, todo):
        for candidate in todo:
            self.images += rung.cost()
            yield candidate, measurement(self.tables[rung.mode][candidate, : rung.images])


class Silent:
    def enter(self, rung, candidates):
        pass

    def note(self, rung, candidate, measured, *, replayed):
        pass


def measurement(goodness):
    goodness = np.asarray(goodness, np.float32)
    error = float(goodness.std(ddof=1)) / len(goodness) ** 0.5
    return Measurement(float(goodness.mean(dtype=float)), error, 0.0, 0.0, len(goodness), goodness)


def run(crew, count, rungs, *, stop_margin=4.0, notes=None, original=None):
    original = np.arange(count) if original is None else original
    course = Course(count, original, tuple(rungs), 128, stop_margin)
    finish = race(course, crew, notes or NoJournal(), Silent())
    return finish, finish.standings.table(original)
