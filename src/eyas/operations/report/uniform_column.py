"""The result table's third column: what is known of uniform widths of the same cost."""

from eyas.operations.report.charts import finetuned
from eyas.operations.report.result_table import MACS, PARAMS, count, percent, score_name, signed
from eyas.operations.report.results import Results


def uniform_cells(results: Results) -> dict[str, str]:
    """Cells by the name of their row; empty where there is nothing to hold the winner against."""
    uniform = results.uniform
    if uniform is None or uniform == results.winner:
        return {}
    accuracy = finetuned(results, uniform)
    return {
        f"test {results.test_task.words}": "not fine-tuned" if accuracy is None else percent(accuracy),
        MACS: count(uniform.macs),
        PARAMS: count(uniform.params),
        score_name(results): signed(uniform.score),
    }


def uniform_note(results: Results) -> str:
    """Why there is no such column, or why it is short; then where its answers lie beside the winner's."""
    uniform = results.uniform
    if uniform is None:
        return "Uniform widths were not raced, so nothing is known of them."
    if uniform == results.winner:
        return "The winner keeps uniform widths: there is nothing else to hold it against."
    if finetuned(results, uniform) is None:
        return (
            "Uniform widths of the same cost were scored and not fine-tuned, so their accuracy is not known: set "
            "`finetune.compare_uniform` to measure it."
        )
    return "Uniform widths of the same cost were fine-tuned alike; they are not exported, so size and time are unknown."
