"""Sparsifiers: how a network in training comes to the zeros of a pattern. One algorithm per file."""

from eyas.component import import_members
from eyas.training.sparsifiers.base import AnySparsifier, Sparsifier

import_members(__name__, __path__)

__all__ = ["AnySparsifier", "Sparsifier"]
