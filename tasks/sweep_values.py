"""``--sweep section.field=value,value``: the overrides of each profile, all combinations of several sweeps."""

import itertools
import json
from collections.abc import Mapping, Sequence
from typing import Any

from eyas.config.override import parse_overrides
from eyas.config.safe_yaml import load_yaml
from eyas.errors import ParameterError
from eyas.sampling.budget_limits import not_a_number
from tasks.profile_name import profile_overrides

MOST_PROFILES = 32
"""Each is a whole run."""


def swept_overrides(sweeps: Sequence[str], overrides: Sequence[str] = ()) -> list[list[str]]:
    """What each profile of a sweep sets besides ``overrides``, in the order in which they are written.

    Args:
        sweeps: ``section.field=value,value`` each, the values in YAML.
        overrides: ``section.field=value`` each, the same for all profiles.

    Raises:
        ParameterError: a sweep has another form, sweeps what makes no other profile, or they are too many.
    """
    fields = [_field(sweep) for sweep in sweeps]
    fixed = {_field(override) for override in overrides}
    for field in fields:
        if fields.count(field) > 1 or field in fixed:
            msg = f"--sweep {field}: is {'set, too' if field in fixed else 'swept twice'}: say it once"
            raise ParameterError(msg)
    grid = [list(items) for items in itertools.product(*map(sweep_items, sweeps))]
    if len(grid) > MOST_PROFILES:
        msg = f"--sweep: {len(grid)} profiles, at most {MOST_PROFILES} are run by one command: give fewer values"
        raise ParameterError(msg)
    return grid


def sweep_items(sweep: str) -> list[str]:
    """One override for each value."""
    field, sign, text = sweep.partition("=")
    values = load_yaml(f"[{text}]", f"--sweep {sweep}: the values") if sign else []
    if "." not in field or not values or None in values:
        msg = f"--sweep {sweep}: expected section.field=value,value, for instance sample.budget.macs=0.75,0.5,0.25"
        raise ParameterError(msg)
    items = [f"{field}={_written(value)}" for value in values]
    if not profile_overrides(items):
        msg = f"--sweep {field}: no stage reads it, so its values are no different profiles; sweep a stage's field"
        raise ParameterError(msg)
    twice = next((item for item in items if items.count(item) > 1), None)
    if twice:
        msg = f"--sweep {sweep}: {twice} stands there twice"
        raise ParameterError(msg)
    return items


def budget_sweep(budgets: str, content: Mapping[str, Any], overrides: Sequence[str] = ()) -> str:
    """``--budgets 0.75,0.5,0.25`` as the sweep that it is short for.

    Args:
        budgets: numbers, apart by commas.
        content: the parameter file's sections, which name the cost that is limited; ``macs`` where they name none.
        overrides: ``section.field=value`` each, which may name another.

    Raises:
        ParameterError: they are no numbers, one is there twice, several costs are limited, or an override has the cost.
    """
    values = load_yaml(f"[{budgets}]", f"--budgets {budgets}: the values")
    unnamed = len(values or ()) != budgets.count(",") + 1
    words = [not_a_number("", one).removeprefix("no number: ") for one in values or () if isinstance(one, str)]
    if "%" in budgets and words:
        raise ParameterError(f"--budgets {budgets}: no numbers: {', '.join(words)}")
    if (
        not values
        or unnamed
        or any(isinstance(one, bool) or not isinstance(one, (int, float)) or one <= 0 for one in values)
    ):
        msg = f"--budgets {budgets}: expected numbers above 0, such as 0.75,0.5,0.25 (up to 1 shares of the dense cost)"
        raise ParameterError(msg)
    if len(set(values)) < len(values):
        raise ParameterError(f"--budgets {budgets}: a budget stands there twice: say it once")
    limited = _mapping(_mapping(content.get("sample")).get("budget"))
    for one in parse_overrides(overrides):
        if one.place == ("sample", "budget"):
            limited = _mapping(one.value)
        elif one.place[:-1] == ("sample", "budget"):
            limited[one.place[-1]] = one.value
    names = [name for name, value in limited.items() if value is not None] or ["macs"]
    if len(names) > 1:
        example = f"--sweep sample.budget.{names[0]}={budgets}"
        msg = f"--budgets {budgets}: sample.budget limits {' and '.join(names)}; say which one changes, as in {example}"
        raise ParameterError(msg)
    field = f"sample.budget.{names[0]}"
    if any(_field(override) == field for override in overrides):
        raise ParameterError(f"--budgets {budgets}: --set {field} gives a budget, too: leave one of them out")
    return f"{field}={budgets}"


def _mapping(value: object) -> dict[str, Any]:
    """What a section holds; nothing where it is none, which is told where the file is checked."""
    return dict(value) if isinstance(value, Mapping) else {}


def _written(value: object) -> str:
    """As ``--set`` takes it; words stay as they are."""
    return value if isinstance(value, str) and load_yaml(value, "a value") == value else json.dumps(value)


def _field(item: str) -> str:
    return item.partition("=")[0]
