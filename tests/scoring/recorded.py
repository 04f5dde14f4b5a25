"""A race on recorded per-image scores: no network, the same logic."""

import numpy as np

from eyas.progress import silent
from eyas.scoring.race.journal import NoRaceJournal
from eyas.scoring.race.measurement import Measurement
from eyas.scoring.race.progress import RaceProgress
from eyas.scoring.race.race import RaceSpec, race


class RecordedExecutor:
    """Measures by looking up; ``fused`` and ``held_out`` are (candidates, images)."""

    def __init__(self, fused, held_out):
        self.tables = {"fused": fused, "held_out": held_out}
        self.images = 0

    def measure(self, rung, batch_size, candidates):
        for candidate in candidates:
            self.images += rung.cost()
            yield candidate, measurement(self.tables[rung.mode][candidate, : rung.images])


def measurement(image_scores):
    image_scores = np.asarray(image_scores, np.float32)
    error = float(image_scores.std(ddof=1)) / len(image_scores) ** 0.5
    return Measurement(float(image_scores.mean(dtype=float)), error, 0.0, 0.0, len(image_scores), image_scores)


def run(executor, count, rungs, *, stop_margin=4.0, original=None):
    original = np.arange(count) if original is None else original
    spec = RaceSpec(count, original, tuple(rungs), 128, stop_margin)
    result = race(spec, executor, NoRaceJournal(), RaceProgress(silent, rungs, count))
    return result, result.standings.table(original)
