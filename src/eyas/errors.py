"""The errors a user can meet, as one tree.

::

    EyasError                    something the message explains and the user can act on
    ├── BadInputError            what was given cannot be used: exit status 2, never retried
    │   ├── ParameterError       a field of params.yaml, unknown, mistyped or out of range
    │   ├── DataError            an image, a table, a split that is not what was promised
    │   │   └── ChecksumError    bytes that differ from their sha256
    │   ├── CheckpointError      weights of another architecture, or a file that is none
    │   ├── TraceError           a network that cannot be captured
    │   ├── ExportError          a network that no exporter of a chosen format takes
    │   ├── PlanError            widths or kept channels that do not fit the search space
    │   └── BudgetError          a budget no candidate can meet; states the reachable range
    ├── StorageError             a remote that failed after its retries
    ├── ParityError              an exported or sliced network computes something else
    ├── BusyError                another run holds the workspace
    ├── RefusedError             a gate said no: exit status 3
    └── MissingExtraError        an optional dependency is not installed; says how to install it

A message says what was given, what is allowed, and what to do. Functions below make such words of a wrong option, for
parameter files and the library alike.
"""

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, get_args

UNKNOWN = "extra_forbidden"
"""What pydantic calls a name that there is not."""


class EyasError(Exception):
    """Base of all errors that explain themselves to a user."""

    exit_status = 1


class BadInputError(EyasError, ValueError):
    """What was given cannot be used; trying again cannot help."""

    exit_status = 2


class ParameterError(BadInputError):
    """A parameter is unknown, mistyped or out of range."""


class DataError(BadInputError):
    """An image, a table or a split is not what was promised."""


class ChecksumError(DataError):
    """Bytes differ from the sha256 that was recorded for them."""


class CheckpointError(BadInputError):
    """Weights do not fit the architecture, or the file holds none."""


class TraceError(BadInputError):
    """A network cannot be captured."""


class ExportError(BadInputError):
    """A network cannot be written in a format."""


class PlanError(BadInputError):
    """Widths or kept channels do not fit the search space."""


class BudgetError(BadInputError):
    """No candidate can meet the budget; the message states the reachable range."""


class StorageError(EyasError):
    """A remote failed after its retries."""


class ParityError(EyasError):
    """An exported or sliced network does not compute what it should."""


class BusyError(EyasError):
    """Another run holds the workspace."""


class RefusedError(EyasError):
    """A gate said no."""

    exit_status = 3


class MissingExtraError(EyasError):
    """An optional dependency is not installed."""


def one_line(error: BaseException) -> str:
    """What a library's error says, in one line that is no longer than a message may be."""
    return f"{' '.join(str(error).split()) or type(error).__name__:.300}"


def nearest(name: Any, names: Iterable[str]) -> str:
    """The one of ``names`` that was probably meant, as a question that goes on a message; empty where none is near."""
    near = difflib.get_close_matches(str(name), list(names), n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""


def no_such_parameter(place: Sequence[str | int], names: Iterable[str]) -> str:
    """The last name of a place is none of those that there are."""
    *above, name = place
    return f"no such parameter{nearest(name, names)}; {known_names(above, names)}"


def known_names(place: Sequence[str | int], names: Iterable[str]) -> str:
    """What is allowed at a place, as a phrase."""
    if not names:
        return "see src/eyas/config/"
    return f"{'.'.join(map(str, place)) + ' knows' if place else 'sections are'} {', '.join(names)}"


def fields_of(model: Any) -> dict[str, Any]:
    """The fields of a class by the names that ``params.yaml`` has for them; none of what is no such class."""
    return {field.alias or name: field for name, field in getattr(model, "model_fields", {}).items()}


def classes_of(annotation: Any) -> list[type]:
    """The classes that an annotation names."""
    return [candidate for candidate in (annotation, *get_args(annotation)) if isinstance(candidate, type)]


def model_of(annotation: Any, content: Any) -> Any:
    """The class behind a field: a section, or the member of a family whose kind ``content`` names."""
    classes = classes_of(annotation)
    for candidate in classes:
        if hasattr(candidate, "registry") and isinstance(content, Mapping):
            return candidate.registry.get(str(content.get("kind")), candidate)
    return next((candidate for candidate in classes if hasattr(candidate, "model_fields")), annotation)


def model_at(model: Any, loc: Sequence[str | int], content: Any) -> Any:
    """The class at a place below ``model``, of which ``content`` was given; None where there is no such place."""
    for name in loc:
        field = fields_of(model).get(str(name))
        content = content.get(name) if isinstance(content, Mapping) else None
        model = model_of(field.annotation, content) if field else None
    return model


def faults_of(error: Any, content: Any) -> list[Any]:
    """What is wrong with ``content``, a fault of a ``ValidationError`` each.

    Of a field that takes one of several types pydantic tells a fault per type, at places that ``content`` does not
    have, such as ``round_to.constrained-int``; here it is one that says what each would be.
    """
    faults: dict[Any, list[Any]] = {}
    for fault in error.errors():
        loc = fault["loc"]
        of_a_type = (
            len(loc) > 1 and isinstance(loc[-1], str) and not isinstance(_content_at(content, loc[:-1]), Mapping)
        )
        faults.setdefault(loc[:-1] if of_a_type else loc, []).append(fault)
    return [_as_one(loc, several) for loc, several in faults.items()]


def _content_at(content: Any, loc: Sequence[str | int]) -> Any:
    """What stands at a place; None where nothing does."""
    for name in loc:
        is_there = isinstance(content, Mapping) or (isinstance(content, Sequence) and isinstance(name, int))
        try:
            content = content[name] if is_there else None
        except LookupError:
            return None
    return content


def _as_one(loc: Any, faults: Sequence[Any]) -> Any:
    first, *others = faults
    reasons = [first["msg"], *(other["msg"].removeprefix("Input should be ") for other in others)]
    return {**first, "loc": loc, "msg": ", or ".join(reasons)}


def fault_words(
    fault: Any, model: Any, content: Any, *, above: Sequence[str] = (), show: Callable[[Any], str] = repr
) -> str:
    """One of pydantic's errors in words: what is wrong, what is allowed, what was given.

    Args:
        fault: one of :func:`faults_of`.
        model: the class that was asked for.
        content: what it was made of.
        above: where that stands.
        show: how what was given is shown.
    """
    loc, place = fault["loc"], (*above, *fault["loc"])
    if fault["type"] == UNKNOWN:
        return no_such_parameter(place, fields_of(model_at(model, loc[:-1], content)))
    reason: str = fault["msg"].removeprefix("Value error, ")
    if fault["type"] == "model_type":
        names = fields_of(model_at(model, loc, content))
        reason = f"expected fields, as in {'.'.join(map(str, place))}: {{field: value}}; {known_names(place, names)}"
    return f"{reason}; given: {show(fault['input'])}" if loc else reason


def all_faults(error: Any, model: Any, value: Any, argument: str, name: str = "") -> str:
    """A ``ValidationError`` in one line that begins with the argument; ``name`` is what the options are of."""
    content, words = value if isinstance(value, Mapping) else {}, []
    for fault in faults_of(error, content):
        place = ".".join(map(str, fault["loc"]))
        words.append(f"{place and place + ': '}{fault_words(fault, model, content, above=(name or argument,))}")
    return " ".join(f"`{argument}` {value!r}: {'; '.join(words)}".split())
