"""Scorers: judge a calibrated candidate by its answers. One measure per file."""

from eyas.scoring.scorers.base import AnyScorer, Outputs, Scorer

__all__ = ["AnyScorer", "Outputs", "Scorer"]
