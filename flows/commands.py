"""What each command of ``eyas`` does in a project; heavy imports wait until a command needs them."""

import json
import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eyas.cli.program import program
from eyas.cli.run_view import RunView
from eyas.cli.terminal import echo, echo_labelled, terminal_width, wrapped_step
from eyas.config.parameter_file import read_sections
from eyas.errors import BadInputError, EyasError, RefusedError
from flows.environment import ROOT
from flows.named_profile import checked, log_file, look_at_typed, parameter_file, relative, require_records
from flows.prefect_server import asked_once, begin_prefect, explained, is_news, is_set, require_prefect
from tasks.init_places import look_at_places, shown_from

if TYPE_CHECKING:
    from tasks.init_answers import Ask
    from tasks.workspace import Workspace


def run(
    params: Path | None,
    overrides: Sequence[str],
    name: str | None,
    *,
    wait: bool,
    register: bool,
    verbose: bool,
    quiet: bool,
    as_json: bool,
) -> int:
    """Bring a profile up to date and print the result."""
    workspace = checked(params, overrides, name)
    attend = begin_prefect()
    _look(workspace, overrides)
    if not wait:
        workspace.refuse_if_busy()
    with _view("run", workspace.name, verbose=verbose, quiet=quiet) as view:
        from flows.pipeline import pipeline
        from tasks.report import print_json, print_quietly, print_summary
        from tasks.tracking_store import open_store

        open_store(workspace)  # what takes time is loaded, MLflow's database made, while the server comes up
        attend(workspace)
        view.take_log(is_news)
        with explained():
            outcome = pipeline(relative(params), overrides, name, wait=wait, register=register)
    if as_json:
        print_json(workspace, outcome.version, outcome.run_id, view.log)
    elif quiet:
        print_quietly(workspace)
    else:
        print_summary(workspace, outcome.version, outcome.run_id, view.log, view.scrolled_away)
    return 0


def init(start: Path, said: Mapping[str, Any], ask: "Ask | None") -> int:
    """Write a parameter file to start from."""
    look_at_places(start, said)
    from tasks.init import Init
    from tasks.init_answers import InitAnswers

    out = Init(ROOT, start, InitAnswers(**said), ask, echo_labelled).write()
    shown, command = shown_from(start, out), shlex.join([*program(start), "run", "--params"])
    steps = [wrapped_step(f"{command} {shown}{ending}", terminal_width(), 10) for ending in (" --check", "")]
    print(f"wrote     {shown}\nnext      {steps[0]}\n          {steps[1]}")
    return 0


def check(params: Path | None, overrides: Sequence[str], name: str | None) -> int:
    """Look for everything that would stop a run, and start nothing."""
    read_sections(parameter_file(params))
    from tasks.preflight import look_closely

    seen = look_closely(ROOT, parameter_file(params), overrides, name)
    seen.require()
    echo(seen.line())
    return 0


def retrain(
    params: Path | None, overrides: Sequence[str], name: str | None, reason: str, *, force: bool, as_json: bool
) -> int:
    """Run the pipeline only if something changed since the champion was made."""
    workspace = checked_or_told("retrain", params, overrides, name)
    from flows.retrain import as_json as fields
    from flows.retrain import retrain as flow

    with _view("retrain", workspace.name) as view, explained():
        view.take_log(is_news)
        decision: Any = flow(relative(params), overrides, name, reason, force=force)
    if as_json:
        print(json.dumps(fields(decision), indent=2))
    else:
        from tasks.after_promotion import result_text

        head = f"{'retrained' if decision.ran else 'nothing to do'}: {decision.reason}"
        print(result_text(workspace, head, decision.version, terminal_width()))
    return 0


def promote(
    params: Path | None,
    overrides: Sequence[str],
    name: str | None,
    version: str | None,
    force: str | None,
    *,
    of_lock: bool,
    dry_run: bool,
    report: Path | None,
) -> int:
    """Let the gates decide on a version; with ``dry_run`` only say what they would."""
    workspace = checked(params, overrides, name)
    if not (version or of_lock or is_set()):
        require_records(workspace, params, overrides, name, tell=not dry_run)
    from tasks.after_promotion import promotion_text, refused_with_ways

    if dry_run:
        from tasks.promote import promote as judge

        decision = judge(workspace, version, force, of_lock=of_lock, dry_run=True, report=report)
        print(promotion_text(workspace, decision, terminal_width()))
        return 0 if decision.promoted else RefusedError.exit_status
    attend = begin_prefect()
    if version and version.isdigit():  # one that is not there need not wait for Prefect
        from eyas.operations.tracking.model_registry import get_version
        from tasks.tracking_store import open_store

        get_version(open_store(workspace), workspace.params.register_.model, version)
    from flows.promote import promote as flow

    attend(workspace)
    place = str(report) if report else None
    with refused_with_ways(workspace, version), _view("promote", workspace.name) as view, explained():
        view.take_log(is_news)
        decision = flow(relative(params), overrides, name, version, force, of_lock=of_lock, report=place)
    print(promotion_text(workspace, decision, terminal_width()))
    return 0


