"""The report, rebuilt by the flow from the stages' files, and the table it prints at its end."""

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from eyas.cli.terminal import console_width, echo, wrapped
from eyas.data.comparability import read_comparability
from eyas.operations.fingerprint import OWN
from eyas.operations.lineage import git_state
from eyas.operations.paired_counts import in_points
from eyas.operations.report import (
    Results,
    console_table,
    gist_of,
    read_results,
    remark,
    result_rows,
    verdict_on,
    write_report,
)
from eyas.operations.report.latency_words import latency_doubts
from eyas.operations.tracking import tracking_uri
from eyas.operations.tracking.adaptation_run import parent_of
from eyas.operations.tracking.model_registry import CHAMPION, get_alias
from eyas.storage import redact
from tasks.named_inputs import read_own_code
from tasks.next_command import (
    STEP_INDENT,
    next_command,
    next_lines,
    path_for_command,
    shown_path,
    version_command,
)
from tasks.predict import LAST_RUN
from tasks.prefect_pages import show_result
from tasks.record import log_report, log_result, name_of
from tasks.tracking_store import open_store
from tasks.users_code import folders_of_code, with_python_path
from tasks.workspace import Workspace

if TYPE_CHECKING:
    from rich.console import Console

GOLDEN = Path("export", "bundle", "golden")
"""Under ``artifacts``: images that the bundle brings with their answers."""


@task(task_run_name="report", cache_policy=NO_CACHE, persist_result=False)
def rebuild_report(run_id: str, workspace: Workspace) -> str:
    """Write ``artifacts/report``, upload it to the parent run, show table and verdict in Prefect; returns its path."""
    page, results = build_report(workspace), read_results(workspace.artifacts)
    verdict = verdict_on(results)
    log_report(run_id, workspace, page.parent)
    log_result(run_id, workspace, results)
    for line in verdict.lines:
        get_run_logger().info(line)
    show_result(open_store(workspace), run_id, results, name_of(workspace), gist_of(results, workspace.all_params))
    return str(page)


def build_report(workspace: Workspace) -> Path:
    """The report of what lies in the workspace."""
    params = workspace.all_params
    return write_report(workspace.artifacts, params=params, reproduce=reproduce_lines(workspace))


def reproduce_lines(workspace: Workspace) -> list[str]:
    """Commands that make the same again from a clone."""
    commit, dirty = git_state(workspace.root)
    note = "   # the checkout held further changes" if dirty else ""
    checkout = [f"git checkout {commit}{note}" if commit else "# of which commit is not known: no git was here"]
    code = {OWN: read_own_code(workspace)}
    places = [f"# {workspace.params_file}: the parameters, which must lie there"] if workspace.arguments else []
    files = sorted(name for name in code[OWN] if "." in name)
    places += [f"# {', '.join(files)}: own code, on PYTHONPATH"] if files else []
    command = with_python_path(f".venv/bin/{workspace.command}", folders_of_code(workspace, code))
    return [*checkout, "make setup", *places, command]


def print_summary(
    workspace: Workspace, version: str | None, run_id: str, log: Path | None = None, warnings: Sequence[str] = ()
) -> None:
    """Warnings that went by, the result as one table, what it is worth, what to do next, where to look.

    A terminal gets the short table, and all of it in lines of its width.
    """
    from rich.console import Console

    console = Console(highlight=False)
    results = read_results(workspace.artifacts)
    console.print()
    for warning in warnings:
        print_wrapped(console, f"warning: {warning}", "yellow")
    console.print(console_table(result_rows(results), workspace.title, short=console.is_terminal))
    if remark(results):
        print_wrapped(console, remark(results), "bold")
    for line in latency_doubts(results.latency):
        print_wrapped(console, line)
    print_verdict(console, results, workspace)
    store = open_store(workspace)
    default = store.uri == tracking_uri(workspace.root)
    elsewhere = "" if default else f"MLFLOW_TRACKING_URI={shlex.quote(redact(store.uri))} "
    steps = [*steps_with_result(workspace, version), f"{elsewhere}make ui   (MLflow, run {run_id}, and Prefect)"]
    print_steps(console, steps)
    places = [workspace.artifacts / "report" / "report.html", *([log] if log else [])]
    print_wrapped(console, f"see    {', '.join(map(shown_path, places))}", indent=STEP_INDENT)


def print_quietly(workspace: Workspace) -> None:
    """What the result is worth, in one line."""
    echo(result_line(workspace))


def result_line(workspace: Workspace) -> str:
    """Verdict and gates, and what was measured."""
    results = read_results(workspace.artifacts)
    return f"{gist_of(results, workspace.all_params).head}: {verdict_on(results).comparison}"


def print_json(workspace: Workspace, version: str | None, run_id: str, log: Path) -> None:
    """:func:`json_result` on the standard output."""
    print(json.dumps(json_result(workspace, version, run_id, log), indent=2))  # noqa: T201


