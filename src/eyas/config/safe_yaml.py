"""YAML that a stranger may have written: read only where it stays small when all its anchors are followed."""

from typing import Any

import yaml

from eyas.errors import ParameterError, one_line

LARGEST = 100_000
"""Values in one file, those behind an anchor counted each time that they are used."""
DEEPEST = 100
"""Lists and mappings inside one another."""
_LONGEST = 20 * LARGEST  # letters


def load_yaml(text: str, name: str) -> Any:
    """What a text of YAML holds; ``name`` says which in errors.

    Raises:
        ParameterError: it is none, or holds more than :data:`LARGEST` values or :data:`DEEPEST` levels.
    """
    if len(text) > _LONGEST:
        msg = f"{name} has {len(text)} letters: more than {_LONGEST} are not read"
        raise ParameterError(msg)
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        size, height = _measure(node, {}) if node else (0, 0)
        if size > LARGEST:
            msg = f"{name} holds {size} values, anchors followed: more than {LARGEST} are not read"
            raise ParameterError(msg)
        if height > DEEPEST:
            raise RecursionError
        return loader.construct_document(node) if node else None
    except ParameterError:
        raise
    except RecursionError as error:
        msg = f"{name} is nested too deeply: more than {DEEPEST} levels are not read"
        raise ParameterError(msg) from error
    # PyYAML raises errors of its own for the form, Python's for dates, numbers and keys that are none.
    except (yaml.YAMLError, ValueError, TypeError, OverflowError, LookupError, AttributeError) as error:
        msg = f"{name} is not YAML: {one_line(error)}"
        raise ParameterError(msg) from error


def _measure(node: yaml.Node, known: dict[int, tuple[int, int]], depth: int = 0) -> tuple[int, int]:
    """Values and levels of a node, all anchors followed; each node is looked at once.

    Raises:
        RecursionError: it is too deep, or holds itself.
    """
    if depth > DEEPEST:
        raise RecursionError
    if id(node) not in known:
        inner = list(node.value) if isinstance(node, yaml.SequenceNode) else []
        if isinstance(node, yaml.MappingNode):
            inner = [one for pair in node.value for one in pair]
        sizes = [_measure(one, known, depth + 1) for one in inner]
        known[id(node)] = 1 + sum(size for size, _ in sizes), 1 + max((height for _, height in sizes), default=0)
    return known[id(node)]
