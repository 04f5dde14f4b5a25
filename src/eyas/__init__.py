"""Structural pruning of CNNs for the edge: candidate sub-networks scored by adaptive batch-norm.

The names exported here are the library's public face; each part imports on first use, so that the core needs
torch, numpy and pydantic alone.
"""

import importlib
from typing import Any

_HOME = {
    "trace": "eyas.pruning.tracing.trace",
    "prune": "eyas.pruning.surgery",
    "save": "eyas.networks.pruned_network",
    "load": "eyas.networks.pruned_network",
    "check_parity": "eyas.pruning.mask_parity",
    "Parity": "eyas.pruning.mask_parity",
    "score": "eyas.scoring",
    "SearchSpace": "eyas.pruning.space",
    "ChannelGroup": "eyas.pruning.space",
    "FrozenGroup": "eyas.pruning.space",
    "PruningPlan": "eyas.pruning.plan",
    "Cost": "eyas.pruning.cost",
}
__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    """Import a public name on first use (PEP 562)."""
    if name not in _HOME:
        msg = f"module 'eyas' has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(importlib.import_module(_HOME[name]), name)
