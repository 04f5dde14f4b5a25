"""Options that several commands share."""

import os
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
AsJson = Annotated[bool, typer.Option("--json", help="Print it as JSON.")]
MlflowPort = Annotated[int, port("Of MLflow's server.")]
PrefectPort = Annotated[int, port("Of Prefect's server.")]
