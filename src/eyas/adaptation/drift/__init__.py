"""Drift: whether images of the field are still of the training's kind, what changed, and whether to adapt."""

from eyas.adaptation.drift.detect_drift import detect_drift
from eyas.adaptation.drift.drift_reference import DriftReference
from eyas.adaptation.drift.drift_report import DriftReport

__all__ = ["DriftReference", "DriftReport", "detect_drift"]
