"""The parameters of a run that are not the defaults: what a person looks for beside its numbers."""

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from eyas.component import Component


def changed_params(params: BaseModel) -> dict[str, Any]:
    """Every field that is not its default, by dotted name, as JSON holds it; of a component of another kind its kind.

    Fields of a component are held against the defaults of its own kind.
    """
    return dict(_changed(params, type(params)()))


def _changed(params: BaseModel, default: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    written = params.model_dump(mode="json", by_alias=True)
    if type(params) is not type(default):
        if isinstance(params, Component):
            yield f"{prefix}kind", written["kind"]
        default = None
    for name, field in type(params).model_fields.items():
        value = getattr(params, name)
        usual = getattr(default, name) if default else field.get_default(call_default_factory=True)
        place = f"{prefix}{field.alias or name}"
        if isinstance(value, BaseModel):
            yield from _changed(value, usual, f"{place}.")
        elif value != usual:
            yield place, written[field.alias or name]
