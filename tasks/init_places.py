"""Where ``eyas init`` reads and writes, as far as the names alone tell."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from eyas.errors import BadInputError, ParameterError


def look_at_places(start: Path, said: Mapping[str, Any]) -> None:
    """Refuse files of the command line that are not there, and an output that is.

    Raises:
        BadInputError: names the option.
    """
    if said["out"]:
        try:
            new_file(start, said["out"], force=said["force"])
        except ParameterError as error:
            msg = f"--out: {error}"
            raise BadInputError(msg) from error
    for option in ("images", "checkpoint", "test"):
        text = said[option] or ""
        is_path = text and not text.startswith("$") and not set(text) & set(":*?[")
        is_word = option == "test" and text.isidentifier()  # such as from_train
        if is_path and not is_word and not (start / Path(text).expanduser()).exists():
            msg = f"--{option}: {text}: there is no such file or folder"
            raise BadInputError(msg)


def shown_from(start: Path, path: Path) -> str:
    """A path as one types it in a shell in the folder ``start``."""
    return shlex.quote(str(path.relative_to(start) if path.is_relative_to(start) else path))


def new_file(start: Path, text: str, *, force: bool) -> Path:
    """The parameter file to write, seen from the folder ``start``.

    Raises:
        ParameterError: it has another ending, its folder is not there, or it is there itself, without ``force``.
    """
    path = (start / text).resolve()
    if path.suffix not in {".yaml", ".yml"}:
        msg = f"{text} is no name of a parameter file: let it end in .yaml"
        raise ParameterError(msg)
    if not path.parent.is_dir():
        msg = f"{text}: there is no folder {path.parent}"
        raise ParameterError(msg)
    if path.exists() and not force:
        msg = f"{text} is there already: choose another name, or give --force to replace it"
        raise ParameterError(msg)
    return path
