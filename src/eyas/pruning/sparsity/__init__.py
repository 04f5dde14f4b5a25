"""Sparsity patterns: which single weights, or blocks of them, become zero. One pattern per file."""

from eyas.component import import_members
from eyas.pruning.sparsity.base import AnySparsity, Sparsity

import_members(__name__, __path__)

__all__ = ["AnySparsity", "Sparsity"]
