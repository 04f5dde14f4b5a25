"""Criteria: which channels of a group to keep. One algorithm per file."""

from eyas.pruning.criteria.base import AnyCriterion, Criterion

__all__ = ["AnyCriterion", "Criterion"]
