"""What the names alone tell of a parameter file and overrides, before the classes are imported."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from eyas.config.field_names import unknown_name
from eyas.config.override import parse_overrides
from eyas.config.parameter_file import read_sections
from eyas.errors import ParameterError


def look_at_names(path: Path, overrides: Sequence[str] = (), typed: Mapping[str, str] | None = None) -> None:
    """Refuse what could not be read or has names that there are not.

    Args:
        path: of the parameter file.
        overrides: ``section.field=value`` each.
        typed: what the user typed, by override, where that was not ``--set``.

    Raises:
        ParameterError: tells every such name, with the file or the option that holds it.
    """
    parsed = parse_overrides([*dict.fromkeys(overrides)], typed)
    lines = [f"{one.typed}: {wrong}" for one in parsed if (wrong := unknown_name(one.place))]
    content = read_sections(path)
    places = [[str(name)] for name in content]
    places += [[str(name), str(field)] for name, part in content.items() if isinstance(part, dict) for field in part]
    wrong_names = dict.fromkeys(filter(None, map(unknown_name, places)))
    if wrong_names:
        lines += [f"{path}:", *(f"  {wrong}" for wrong in wrong_names)]
    if lines:
        raise ParameterError("\n".join(lines))
