"""The command ``watch``: whether images of the field drifted."""

from pathlib import Path
from typing import Annotated

import typer

from eyas.cli.options import AsJson, Name, Overrides, ParamsFile, Since, require_files, require_there
from eyas.cli.project import hand_over


def watch(
    *,
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", resolve_path=True, help="Images of the field.")],
    params: ParamsFile = None,
    overrides: Overrides = None,
    name: Name = None,
    version: Annotated[
        str | None,
        typer.Option(
            metavar="VERSION",
            help="Number, or alias, of the model version, or run: what the last run exported [default: the champion, "
            "else the candidate, else the last run].",
        ),
    ] = None,
    once: Annotated[
        bool, typer.Option("--once", help="Look at what is there, and end: status 0 without drift, 3 with.")
    ] = False,
    window: Annotated[
        int,
        typer.Option(
            min=8,
            metavar="N",
            help="Images that are judged together: of what is there with --once as evenly as can be, at least so many.",
        ),
    ] = 128,
    reference: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            resolve_path=True,
            help="What images are compared with, a saved DriftReference [default: the version's own, else one that is "
            "made of the score split].",
        ),
    ] = None,
    false_alarm_rate: Annotated[
        float, typer.Option(min=1e-4, max=0.5, metavar="RATE", help="How often a clean window may be called drift.")
    ] = 0.001,
    since: Since = None,
    seconds: Annotated[float, typer.Option(min=0.1, metavar="S", help="Pause between two looks.")] = 10.0,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", resolve_path=True, help="Write each window's report there, with a picture."),
    ] = None,
    as_json: AsJson = False,
) -> int:
    """Tell whether images still look as in training.

    A line per window says what changed; the last ones say whether to adapt. Without --once it goes on with what comes
    into the folder, until Ctrl-C. Where drift begins, those whom `notify` names are told.

    \b
    Examples:
      eyas watch camera/
      eyas watch photos/ --once --version candidate
      eyas watch photos/ --once --since 7d --set adapt.detector=hyperdimensional
      eyas watch photos/ --once --window 256 --out drift/ --json
    """
    from eyas.errors import DataError
    from eyas.storage.local_files import require_folder

    require_there(folder, *([reference] if reference else []))
    if not folder.is_dir():
        msg = f"{folder}: is a file; name the folder of the images"
        raise DataError(msg)
    if once:
        require_files(folder)
    if out:
        require_folder(out, "--out")
    options = {"version": version, "reference": reference, "window": window, "false_alarm_rate": false_alarm_rate}
    options |= {"once": once, "seconds": seconds, "out": out, "as_json": as_json}
    chosen = [f"adapt.since={since}"] if since else []
    return hand_over("watch_commands.watch", params, [*chosen, *(overrides or [])], name, folder, **options)
