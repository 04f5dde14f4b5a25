"""What is wrong with options, in words: the one that was given, what is allowed, and the nearest name.

Light: pydantic is not imported here.
"""

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, get_args

UNKNOWN = "extra_forbidden"
"""What pydantic calls a name that there is not."""


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


def fault_words(
    fault: Any, model: Any, content: Any, *, above: Sequence[str] = (), show: Callable[[Any], str] = repr
) -> str:
    """One of pydantic's errors in words: what is wrong, what is allowed, what was given.

    Args:
        fault: one of ``error.errors()``.
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
    for fault in error.errors():
        place = ".".join(map(str, fault["loc"]))
        words.append(f"{place and place + ': '}{fault_words(fault, model, content, above=(name or argument,))}")
    return " ".join(f"`{argument}` {value!r}: {'; '.join(words)}".split())
