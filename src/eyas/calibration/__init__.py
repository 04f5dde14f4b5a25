"""Calibrators: re-estimate batch-norm statistics. One estimator per file."""

from eyas.calibration.base import AnyCalibrator, Calibrator
from eyas.component import import_members

import_members(__name__, __path__)

__all__ = ["AnyCalibrator", "Calibrator"]
