"""Options that several commands share."""

import mimetypes
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from eyas.errors import DataError

LAST_PORT = 65535


def require_there(*places: Path) -> None:
    """Refuse what is not there, before anything is imported that takes seconds.

    Raises:
        DataError: names the first.
    """
    for place in places:
        if not place.exists():
            shown = os.path.relpath(place) if place.is_relative_to(Path.cwd()) else place
            msg = f"{shown}: there is no such file or folder"
            raise DataError(msg)


def require_files(*places: Path) -> None:
    """Refuse folders without a file, hidden ones aside, and what is not there.

    Raises:
        DataError: names the first.
    """
    require_there(*places)
    for place in places:
        if place.is_dir() and not any(_visible_files(place)):
            msg = f"{place} holds no image: name a folder of images"
            raise DataError(msg)


def require_folder_per_class(folder: Path) -> None:
    """Refuse a folder of pictures alone, none of which lies in a folder of its own: nothing says what they show.

    Raises:
        DataError: says how they are used all the same.
    """
    files = [*_visible_files(folder)] if folder.is_dir() else []
    pictures = [str(mimetypes.guess_type(file.name)[0]).startswith("image/") for file in files]
    if files and all(pictures) and all(file.parent == folder for file in files):
        msg = f"--labels: {folder} holds images in no class folders: leave out --labels, or give a folder per class"
        raise DataError(msg)


def _visible_files(folder: Path) -> Iterator[Path]:
    for path, folders, files in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(path, name) for name in files if not name.startswith("."))


def port(help_text: str) -> Any:
    """An option that takes a port."""
    return typer.Option(min=1, max=LAST_PORT, metavar="PORT", help=help_text)


ParamsFile = Annotated[
    Path | None,
    typer.Option(
        "--params",
        metavar="FILE",
        resolve_path=True,
        help="Parameters of a profile [default: the project's params.yaml].",
    ),
]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="SECTION.FIELD=VALUE", help="Override a field; may be repeated.")
]
Name = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Name of the workspace [default: made of the file and the overrides]."),
]
Version = Annotated[
    str | None, typer.Option(metavar="NUMBER", help="Number, or alias, of the model version [default: the candidate].")
]
Since = Annotated[
    str | None,
    typer.Option(metavar="DATE", help="Only images from a date on: 2026-11-20, a time (UTC), or an age (7d, 12h)."),
]
Until = Annotated[str | None, typer.Option(metavar="DATE", help="Only images from before a date.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print it as JSON.")]
MlflowPort = Annotated[int, port("Of MLflow's server.")]
PrefectPort = Annotated[int, port("Of Prefect's server.")]
