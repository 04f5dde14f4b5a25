"""The result on Prefect's pages: a table, and links to what MLflow keeps of the run."""

from collections.abc import Callable
from typing import Any

from prefect import get_run_logger
from prefect.artifacts import create_link_artifact, create_table_artifact

from eyas.operations.report import Gist, Results, remark, result_rows, verdict_markdown, verdict_on
from eyas.operations.tracking import MlflowStore
from eyas.operations.tracking.run_pages import report_page, run_page
from eyas.storage import redact


def show_result(store: MlflowStore, run_id: str, results: Results, title: str, gist: Gist) -> None:
    """A table of dense against pruned under gist and verdict, and where to look further.

    What Prefect does not take is left out, with a warning: the result is made and lies in its files.
    """
    rows = [
        {title: row.name, "dense": row.dense, "pruned": row.pruned, "change": row.change}
        for row in result_rows(results)
    ]
    words = "\n\n".join(filter(None, (verdict_markdown(verdict_on(results), gist), remark(results))))
    _show(create_table_artifact, table=rows, key="result", description=words)
    links = {"mlflow-run": ("MLflow's page of this run", run_page(store, run_id))}
    if report := report_page(store, run_id):
        links["report"] = ("the report", report)
    for key, (text, link) in links.items():
        needs = "" if store.uri.startswith("http") else "\n\n`make ui` serves it."
        _show(
            create_link_artifact,
            link=link,
            link_text=f"{title}: {text}",
            key=key,
            description=f"[{text}]({link}){needs}",
        )


def _show(create: Callable[..., Any], **content: Any) -> None:
    try:
        create(**content)
    except Exception as error:
        reason = redact(str(error).strip().split("\n", 1)[0])
        get_run_logger().warning("Prefect does not show the %s: %s", content["key"], reason)
