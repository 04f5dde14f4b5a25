"""Adapters: a trained network follows unlabelled images of the field. One algorithm per file."""

from typing import TYPE_CHECKING

from eyas.adaptation.adapters.base import Adapter, AnyAdapter
from eyas.component import import_on_use

if TYPE_CHECKING:
    from eyas.adaptation.adapters.adaptation import Adaptation
else:
    __getattr__ = import_on_use(__name__, {"Adaptation": "eyas.adaptation.adapters.adaptation"})

__all__ = ["Adaptation", "Adapter", "AnyAdapter"]
