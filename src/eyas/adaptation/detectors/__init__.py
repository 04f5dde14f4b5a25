"""Detectors: whether a window of images drifted, at a stated rate of false alarms. One method per file."""

from eyas.adaptation.detectors.base import AnyDetector, Detector

__all__ = ["AnyDetector", "Detector"]
