"""The fields of a pydantic class as a user sees them: name, type with bounds, default, meaning."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from eyas.component import Component

BOUNDS = {"minimum": ">= ", "exclusiveMinimum": "> ", "maximum": "<= ", "exclusiveMaximum": "< ", "pattern": "like "}
TYPES = {"null": "none", "array": "list", "object": "mapping"}
REQUIRED = "required"


@dataclass(frozen=True)
class Parameter:
    """One field."""

    name: str
    type: str
    """With bounds, as in ``number > 0, < 1``."""
    default: str
    """As written in YAML, or ``required``."""
    meaning: str


def parameters(model: type[BaseModel], values: BaseModel | None = None, prefix: str = "") -> Iterator[Parameter]:
    """The fields of a class; those of a class inside it follow with dotted names.

    Args:
        model: the class; the ``kind`` of a component is left out.
        values: where the class stands as a default elsewhere, that default.
        prefix: of the names.
    """
    schema = model.model_json_schema()
    for name, field in model.model_fields.items():
        if name == "kind":
            continue
        key = field.alias or name
        default = _default(name, field, values)
        text = _type(schema["properties"][key])
        yield Parameter(prefix + key, text, _yaml(default), " ".join((field.description or "").split()))
        for inner in _classes(field.annotation):
            yield from parameters(inner, default if isinstance(default, inner) else None, f"{prefix}{key}.")


def _default(name: str, field: FieldInfo, values: BaseModel | None) -> Any:
    if values is not None:
        return getattr(values, name)
    return field.get_default(call_default_factory=True)


def _classes(annotation: Any) -> Iterator[type[BaseModel]]:
    """Classes with fields of their own inside an annotation; a component's fields depend on its kind."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel) and not issubclass(annotation, Component):
        yield annotation
    for inner in get_args(annotation):
        yield from _classes(inner)


def _type(schema: Mapping[str, Any]) -> str:
    """A JSON schema in words."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return name.lower() if name in {family.__name__ for family in Component.__subclasses__()} else "fields"
    if "anyOf" in schema:
        return " or ".join(_type(one) for one in schema["anyOf"])
    if "enum" in schema:
        return " | ".join(map(str, schema["enum"]))
    if "const" in schema:
        return str(schema["const"])
    name = TYPES.get(schema.get("type", ""), schema.get("type", "any"))
    if "items" in schema:
        name = f"{name} of {_type(schema['items'])}"
    bounds = [f"{sign}{_bound(schema[key])}" for key, sign in BOUNDS.items() if key in schema]
    return " ".join([name, ", ".join(bounds)]).strip()


def _bound(value: Any) -> str:
    return "2^63" if value == 2**63 else str(value)


def _yaml(value: Any) -> str:
    return REQUIRED if value is PydanticUndefined else json.dumps(_plain(value)).strip('"')


def _plain(value: Any) -> Any:
    """A default as one writes it; of what has fields, those that differ from the class's own defaults."""
    if isinstance(value, BaseModel):
        changed = value.model_dump(mode="json", exclude_defaults=True)
        kind = getattr(value, "kind", None)
        return {"kind": kind, **changed} if kind and changed else kind or changed
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    return value
