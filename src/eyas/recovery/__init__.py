"""Recoveries: what a pruned layer's weights become without training. One algorithm per file."""

from eyas.recovery.base import AnyRecovery, Recovery

__all__ = ["AnyRecovery", "Recovery"]
