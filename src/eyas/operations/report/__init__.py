"""The report: what the stages left, as one table, pictures and a page; reads files, changes nothing else."""

from eyas.operations.report.gist import Gist, gist_of
from eyas.operations.report.measured_facts import measured_facts, verdict_on
from eyas.operations.report.page import verdict_markdown, write_report
from eyas.operations.report.result_table import ResultRow, console_table, markdown_table, remark, result_rows
from eyas.operations.report.results import LATENCY, LATENCY_BUDGET, Results, read_results

__all__ = [
    "LATENCY",
    "LATENCY_BUDGET",
    "Gist",
    "ResultRow",
    "Results",
    "console_table",
    "gist_of",
    "markdown_table",
    "measured_facts",
    "read_results",
    "remark",
    "result_rows",
    "verdict_markdown",
    "verdict_on",
    "write_report",
]
