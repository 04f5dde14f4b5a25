"""Latency of exported files: measured side by side."""

from eyas.deploy.latency.exported_files import cpu_name, measure

__all__ = ["cpu_name", "measure"]
