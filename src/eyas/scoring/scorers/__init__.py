"""Scorers: judge a calibrated candidate by its answers. One measure per file."""

from eyas.component import import_members
from eyas.scoring.scorers.base import AnyScorer, Outputs, Scorer

import_members(__name__, __path__)

__all__ = ["AnyScorer", "Outputs", "Scorer"]
