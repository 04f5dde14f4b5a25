"""The AdaBN scoring engine: batch-norm statistics re-estimated, candidates judged, in rungs."""

from eyas.scoring.candidates import WidthPlans
from eyas.scoring.run import score
from eyas.scoring.rungs import DEFAULT_RUNGS, Rung
from eyas.scoring.table import ScoreTable

__all__ = ["DEFAULT_RUNGS", "Rung", "ScoreTable", "WidthPlans", "score"]
