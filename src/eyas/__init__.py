"""Structural pruning of CNNs for the edge: candidate sub-networks scored by adaptive batch-norm.

The names exported here are the library's public face; each part imports on first use, so that the core needs
torch, numpy and pydantic alone.
"""

import importlib
from typing import Any

_HOME = {
    "trace": "eyas.tracing.build",
    "prune": "eyas.surgery",
    "save": "eyas.persistence",
    "load": "eyas.persistence",
    "check_parity": "eyas.parity",
    "Parity": "eyas.parity",
    "score": "eyas.scoring",
    "SearchSpace": "eyas.space",
    "ChannelGroup": "eyas.space",
    "FrozenGroup": "eyas.space",
    "PruningPlan": "eyas.plan",
    "Cost": "eyas.cost",
}
__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    """Import a public name on first use (PEP 562)."""
    if name not in _HOME:
        msg = f"module 'eyas' has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(importlib.import_module(_HOME[name]), name)
