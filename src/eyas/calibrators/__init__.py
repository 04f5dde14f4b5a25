"""Calibrators: re-estimate batch-norm statistics. One estimator per file."""

from eyas.component import import_members
from eyas.calibrators.base import AnyCalibrator, Calibrator

import_members(__name__, __path__)

__all__ = ["AnyCalibrator", "Calibrator"]
