"""Functions and classes of the user's own, named as ``package.module:function``."""

import importlib
import re
from collections.abc import Callable
from functools import cache
from typing import Annotated, Any

from pydantic import AfterValidator

from eyas.errors import ParameterError, one_line

_NAME = r"[^\W\d]\w*(?:\.[^\W\d]\w*)*"


def is_reference(text: str) -> bool:
    """Whether a text reads as one."""
    return re.fullmatch(f"{_NAME}:{_NAME}", text) is not None


def _require_reference(text: str) -> str:
    if not is_reference(text):
        msg = "name a function as package.module:function"
        raise ValueError(msg)
    return text


Reference = Annotated[str, AfterValidator(_require_reference)]


@cache
def import_reference(reference: str) -> Callable[..., Any]:
    """What ``package.module:function`` names.

    Raises:
        ParameterError: it is not there, cannot be imported, or cannot be called.
    """
    module, _, name = reference.partition(":")
    try:
        value: Any = importlib.import_module(module)
        for part in name.split("."):
            value = getattr(value, part)
    except (Exception, SystemExit) as error:
        way = "its module must be on PYTHONPATH, installed, or beside the parameter file"
        msg = f"{reference} cannot be imported ({type(error).__name__}: {one_line(error)}): {way}"
        raise ParameterError(msg) from error
    if not callable(value):
        msg = f"{reference} is a {type(value).__name__}: name a function or a class"
        raise ParameterError(msg)
    return value  # type: ignore[no-any-return]
