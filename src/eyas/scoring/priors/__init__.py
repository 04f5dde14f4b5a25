"""Priors: what widths alone say of a candidate. One measure per file."""

from eyas.scoring.priors.base import AnyPrior, Prior

__all__ = ["AnyPrior", "Prior"]
