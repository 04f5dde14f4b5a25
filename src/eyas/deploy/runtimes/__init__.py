"""Runtimes: what opens an exported file and runs it. One per file."""

from eyas.component import import_members
from eyas.deploy.runtimes.base import LOGITS, AnyRuntime, Runtime, Session

import_members(__name__, __path__)

__all__ = ["LOGITS", "AnyRuntime", "Runtime", "Session"]
