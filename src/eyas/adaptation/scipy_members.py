"""SciPy, which comes with the extra ``pipeline``."""

import importlib
from typing import Any

from eyas.errors import MissingExtraError


def scipy_member(module: str, name: str) -> Any:
    """A function or distribution of SciPy, as in ``scipy_member("stats", "kstwo")``.

    Raises:
        MissingExtraError: SciPy is not installed.
    """
    try:
        return getattr(importlib.import_module(f"scipy.{module}"), name)
    except ImportError as error:
        msg = "drift and the revert rule need SciPy: pip install 'eyas[pipeline]'"
        raise MissingExtraError(msg) from error
