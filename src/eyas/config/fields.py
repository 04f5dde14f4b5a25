"""The classes behind the fields of ``params.yaml``, by the names that a user writes."""

from collections.abc import Mapping, Sequence
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from eyas.component import Component


def fields_of(model: Any) -> dict[str, FieldInfo]:
    """The fields of a class by the names that ``params.yaml`` has for them; none of what is no such class."""
    return {field.alias or name: field for name, field in getattr(model, "model_fields", {}).items()}


def model_of(annotation: Any, content: Any) -> Any:
    """The class behind a field: a section, or the member of a family whose kind ``content`` names."""
    classes = _classes(annotation)
    for candidate in classes:
        if issubclass(candidate, Component) and isinstance(content, Mapping):
            return candidate.registry.get(str(content.get("kind")), candidate)
    return next((candidate for candidate in classes if issubclass(candidate, BaseModel)), annotation)


def model_at(model: Any, loc: Sequence[str | int], content: Any) -> Any:
    """The class at a place below ``model``, of which ``content`` was given; None where there is no such place."""
    for name in loc:
        field = fields_of(model).get(str(name))
        content = content.get(name) if isinstance(content, Mapping) else None
        model = model_of(field.annotation, content) if field else None
    return model


def is_family(annotation: Any) -> bool:
    """Whether a field takes a member of a family, by its kind or with options."""
    return any(issubclass(candidate, Component) for candidate in _classes(annotation))


def _classes(annotation: Any) -> list[type]:
    return [candidate for candidate in (annotation, *get_args(annotation)) if isinstance(candidate, type)]
