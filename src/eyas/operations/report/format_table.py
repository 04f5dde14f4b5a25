"""Every exported file as it was measured, and the one that the device should get."""

from eyas.operations.report.results import Results


def format_table(results: Results) -> str:
    """A table and sentences, as Markdown; empty where float32 ONNX is the only format."""
    latency = results.latency
    recommended = latency.get("recommended", {})
    missing = latency.get("not_measured", {})
    if not recommended.get("others") and not missing:
        return ""
    lines = ["| file | median | 95th percentile |", "| --- | ---: | ---: |"]
    lines += [
        f"| {name} | {times['median']:.3g} ms | {times['p95']:.3g} ms |"
        for name, times in latency["milliseconds"].items()
    ]
    if recommended:
        lines += ["", f"**Recommended for this device: {recommended['name']}**: {recommended['reason']}."]
        lines += [f"- {name}: {words}." for name, words in recommended["others"].items()]
    lines += [f"- {name} was not measured: {reason}." for name, reason in missing.items()]
    return "\n".join(lines)
