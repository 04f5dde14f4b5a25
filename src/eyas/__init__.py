"""Structural pruning of CNNs for the edge: candidate sub-networks scored by adaptive batch-norm.

The names exported here are the library's public face; each part imports on first use, so that the core needs
torch, numpy and pydantic alone.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from eyas.adaptation.adapt import adapt
    from eyas.calibration.recalibrate import recalibrate
    from eyas.networks.saved_network import load, save
    from eyas.pruning.cost import Cost
    from eyas.pruning.groups import ChannelGroup, FrozenGroup
    from eyas.pruning.mask_parity import Parity, check_parity
    from eyas.pruning.plan import PruningPlan
    from eyas.pruning.space import SearchSpace
    from eyas.pruning.sparsify import sparsify
    from eyas.pruning.surgery import prune
    from eyas.pruning.tracing.trace import trace
    from eyas.recovery.refit import refit
    from eyas.sampling.search import SearchOptions, SearchResult, search
    from eyas.scoring.score_options import ScoreOptions
    from eyas.scoring.score_plans import score

__all__ = [
    "ChannelGroup",
    "Cost",
    "FrozenGroup",
    "Parity",
    "PruningPlan",
    "ScoreOptions",
    "SearchOptions",
    "SearchResult",
    "SearchSpace",
    "adapt",
    "check_parity",
    "load",
    "prune",
    "recalibrate",
    "refit",
    "save",
    "score",
    "search",
    "sparsify",
    "trace",
]

_MODULE_OF = {
    "ChannelGroup": "eyas.pruning.groups",
    "Cost": "eyas.pruning.cost",
    "FrozenGroup": "eyas.pruning.groups",
    "Parity": "eyas.pruning.mask_parity",
    "PruningPlan": "eyas.pruning.plan",
    "ScoreOptions": "eyas.scoring.score_options",
    "SearchOptions": "eyas.sampling.search",
    "SearchResult": "eyas.sampling.search",
    "SearchSpace": "eyas.pruning.space",
    "adapt": "eyas.adaptation.adapt",
    "check_parity": "eyas.pruning.mask_parity",
    "load": "eyas.networks.saved_network",
    "prune": "eyas.pruning.surgery",
    "recalibrate": "eyas.calibration.recalibrate",
    "refit": "eyas.recovery.refit",
    "save": "eyas.networks.saved_network",
    "score": "eyas.scoring.score_plans",
    "search": "eyas.sampling.search",
    "sparsify": "eyas.pruning.sparsify",
    "trace": "eyas.pruning.tracing.trace",
}


def __dir__() -> list[str]:
    """The public names, and no others: what a prompt offers after ``eyas.``."""
    return [*__all__]


# Hidden from type checkers: with it in sight, every misspelt name would be taken for Any.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        """Import a public name on first use (PEP 562)."""
        if name not in _MODULE_OF:
            msg = f"module 'eyas' has no attribute {name!r}"
            raise AttributeError(msg)
        return getattr(importlib.import_module(_MODULE_OF[name]), name)
