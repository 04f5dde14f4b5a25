"""The report: what the stages left, as one table, pictures and a page; reads files, changes nothing else."""

from eyas.operations.report.page import write_report
from eyas.operations.report.result_table import ResultRow, console_table, markdown_table, result_rows
from eyas.operations.report.results import LATENCY, Results, read_results

__all__ = [
    "LATENCY",
    "ResultRow",
    "Results",
    "console_table",
    "markdown_table",
    "read_results",
    "result_rows",
    "write_report",
]
