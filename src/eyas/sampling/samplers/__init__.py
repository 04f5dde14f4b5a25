"""Samplers: propose candidates inside a budget. One algorithm per file."""

from eyas.sampling.samplers.base import AnySampler, Sampler

__all__ = ["AnySampler", "Sampler"]
