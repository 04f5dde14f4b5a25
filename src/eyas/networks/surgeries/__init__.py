"""Surgeries: how a dense network is normalised, changed before it is trained. One per file."""

from eyas.component import import_members
from eyas.networks.surgeries.base import AnySurgery, Surgery

import_members(__name__, __path__)

__all__ = ["AnySurgery", "Surgery"]
