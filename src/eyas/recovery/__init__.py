"""Recoveries: what a pruned layer's weights become without training. One algorithm per file."""

from eyas.component import import_members
from eyas.recovery.base import AnyRecovery, Recovery

import_members(__name__, __path__)

__all__ = ["AnyRecovery", "Recovery"]
