"""What a result comes to, in about ten numbers and a page of Markdown: for tracking servers and Prefect's pages."""

import math
from collections.abc import Mapping
from typing import Any

from eyas.operations.report.gist import gist_of
from eyas.operations.report.measured_facts import verdict_on
from eyas.operations.report.result_table import markdown_table, remark, result_rows
from eyas.operations.report.results import Results
from eyas.operations.report.sentences import capitalised


def headline_metrics(results: Results) -> dict[str, float]:
    """The numbers by which runs are compared; without what was not measured or does not compare.

    ``accuracy_drop`` is what the pruned network lost against the dense one, with the ends of its 95 % interval;
    ``macs_ratio`` is a share of the dense network's, ``speedup`` how many times faster than that it is. Of pixels,
    ``mean_iou`` stands in the place of ``accuracy``; without labels ``test_agreement`` with the dense network, and the
    ends of its interval.
    """
    winner, times = results.winner, results.latency["milliseconds"]
    numbers = {
        **_on_test_images(results),
        "macs_ratio": winner.macs / results.dense_cost["macs"],
        "params": winner.params,
        "file_bytes": results.files["model.onnx"]["bytes"],
        "latency_ms": times["model"]["median"],
        "speedup": times["dense"]["median"] / times["model"]["median"],
        "score": winner.score,
        "agreement": results.metrics["export"].get("agreement", math.nan),
    }
    return {name: float(value) for name, value in numbers.items() if math.isfinite(value)}


def _on_test_images(results: Results) -> dict[str, float]:
    task, test = results.test_task, verdict_on(results).test
    dense, pruned = (results.metrics[stage].get(f"test_{task.measure}", math.nan) for stage in ("baseline", "finetune"))
    low, high = test.interval() if test else (math.nan, math.nan)
    shares = {f"test_{task.measure}": pruned}
    if not task.labelled:
        return {**shares, "test_agreement_low": 1 + low, "test_agreement_high": min(1 + high, 1.0)}
    drop = -test.difference if test else dense - pruned
    return {
        **shares,
        f"{task.measure}_drop": drop if results.comparability.comparable else math.nan,
        f"{task.measure}_drop_low": -high,
        f"{task.measure}_drop_high": -low,
    }


def result_markdown(results: Results, params: Mapping[str, Any]) -> str:
    """The gist in a line, what was measured, the table, and what is to be remarked."""
    verdict = verdict_on(results)
    remarks = "\n".join(f"- {one.text}" for one in verdict.remarks)
    head = f"**{gist_of(results, params).sentence}.**", f"{capitalised(verdict.comparison)}."
    parts = *head, markdown_table(result_rows(results)), remarks, remark(results)
    return "\n\n".join(filter(None, parts))
