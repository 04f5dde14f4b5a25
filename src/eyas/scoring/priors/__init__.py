"""Priors: what widths alone say of a candidate. One measure per file."""

from eyas.component import import_members
from eyas.scoring.priors.base import AnyPrior, Prior

import_members(__name__, __path__)

__all__ = ["AnyPrior", "Prior"]
