"""Commands about the model registry: ``promote``, ``rollback``, ``status`` and ``reproduce``."""

from pathlib import Path
from typing import Annotated

import typer

from eyas.cli.options import AsJson, Name, Overrides, ParamsFile, Version
from eyas.cli.project import hand_over


def promote(
    *,
    params: ParamsFile = None,
    overrides: Overrides = None,
    name: Name = None,
    version: Version = None,
    of_lock: Annotated[
        bool, typer.Option("--of-lock", help="The version that the profile's dvc.lock registered.")
    ] = False,
    force: Annotated[
        str | None, typer.Option(metavar="REASON", help="Promote whatever the gates say; the reason is recorded.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Judge only: record nothing, move nothing.")] = False,
    report: Annotated[
        Path | None,
        typer.Option(metavar="FILE", resolve_path=True, help="Write the decision: *.json as JSON, others as Markdown."),
    ] = None,
) -> int:
    """Let the gates decide whether a version becomes champion.

    \b
    Examples:
      eyas promote --dry-run --report gate.md
      eyas promote --version 7 --force "agreed with QA"
    """
    if version and of_lock:
        msg = "--of-lock is not allowed with --version: give one"
        raise typer.BadParameter(msg)
    return hand_over(
        "promote", params, overrides or [], name, version, force, of_lock=of_lock, dry_run=dry_run, report=report
    )


def rollback(
    *,
    params: ParamsFile = None,
    overrides: Overrides = None,
    name: Name = None,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why; recorded.")] = "",
) -> int:
    """Make the previous champion the champion again.

    \b
    Examples:
      eyas rollback --reason "field test failed"
    """
    return hand_over("rollback", params, overrides or [], name, reason)


def status(
    *,
    params: ParamsFile = None,
    overrides: Overrides = None,
    name: Name = None,
    verbose: Annotated[bool, typer.Option("--verbose", help="Tell every reason whole, however long.")] = False,
) -> int:
    """Champion, previous, candidate, the last runs and why.

    \b
    Examples:
      eyas status
      eyas status --params configs/cifar10_resnet20.yaml --verbose
    """
    return hand_over("status", params, overrides or [], name, verbose=verbose)


def reproduce(
    *,
    params: ParamsFile = None,
    overrides: Overrides = None,
    name: Name = None,
    version: Version = None,
    as_json: AsJson = False,
) -> int:
    """What it takes to make a registered version again, verified.

    \b
    Examples:
      eyas reproduce --version 7
    """
    return hand_over("reproduce", params, overrides or [], name, version, as_json=as_json)
