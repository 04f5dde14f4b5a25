"""The command ``adapt``: the champion follows images of where it works."""

from pathlib import Path
from typing import Annotated

import typer

from eyas.cli.options import AsJson, Name, Overrides, ParamsFile, Since, Until, require_files
from eyas.cli.project import hand_over

REMOTE, BUILTIN = "://", "builtin:"


def adapt(
    *,
    images: Annotated[
        str | None,
        typer.Argument(metavar="IMAGES", help="Folder, file or address of images [default: adapt.images]."),
    ] = None,
    params: ParamsFile = None,
    overrides: Overrides = None,
    name: Name = None,
    version: Annotated[
        str | None, typer.Option(metavar="VERSION", help="Number or alias of what is adapted [default: the champion].")
    ] = None,
    adapter: Annotated[
        str | None, typer.Option(metavar="KIND", help="Who adapts, in place of adapt.adapter; --set has its options.")
    ] = None,
    since: Since = None,
    until: Until = None,
    detector: Annotated[
        str | None, typer.Option(metavar="KIND", help="Who says whether images drifted, in place of adapt.detector.")
    ] = None,
    labels: Annotated[
        bool, typer.Option("--labels", help="The images say what they show: a sequential test judges, too.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Adapt where nothing drifted or it is not expected to help, too.")
    ] = False,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Who or what asked; recorded.")] = "asked",
    as_json: AsJson = False,
) -> int:
    """Let the champion follow unlabelled images.

    Says what changed in the images, adapts where that is expected to help, and registers a candidate if the rule and
    the gates hold. An adapted champion that its parent beats on the images is taken back. Exit status 0 also where
    there is nothing to do, as without drift; 3: refused.

    \b
    Examples:
      eyas adapt photos/today
      eyas adapt s3://cameras/7/2026-11-26 --adapter alpha_bn \\
        --set adapt.adapter.source_weight=0.5
      eyas adapt s3://cameras/7 --since 7d
      eyas adapt few_labelled/ --labels
    """
    named = {"adapter": adapter, "detector": detector, "since": since, "until": until}
    chosen = [f"adapt.{field}={value}" for field, value in named.items() if value]
    options = {"version": version, "labelled": labels, "force": force, "reason": reason, "as_json": as_json}
    return hand_over(
        "adaptation_commands.adapt", params, [*chosen, *(overrides or [])], name, _from_here(images), **options
    )


def _from_here(images: str | None) -> str | None:
    """A local path as an absolute one, made sure to be there; an address as it is."""
    if images is None or REMOTE in images or images.startswith((BUILTIN, "$")):
        return images
    require_files(path := Path(images).expanduser().absolute())
    return str(path)
