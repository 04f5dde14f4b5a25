"""Samplers: propose candidates inside a budget. One algorithm per file."""

from eyas.component import import_members
from eyas.sampling.samplers.base import AnySampler, Sampler

import_members(__name__, __path__)

__all__ = ["AnySampler", "Sampler"]
