"""What the command line says of a network: shapes of its inputs, arguments of its factory."""

import math
from typing import Any

from eyas.errors import ParameterError


def parse_shape(text: str) -> tuple[int, ...]:
    """``1,3,224,224`` as a shape.

    Raises:
        ParameterError: it is not made of positive integers.
    """
    parts = text.split(",")
    if not all(part.strip().isdigit() for part in parts) or math.prod(int(part) for part in parts) == 0:
        msg = f"--input {text}: expected positive integers such as 1,3,224,224 (batch, channels, height, width)"
        raise ParameterError(msg)
    return tuple(int(part) for part in parts)


def parse_arguments(text: str) -> dict[str, Any]:
    """The factory's keyword arguments from JSON.

    Raises:
        ParameterError: it is not a JSON object.
    """
    from eyas.storage.json_text import parse_json

    try:
        arguments = parse_json(text)
    except ValueError as error:
        msg = f'--arguments {text}: not JSON ({error}); expected for instance {{"width": 16}}'
        raise ParameterError(msg) from error
    if not isinstance(arguments, dict):
        msg = f'--arguments {text}: expected an object such as {{"width": 16}}'
        raise ParameterError(msg)
    return arguments
