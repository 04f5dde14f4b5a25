"""Exporters: write a network for a runtime. One format per file."""

from eyas.deploy.exporters.base import AnyExporter, Exporter

__all__ = ["AnyExporter", "Exporter"]