def json_result(workspace: Workspace, version: str | None, run_id: str, log: Path) -> dict[str, Any]:
    """One object: the numbers of every stage, what they are worth, and where everything lies."""
    results = read_results(workspace.artifacts)
    verdict = verdict_on(results)
    return {
        "profile": workspace.name,
        "version": version,
        "model": workspace.params.register_.model,
        "run": run_id,
        "tracking": redact(open_store(workspace).uri),
        "success": verdict.success,
        "verdict": verdict.lines,
        "metrics": results.metrics,
        "latency": results.latency,
        "report": str(workspace.artifacts / "report" / "report.html"),
        "log": str(log),
    }


def next_steps(workspace: Workspace, version: str | None, why: str = "") -> list[str]:
    """Commands for whoever has a result: promote it if it is registered, let it answer an image, see what there is.

    Args:
        workspace: where the result lies.
        version: number that it was registered as, if it was.
        why: what is said beside the first command.
    """
    return steps_with_result(workspace, version, why, next_command(workspace, "status"))


def steps_with_result(workspace: Workspace, version: str | None, why: str = "", *others: str) -> list[str]:
    """Those of :func:`next_steps` that are about the result itself, and ``others``."""
    steps = [*try_it(workspace, "--version", version or LAST_RUN), *others]
    if version is None:
        return steps
    if is_champion(workspace, version):
        note = f"version {version} is the champion already"
        return [_noted(step, *(() if number else (why, note))) for number, step in enumerate(steps)]
    return [next_step(workspace, version, why), *steps]


def is_champion(workspace: Workspace, version: str) -> bool:
    """Whether a version of the profile's model is its champion."""
    champion = get_alias(open_store(workspace), workspace.params.register_.model, CHAMPION)
    return champion is not None and champion.number == version


def try_it(workspace: Workspace, *options: str) -> list[str]:
    """The command that lets a network answer an image of the bundle; none where there is no image.

    Without ``options`` the champion answers, which must be there.
    """
    written = next_command if LAST_RUN in options else version_command
    image = next(iter(sorted((workspace.artifacts / GOLDEN).glob("*.png"))), None)
    place = path_for_command(workspace.root, image) if image else ""
    return [written(workspace, "predict", place, *options)] if place else []


def next_step(workspace: Workspace, version: str, why: str = "") -> str:
    """How a registered version is promoted; where gates would refuse it for certain, what is missing.

    ``why`` and what is known of the gates are said beside it.
    """
    command = ("promote", "--version", version)
    store, model = open_store(workspace), workspace.params.register_.model
    comparable = read_comparability(workspace.artifacts / "baseline").comparable
    champion = get_alias(store, model, CHAMPION)
    if champion is not None and parent_of(champion) == (model, version):
        note = f"the champion, version {champion.number}, was adapted from version {version}"
        return _noted(next_command(workspace, "compare", version, CHAMPION), why, note)
    if comparable or (workspace.params.promote.max_drop is None and champion is None):
        return _noted(next_command(workspace, *command), why, _gate_on_drop(workspace))
    return (
        "run on test images that the first weights were not made from (fetch.test): the gates compare no accuracies "
        f"here, and refuse; without such images {next_command(workspace, *command, '--force', 'why it is good enough')}"
    )


def _gate_on_drop(workspace: Workspace) -> str:
    """How the gate on accuracy goes with a verdict that is no success: it asks for the loss as measured."""
    if not (workspace.artifacts / "finetune" / "metrics.json").exists():
        return ""
    verdict, limit = verdict_on(read_results(workspace.artifacts)), workspace.params.promote.max_drop
    if verdict.accuracy not in ("undecided", "lost") or verdict.test is None or limit is None:
        return ""
    if -verdict.test.difference > limit:
        return f"its gate refuses: it allows a loss of {in_points(limit)} at most, promote.max_drop"
    return f"its gate allows a measured loss of {in_points(limit)}"


def _noted(command: str, *notes: str) -> str:
    joined = "; ".join(filter(None, notes))
    return f"{command}   ({joined})" if joined else command


def print_verdict(console: "Console", results: Results, workspace: Workspace) -> None:
    """The gist in colour and what was measured, why gates refuse it, then every remark."""
    verdict, gist = verdict_on(results), gist_of(results, workspace.all_params)
    style = {"held": "green" if verdict.success else "yellow", "lost": "red"}.get(verdict.accuracy, "yellow")
    print_wrapped(console, f"{gist.brief}: {verdict.comparison}", f"bold {'red' if gist.refused else style}")
    if gist.refused:
        print_wrapped(console, f"- {gist.why}")
    for one in verdict.remarks:
        print_wrapped(console, f"- {one.text}")


def print_wrapped(console: "Console", text: str, style: str = "", indent: int = 2) -> None:
    """Text as it is, broken between words where a terminal is too narrow for it."""
    console.print(wrapped(text, console_width(console), indent), soft_wrap=True, style=style, markup=False)


def print_steps(console: "Console", steps: Sequence[str]) -> None:
    """What to type next."""
    for line in next_lines(steps, console_width(console)):
        console.print(line, soft_wrap=True, markup=False)
