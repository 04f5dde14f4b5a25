"""Where a compared network came from, and where more of it is to be seen."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote


@dataclass(frozen=True)
class NetworkOrigin:
    """Network, data, run and version; empty what is not known."""

    architecture: str = ""
    """The dense network's name."""
    data: str = ""
    """Name of the data set."""
    date: str = ""
    """Day of its run (UTC), as ``2026-11-27``."""
    run_id: str = ""
    """MLflow's."""
    version: str = ""
    """As ``eyas-digits version 1``."""
    report: Path | None = None
    """Its report's file on this machine."""
    pages: Mapping[str, str] = field(default_factory=dict)
    """Addresses of MLflow's pages, by what they show: ``report``, ``run``, ``version``."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """Fields of its run's parameters by dotted names, without those that have their default."""

    def recorded_as(self, other: "NetworkOrigin") -> "NetworkOrigin":
        """This one with the date, run, version, pages and settings that another has."""
        recorded = {name: getattr(other, name) for name in ("date", "run_id", "version", "pages", "settings")}
        return replace(self, **recorded)

    def links(self, folder: Path | None = None) -> list[tuple[str, str]]:
        """What a page names and where that leads.

        Args:
            folder: where the page lies; without it, only MLflow's pages are led to.
        """
        report = self.pages.get("report", "")
        if folder is not None and self.report is not None:
            report = quote(os.path.relpath(self.report, folder))
        run = f"MLflow run {self.run_id[:8]}"
        named = (("report", report), (run, self.pages.get("run", "")), (self.version, self.pages.get("version", "")))
        return [(text, address) for text, address in named if address]

    def as_dict(self) -> dict[str, Any]:
        """As plain data."""
        report = str(self.report) if self.report else None
        names = ("architecture", "data", "date", "version")
        known = {name: getattr(self, name) or None for name in names}
        return known | {"run": self.run_id or None, "report": report, "pages": dict(self.pages)}
