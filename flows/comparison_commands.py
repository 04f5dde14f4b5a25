"""What ``eyas run --sweep`` and ``eyas compare`` do in a project; heavy imports wait until a command needs them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from eyas.cli.run_view import RunView
from eyas.cli.terminal import echo
from eyas.config.first_look import look_at_names
from eyas.config.override import parse_overrides
from eyas.config.parameter_file import read_sections
from eyas.errors import ParameterError
from flows.environment import ROOT
from flows.named_profile import log_file, parameter_file
from flows.prefect_server import begin_prefect, is_news
from tasks.compared_names import require_names
from tasks.sweep_values import budget_sweep, sweep_items, swept_overrides

if TYPE_CHECKING:
    from tasks.workspace import Workspace


def sweep(
    params: Path | None,
    overrides: Sequence[str],
    sweeps: Sequence[str],
    budgets: str | None = None,
    *,
    wait: bool,
    register: bool,
    verbose: bool,
    quiet: bool,
    as_json: bool,
) -> int:
    """Bring a profile for each combination of values up to date, and show how they compare, also as a page."""
    sweeps = _with_budgets(params, overrides, sweeps, budgets)
    profiles, workspaces = _swept(params, overrides, sweeps)
    parsed = [parse_overrides(own, _typed(sweeps)) for own in profiles]
    attend = begin_prefect()
    from flows.sweep import Sweep, require_ready

    require_ready(workspaces, parsed, wait=wait)
    labels = [", ".join(own[len(overrides) :]) for own in profiles]
    swept = Sweep(tuple(workspaces), tuple(labels))
    with RunView(log_file("run-sweep"), verbose=verbose, quiet=quiet) as view:
        attend(workspaces[0])
        view.take_log(is_news)
        swept.run(str(parameter_file(params)), profiles, view, wait=wait, register=register)
        comparison = swept.compare()
    if as_json:
        print(swept.as_json(comparison, view.log))
    elif quiet:
        echo("\n".join(swept.headlines()))
    else:
        swept.print_summary(comparison, view.log)
    return swept.status


def check_sweep(
    params: Path | None, overrides: Sequence[str], sweeps: Sequence[str], budgets: str | None = None
) -> int:
    """Look for everything that would stop a profile of a sweep, and start nothing."""
    profiles, _ = _swept(params, overrides, _with_budgets(params, overrides, sweeps, budgets))
    from tasks.preflight import look_closely

    faults = []
    for own in profiles:
        try:
            seen = look_closely(ROOT, parameter_file(params), own)
            seen.require()
            echo(seen.line())
        except ParameterError as error:
            faults.append(str(error))
    if faults:
        raise ParameterError("\n".join(faults))
    return 0


def compare(
    names: Sequence[str],
    params: Path | None,
    overrides: Sequence[str],
    *,
    html: Path | None,
    as_json: bool,
    log: bool,
) -> int:
    """Networks side by side: table, page, and a run of MLflow."""
    from eyas.storage.local_files import require_place

    look_at_names(parameter_file(params), overrides)
    require_names(names)
    if html:
        require_place(html, "--html")
    from eyas.operations.comparison.comparison_page import comparison_page
    from tasks.compare import compare_named, log_comparison, print_comparison
    from tasks.workspace import open_workspace

    workspace = open_workspace(ROOT, parameter_file(params), overrides)
    with RunView(log_file("compare")):
        comparison = compare_named(workspace, names)
    if html:
        html.write_text(comparison_page(comparison, html.parent))
    run_id = log_comparison(workspace, comparison) if log else None
    if as_json:
        print(json.dumps(comparison.as_dict() | {"run": run_id}, indent=2))
        return 0
    print_comparison(comparison)
    for network in comparison.networks:
        if network.origin.report:
            echo(f"report {network.origin.report}   ({network.name})")
    if html:
        echo(f"page   {html}")
    if run_id:
        echo(f"MLflow run {run_id}")
    return 0


def _with_budgets(
    params: Path | None, overrides: Sequence[str], sweeps: Sequence[str], budgets: str | None
) -> list[str]:
    """The sweeps, ``--budgets`` as the first of them."""
    limited = [] if budgets is None else [budget_sweep(budgets, read_sections(parameter_file(params)), overrides)]
    return [*limited, *sweeps]


def _swept(
    params: Path | None, overrides: Sequence[str], sweeps: Sequence[str]
) -> "tuple[list[list[str]], list[Workspace]]":
    """Overrides and workspace of each profile of a sweep; every wrong value is told at once."""
    typed = _typed(sweeps)
    profiles = [[*overrides, *items] for items in swept_overrides(sweeps, overrides)]
    named = {sweep_items(sweep)[0]: f"--sweep {sweep}" for sweep in sweeps}
    look_at_names(parameter_file(params), [*overrides, *named], named)
    from tasks.workspace import open_workspace

    workspaces, faults = [], []
    for own in profiles:
        try:
            workspaces.append(open_workspace(ROOT, parameter_file(params), own, typed=typed))
        except ParameterError as error:
            faults.append(str(error))
    if faults:
        raise ParameterError("\n".join(dict.fromkeys(faults)))
    return profiles, workspaces


def _typed(sweeps: Sequence[str]) -> dict[str, str]:
    """What the user typed, by the override that it makes."""
    return {item: f"--sweep {sweep} ({item})" for sweep in sweeps for item in sweep_items(sweep)}