def rollback(params: Path | None, overrides: Sequence[str], name: str | None, reason: str) -> int:
    """Make the previous champion the champion again."""
    workspace = checked(params, overrides, name)
    attend = begin_prefect()
    from flows.rollback import rollback as flow
    from tasks.after_promotion import rollback_text

    attend(workspace)
    with _view("rollback", workspace.name) as view, explained():
        view.take_log(is_news)
        message = flow(relative(params), overrides, name, reason)
    print(rollback_text(workspace, message, reason, terminal_width()))
    return 0


def status(params: Path | None, overrides: Sequence[str], name: str | None, *, verbose: bool = False) -> int:
    """Champion, previous, candidate, the last runs, and why; with a Prefect server, also runs that nobody takes."""
    workspace = checked(params, overrides, name)
    from tasks.status import status_lines

    print("\n".join(status_lines(workspace, verbose=verbose, width=terminal_width())))
    if os.environ.get("PREFECT_API_URL"):
        from flows.schedule_guard import status_line

        with asked_once():
            late = status_line(workspace.params.schedule.grace_minutes)
        if late:
            echo(late)
    return 0


def predict(
    params: Path | None,
    overrides: Sequence[str],
    name: str | None,
    images: Sequence[Path],
    *,
    version: str | None,
    top: int,
    as_json: bool,
) -> int:
    """Classes of image files; 2 where some cannot be read, as where one is not there."""
    workspace = checked(params, overrides, name)
    from tasks.predict import predict as answer
    from tasks.prediction_table import print_predictions

    answers = answer(workspace, images, version)
    print_predictions(answers, top, as_json=as_json)
    return BadInputError.exit_status if answers.unreadable else 0


def reproduce(
    params: Path | None, overrides: Sequence[str], name: str | None, version: str | None, *, as_json: bool
) -> int:
    """What it takes to make a version again, each part verified; 1 where something is missing."""
    workspace = checked(params, overrides, name)
    from tasks.reproduce import reproduce as look

    needs = look(workspace, version)
    print(json.dumps(needs.as_dict(), indent=2) if as_json else "\n".join(needs.lines(terminal_width())))
    return 0 if needs.ready else 1


def serve(params: Path | None, prefect_port: int, webhook_port: int | None) -> int:
    """Run schedules and the webhook on this machine."""
    look_at_typed(params)
    from flows.serve import serve_schedules

    require_prefect()
    return serve_schedules(parameter_file(params), prefect_port, webhook_port)


def deploy(params: Path | None) -> int:
    """Put the deployments on a Prefect server."""
    look_at_typed(params)
    from flows.serve import deploy as put

    require_prefect()
    return put(parameter_file(params))


def servers(
    state: Path | None, *, database: str | None, artifacts: str | None, ports: Mapping[str, int], worker: bool
) -> int:
    """Start PostgreSQL, MLflow, Prefect and a worker."""
    from eyas.operations.servers.local_servers import serve_all

    folder = state or ROOT / ".eyas" / "servers"
    return serve_all(ROOT, folder, database=database, artifacts=artifacts, ports=ports, worker=worker)


def profile(
    params: Path | None,
    overrides: Sequence[str],
    name: str | None,
    *,
    out: Path,
    plan: Path | None,
    runtime: str,
    threads: int,
    batch: int,
) -> int:
    """Measure the layers of the profile's network, or write what another device measures."""
    workspace = checked(params, overrides, name)
    from eyas.cli.profile_report import profile_space
    from tasks.profiled_network import profiled_space

    space, cache = profiled_space(workspace), ROOT / ".eyas" / "latency"
    how = {"runtime": runtime, "threads": threads, "batch": batch}
    print(profile_space(space, cache=cache, out=out, plan=plan, **how))
    return 0


def ui(mlflow_port: int, prefect_port: int) -> int:
    """Serve MLflow's and Prefect's pages until Ctrl-C."""
    from eyas.operations.servers.pages import serve_pages

    return serve_pages(ROOT, mlflow_port, prefect_port)


def checked_or_told(
    command: str,
    params: Path | None,
    overrides: Sequence[str],
    name: str | None,
    look: "Callable[[Workspace], Workspace] | None" = None,
) -> "Workspace":
    """What nobody watches tells of its wrong parameters, or of what ``look`` finds, while Prefect's server comes up."""
    try:
        workspace = checked(params, overrides, name)
        attend = begin_prefect()
        workspace = look(workspace) if look else workspace
        attend(workspace)
    except EyasError as error:
        from flows.notify_hooks import tell_error

        tell_error(command, relative(params), overrides, name, event="failed", message=str(error))
        raise
    return workspace


def _view(command: str, profile: str, *, verbose: bool = False, quiet: bool = False) -> RunView:
    """What shows a command's steps; its log has a file of its own."""
    return RunView(log_file(f"{command}-{profile}"), verbose=verbose, quiet=quiet)


def _look(workspace: "Workspace", overrides: Sequence[str]) -> None:
    """What would stop the run later is told before anything starts."""
    from eyas.config.override import parse_overrides
    from tasks.preflight import look

    look(workspace, parse_overrides(overrides)).require()
