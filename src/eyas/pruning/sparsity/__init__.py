"""Sparsity patterns: which single weights, or blocks of them, become zero. One pattern per file."""

from eyas.pruning.sparsity.base import AnySparsity, Sparsity

__all__ = ["AnySparsity", "Sparsity"]
