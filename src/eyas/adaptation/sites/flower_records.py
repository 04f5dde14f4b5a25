"""Messages of sites inside those of Flower (flwr), as bytes that Flower carries and does not read.

Flower does not install beside the extra ``pipeline``: sites and coordinator have an environment of their own for it.
"""

import importlib
from collections.abc import Mapping
from typing import Any

from eyas.errors import DataError, MissingExtraError, one_line

MESSAGES = "sites.messages"
"""Flower's ``ArrayRecord`` with a message per network."""
ASKED = "sites.asked"
"""Flower's ``ConfigRecord`` of what the coordinator asks: names of networks, and whether a round gives one layer."""


def record_of(contents: Mapping[str, bytes]) -> Any:
    """Messages by network as an ``ArrayRecord``."""
    app, kind = flower("app"), "eyas.site_message"
    return app.ArrayRecord({name: app.Array("uint8", (len(told),), kind, told) for name, told in contents.items()})


def contents_of(message: Any) -> dict[str, bytes]:
    """Messages by network in one of Flower, not decoded yet; none where it holds none.

    Raises:
        DataError: the client ended in an error, which Flower sends instead.
    """
    if message.has_error():
        raise DataError(one_line(RuntimeError(message.error.reason or f"Flower's error {message.error.code}")))
    return {name: array.data for name, array in message.content.array_records.get(MESSAGES, {}).items()}


def flower(module: str) -> Any:
    """A module of Flower.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        return importlib.import_module(f"flwr.{module}")
    except ImportError as error:
        msg = (
            "Flower is not installed: pip install 'eyas[flower]' in an environment of its own, "
            "for it does not install beside eyas[pipeline]"
        )
        raise MissingExtraError(msg) from error
