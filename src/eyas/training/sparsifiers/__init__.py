"""Sparsifiers: how a network in training comes to the zeros of a pattern. One algorithm per file."""

from eyas.training.sparsifiers.base import AnySparsifier, Sparsifier

__all__ = ["AnySparsifier", "Sparsifier"]
