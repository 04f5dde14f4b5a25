"""Exporters: write a network for a runtime. One format per file."""

from eyas.component import import_members
from eyas.deploy.exporters.base import AnyExporter, Exporter

import_members(__name__, __path__)

__all__ = ["AnyExporter", "Exporter"]
