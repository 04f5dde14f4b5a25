"""Options that several commands share."""

from pathlib import Path
from typing import Annotated, Any

import typer

LAST_PORT = 65535


def port(help_text: str) -> Any:
    """An option that takes a port."""
    return typer.Option(min=1, max=LAST_PORT, metavar="PORT", help=help_text)


ParamsFile = Annotated[
    Path | None,
    typer.Option(
        "--params",
        metavar="FILE",
        exists=True,
        dir_okay=False,
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
