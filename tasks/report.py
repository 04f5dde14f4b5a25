"""The report, rebuilt by the flow from the stages' files, and the table it prints at its end."""

from pathlib import Path

from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from eyas.operations.lineage import git_state
from eyas.operations.report import console_table, markdown_table, read_results, result_rows, write_report
from tasks.record import log_report, open_store
from tasks.workspace import Workspace


@task(task_run_name="report", cache_policy=NO_CACHE, persist_result=False)
def rebuild_report(run_id: str, workspace: Workspace) -> str:
    """Write ``artifacts/report``, upload it to the parent run, show its table in Prefect; returns its path."""
    page = build_report(workspace)
    log_report(run_id, workspace, page.parent)
    table = markdown_table(result_rows(read_results(workspace.artifacts)))
    create_markdown_artifact(table, key="result", description=f"{workspace.name}: dense against pruned")
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
    return [*checkout, "make setup", f".venv/bin/{workspace.command}"]


def print_summary(workspace: Workspace, version: str | None, run_id: str) -> None:
    """The result as one table, and where to look further."""
    from rich.console import Console

    console = Console(highlight=False)
    console.print(f"\n{workspace.name}", soft_wrap=True, markup=False, style="bold")
    console.print(console_table(result_rows(read_results(workspace.artifacts))))
    name = workspace.params.register_.model
    if version is not None:
        console.print(f"registered  {name} version {version}, alias 'candidate'", markup=False)
    console.print(f"report      {workspace.artifacts / 'report' / 'report.md'}", soft_wrap=True, markup=False)
    console.print(f"MLflow      run {run_id} in {open_store(workspace).uri}", soft_wrap=True, markup=False)
    console.print("pages       make ui   (MLflow and Prefect)")
