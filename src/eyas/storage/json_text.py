"""JSON that a stranger may have written."""

import json
from typing import Any


def parse_json(text: str | bytes) -> Any:
    """What a text of JSON holds.

    Raises:
        ValueError: it is none, or has more lists inside lists than Python follows.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        msg = "lists or objects are nested too deeply"
        raise ValueError(msg) from error
