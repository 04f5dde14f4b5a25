"""``--set section.field=value``: parameters of a file with some of them replaced."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from eyas.component import Component
from eyas.config.override import parse_overrides
from eyas.config.pipeline import PipelineParams
from eyas.errors import ParameterError, classes_of, fields_of, model_of


def apply_overrides(
    content: Mapping[str, Any], overrides: Sequence[str], typed: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """``content`` with every ``section.field=value`` set; the original stays as it was.

    What stands beside a field stays: ``finetune.recipe.batch_size=16`` keeps the recipe's other options, also where the
    file names its kind alone, or leaves it to the default.

    Args:
        content: sections by name.
        overrides: ``section.field=value`` each, the value in YAML.
        typed: what the user typed, by override, where that was not ``--set``.

    Raises:
        ParameterError: an override is not of that form, or names a field of what has none.
    """
    result: dict[str, Any] = json.loads(json.dumps(content))
    for override in parse_overrides(overrides, typed):
        *parents, last = override.place
        target = result
        model: Any = PipelineParams
        for depth, parent in enumerate(parents, start=1):
            field = fields_of(model).get(parent)
            inner = _options(target.get(parent), field)
            if inner is None:
                whole, there = ".".join(parents[:depth]), target[parent]
                ways = f"replace it whole, as in --set {whole}=..."
                msg = f"{override.typed}: {whole} is {there!r} and has no fields: {ways}"
                raise ParameterError(msg)
            target[parent] = inner
            target = inner
            model = model_of(field.annotation, inner) if field else None
        target[last] = override.value
    return result


def _is_family(annotation: Any) -> bool:
    """Whether a field takes a member of a family, by its kind or with options."""
    return any(issubclass(candidate, Component) for candidate in classes_of(annotation))


def _options(value: Any, field: Any) -> dict[str, Any] | None:
    """What stands at a field as options by name; None where it is something else."""
    if isinstance(value, dict):
        return value
    if isinstance(value, str) and field and _is_family(field.annotation):
        return {"kind": value}
    if value is not None:
        return None
    default = field.get_default(call_default_factory=True) if field else None
    if isinstance(default, Component):
        return {"kind": default.kind, **default.model_dump(mode="json", by_alias=True, exclude_defaults=True)}
    return {}
