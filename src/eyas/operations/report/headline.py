"""What a result comes to, in about ten numbers and a page of Markdown: for tracking servers and Prefect's pages."""

import math

from eyas.operations.report.measured_facts import verdict_on
from eyas.operations.report.result_table import markdown_table, remark, result_rows
from eyas.operations.report.results import Results


def headline_metrics(results: Results) -> dict[str, float]:
    """The numbers by which runs are compared; without what was not measured or does not compare.

    ``accuracy_drop`` is what the pruned network lost against the dense one, with the ends of its 95 % interval;
    ``macs_ratio`` is a share of the dense network's, ``speedup`` how many times faster than that it is. Of pixels,
    ``mean_iou`` stands in the place of ``accuracy``.
    """
    measure, winner = results.task.measure, results.winner
    dense, pruned = (results.metrics[stage][f"test_{measure}"] for stage in ("baseline", "finetune"))
    times, test = results.latency["milliseconds"], verdict_on(results).test
    low, high = test.interval() if test else (math.nan, math.nan)
    drop = -test.difference if test else dense - pruned
    numbers = {
        f"test_{measure}": pruned,
        f"{measure}_drop": drop if results.comparability.comparable else math.nan,
        f"{measure}_drop_low": -high,
        f"{measure}_drop_high": -low,
        "macs_ratio": winner.macs / results.dense_cost["macs"],
        "params": winner.params,
        "file_bytes": results.files["model.onnx"]["bytes"],
        "latency_ms": times["model"]["median"],
        "speedup": times["dense"]["median"] / times["model"]["median"],
        "score": winner.score,
        "agreement": results.metrics["export"].get("agreement", math.nan),
    }
    return {name: float(value) for name, value in numbers.items() if math.isfinite(value)}


def result_markdown(results: Results) -> str:
    """The verdict in a line, the table, and what is to be remarked."""
    verdict = verdict_on(results)
    remarks = "\n".join(f"- {one.text}" for one in verdict.remarks)
    parts = f"**{verdict.headline}.**", markdown_table(result_rows(results)), remarks, remark(results)
    return "\n\n".join(filter(None, parts))
