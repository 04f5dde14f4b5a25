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
    budgets: Annotated[
        str | None,
        typer.Option(
            metavar="VALUE,VALUE",
            help="A model for each budget, of the cost that the parameter file limits: short for a sweep of it.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> int:
    """Bring every stage up to date, record, report, register.

    \b
    Examples:
      eyas run
      eyas run --params configs/cifar10_resnet20.yaml \\
        --set sample.budget.macs=0.25
      eyas run --params mine.yaml --check
      eyas run --budgets 0.75,0.5,0.25
      eyas run --sweep sample.budget.macs=0.5,0.25 --sweep finetune.seed=0,1
    """
    if verbose and quiet:
        msg = "--verbose and --quiet: give one of them"
        raise BadInputError(msg)
    several = "--sweep" if sweep else "--budgets"
    several_runs = bool(sweep) or budgets is not None
    if several_runs and name:
        msg = f"--name names one workspace, {several} makes several: leave --name out"
        raise BadInputError(msg)
    if several_runs and check:
        return hand_over("comparison_commands.check_sweep", params, overrides or [], sweep or [], budgets)
    if check:
        return hand_over("check", params, overrides or [], name)
    how = {"wait": wait, "register": not no_register, "verbose": verbose, "quiet": quiet, "as_json": as_json}
    if several_runs:
        return hand_over("comparison_commands.sweep", params, overrides or [], sweep or [], budgets, **how)
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
