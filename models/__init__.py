"""Architectures, and nothing else: ``build(name, num_classes)`` makes a network with fresh weights.

Adding one is one file: write the network, and decorate the function that builds it with
:func:`models.registry.architecture`. Nothing here knows of pruning, data or training.
"""

import importlib
import pkgutil

from models.names import build, names

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")

__all__ = ["build", "names"]
