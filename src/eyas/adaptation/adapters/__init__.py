"""Adapters: a trained network follows unlabelled images of the field. One algorithm per file."""

from eyas.adaptation.adapters.base import Adaptation, Adapter, AnyAdapter
from eyas.component import import_members

import_members(__name__, __path__)

__all__ = ["Adaptation", "Adapter", "AnyAdapter"]
