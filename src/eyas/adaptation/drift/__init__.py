"""Drift: whether images of the field are still of the training's kind, what changed, and whether to adapt."""

from typing import TYPE_CHECKING

from eyas.component import import_on_use

if TYPE_CHECKING:
    from eyas.adaptation.drift.detect_drift import detect_drift
    from eyas.adaptation.drift.drift_reference import DriftReference
    from eyas.adaptation.drift.drift_report import DriftReport

__all__ = ["DriftReference", "DriftReport", "detect_drift"]

# Hidden from type checkers: with it in sight, every misspelt name would be taken for Any.
if not TYPE_CHECKING:
    __getattr__ = import_on_use(
        __name__,
        {
            "DriftReference": "eyas.adaptation.drift.drift_reference",
            "DriftReport": "eyas.adaptation.drift.drift_report",
            "detect_drift": "eyas.adaptation.drift.detect_drift",
        },
    )
