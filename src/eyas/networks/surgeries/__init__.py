"""Surgeries: how a dense network is normalised, changed before it is trained. One per file."""

from eyas.networks.surgeries.base import AnySurgery, Surgery

__all__ = ["AnySurgery", "Surgery"]
