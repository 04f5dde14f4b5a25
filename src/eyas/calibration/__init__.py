"""Calibrators: re-estimate batch-norm statistics. One estimator per file."""

from eyas.calibration.base import AnyCalibrator, Calibrator

__all__ = ["AnyCalibrator", "Calibrator"]
