"""Criteria: which channels of a group to keep. One algorithm per file."""

from eyas.component import import_members
from eyas.pruning.criteria.base import AnyCriterion, Criterion

import_members(__name__, __path__)

__all__ = ["AnyCriterion", "Criterion"]
