"""The report, rebuilt by the flow from the stages' files, and the table it prints at its end."""

import logging
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from prefect import get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from eyas.data.comparability import read_comparability
from eyas.operations.fingerprint import OWN
from eyas.operations.lineage import git_state
from eyas.operations.report import (
    console_table,
    markdown_table,
    read_results,
    remark,
    result_rows,
    verdict_markdown,
    verdict_on,
    write_report,
)
from eyas.operations.tracking import tracking_uri
from eyas.operations.tracking.model_registry import CHAMPION, get_alias
from eyas.operations.verdict import Verdict
from eyas.storage import redact
from tasks.named_inputs import read_own_code
from tasks.next_command import next_command
from tasks.record import log_report, log_verdict, open_store
from tasks.users_code import folders_of_code, with_python_path
from tasks.workspace import Workspace

if TYPE_CHECKING:
    from rich.console import Console


@task(task_run_name="report", cache_policy=NO_CACHE, persist_result=False)
def rebuild_report(run_id: str, workspace: Workspace) -> str:
    """Write ``artifacts/report``, upload it to the parent run, show table and verdict in Prefect; returns its path."""
    page, results = build_report(workspace), read_results(workspace.artifacts)
    verdict = verdict_on(results)
    log_report(run_id, workspace, page.parent)
    log_verdict(run_id, workspace, verdict)
    for line in verdict.lines:
        get_run_logger().log(logging.INFO if verdict.success else logging.WARNING, line)
    text = "\n\n".join(filter(None, (verdict_markdown(verdict), markdown_table(result_rows(results)), remark(results))))
    create_markdown_artifact(text, key="result", description=f"{workspace.name}: dense against pruned")
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


def print_summary(workspace: Workspace, version: str | None, run_id: str) -> None:
    """The result as one table, and where to look further."""
    from rich.console import Console

    console = Console(highlight=False)
    console.print(f"\n{workspace.name}", soft_wrap=True, markup=False, style="bold")
    results = read_results(workspace.artifacts)
    console.print(console_table(result_rows(results)))
    if remark(results):
        console.print(f"{remark(results)}\n", soft_wrap=True, markup=False, style="bold")
    print_verdict(console, verdict_on(results))
    name = workspace.params.register_.model
    if version is not None:
        console.print(f"registered  {name} version {version}, alias 'candidate'", markup=False)
        console.print(f"next:       {next_step(workspace, version)}", soft_wrap=True, markup=False)
    console.print(f"report      {workspace.artifacts / 'report' / 'report.md'}", soft_wrap=True, markup=False)
    store = open_store(workspace)
    console.print(f"MLflow      run {run_id} in {redact(store.uri)}", soft_wrap=True, markup=False)
    default = store.uri == tracking_uri(workspace.root)
    elsewhere = "" if default else f"MLFLOW_TRACKING_URI={shlex.quote(redact(store.uri))} "
    console.print(f"pages       {elsewhere}make ui   (MLflow and Prefect)", soft_wrap=True, markup=False)


def next_step(workspace: Workspace, version: str) -> str:
    """How a registered version is promoted; where the gates would refuse it for certain, what is missing."""
    command = ("promote", "--version", version)
    comparable = read_comparability(workspace.artifacts / "baseline").comparable
    champion = get_alias(open_store(workspace), workspace.params.register_.model, CHAMPION)
    if comparable or (workspace.params.promote.max_drop is None and champion is None):
        return next_command(workspace, *command)
    return (
        "run on test images that the first weights were not made from (fetch.test): the gates compare no accuracies "
        f"here, and refuse; without such images {next_command(workspace, *command, '--force', 'why it is good enough')}"
    )


def print_verdict(console: "Console", verdict: Verdict) -> None:
    """The headline in colour, then every remark, as a terminal shows them."""
    style = {"held": "green" if verdict.success else "yellow", "lost": "red"}.get(verdict.accuracy, "yellow")
    console.print(verdict.headline, soft_wrap=True, style=f"bold {style}", markup=False)
    for one in verdict.remarks:
        console.print(f"- {one.text}", soft_wrap=True, markup=False)
    console.print()
