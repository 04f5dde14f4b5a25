"""Commands that make a model: ``run`` and ``retrain``."""

from typing import Annotated

import typer

from eyas.cli.options import AsJson, Name, Overrides, ParamsFile
from eyas.cli.project import hand_over
from eyas.errors import BadInputError


def run(
    *,
    params: ParamsFile = None,
    overrides: Overrides = None,
    name: Name = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for another run of this profile.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Look for all that would stop a run; run nothing.")] = False,
    no_register: Annotated[bool, typer.Option("--no-register", help="Leave the model registry alone.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show the whole log.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show the verdict, warnings and errors alone.")] = False,
    sweep: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FIELD=VALUE,VALUE",
            help="A profile for each value, compared at the end; may be repeated: all combinations, at most 32.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> int:
    """Bring every stage up to date, record, report, register.

    \b
    Examples:
      eyas run
      eyas run --params configs/cifar10_resnet20.yaml --set sample.budget.macs=0.25
      eyas run --params mine.yaml --check
      eyas run --sweep sample.budget.macs=0.75,0.5,0.25
    """
    if verbose and quiet:
        msg = "--verbose and --quiet: give one of them"
        raise BadInputError(msg)
    if sweep and name:
        msg = "--name names one workspace, --sweep makes several: leave --name out"
        raise BadInputError(msg)
    if sweep and check:
        return hand_over("comparison_commands.check_sweep", params, overrides or [], sweep)
    if check:
        return hand_over("check", params, overrides or [], name)
    how = {"wait": wait, "register": not no_register, "verbose": verbose, "quiet": quiet, "as_json": as_json}
    if sweep:
        return hand_over("comparison_commands.sweep", params, overrides or [], sweep, **how)
    return hand_over("run", params, overrides or [], name, **how)


def retrain(
    *,
    params: ParamsFile = None,
    overrides: Overrides = None,
    name: Name = None,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Who or what asked; recorded.")] = "asked",
    force: Annotated[bool, typer.Option("--force", help="Run every stage again, even if nothing changed.")] = False,
    as_json: AsJson = False,
) -> int:
    """Run only if data, parameters, code or checkpoint changed.

    \b
    Examples:
      eyas retrain --reason "new labels"
      eyas retrain --json
    """
    return hand_over("retrain", params, overrides or [], name, reason, force=force, as_json=as_json)
