"""Adapters: a trained network follows unlabelled images of the field. One algorithm per file."""

from eyas.adaptation.adapters.base import Adaptation, Adapter, AnyAdapter

__all__ = ["Adaptation", "Adapter", "AnyAdapter"]
