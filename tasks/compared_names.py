"""What ``eyas compare`` may be given, as far as the names alone tell."""

from collections.abc import Sequence
from pathlib import Path

from eyas.errors import BadInputError

FEWEST = 2
FILES = (".yaml", ".yml")
"""What the name of a parameter file ends in."""


def require_names(names: Sequence[str]) -> None:
    """Refuse what cannot be compared, whatever it stands for.

    Raises:
        BadInputError: a parameter file is not there, a name stands twice, or there is one alone.
    """
    for name in names:
        if name.endswith(FILES) and not Path(name).is_file():
            msg = f"{name} does not exist: give a parameter file that is there, a profile, a version or a run"
            raise BadInputError(msg)
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice or len(names) < FEWEST:
        msg = f"{', '.join(twice)} is named twice" if twice else "one network alone compares with nothing"
        raise BadInputError(f"{msg}: name at least {FEWEST} different ones")
