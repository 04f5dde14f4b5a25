"""Latency: measured of exported files, predicted of candidates from a table of their layers."""

from eyas.deploy.latency.exported_files import cpu_name, measure
from eyas.deploy.latency.latency_model import LatencyModel
from eyas.deploy.latency.latency_table import LatencyTable

__all__ = ["LatencyModel", "LatencyTable", "cpu_name", "measure"]
