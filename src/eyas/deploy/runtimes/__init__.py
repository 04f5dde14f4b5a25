"""Runtimes: what opens an exported file and runs it. One per file."""

from eyas.deploy.runtimes.base import LOGITS, AnyRuntime, Runtime, Session

__all__ = ["LOGITS", "AnyRuntime", "Runtime", "Session"]
