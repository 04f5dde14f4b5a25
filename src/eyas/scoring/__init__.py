"""The AdaBN scoring engine: batch-norm statistics re-estimated, candidates judged, in rungs."""

from eyas.scoring.candidates import GrowingPlans, WidthPlans
from eyas.scoring.race.rungs import DEFAULT_RUNGS, REFITTED_RUNGS, TRAINING_RUNGS, Rung
from eyas.scoring.race.score_table import ScoreTable
from eyas.scoring.score_options import ScoreOptions
from eyas.scoring.score_plans import score

__all__ = [
    "DEFAULT_RUNGS",
    "REFITTED_RUNGS",
    "TRAINING_RUNGS",
    "GrowingPlans",
    "Rung",
    "ScoreOptions",
    "ScoreTable",
    "WidthPlans",
    "score",
]
