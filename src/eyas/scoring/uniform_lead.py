"""The winner beside the candidate of uniform widths: both on the images that the winner was judged on last."""

from dataclasses import replace

import numpy as np

from eyas.scoring.race.race import Executor, RaceResult
from eyas.scoring.race.score_table import ScoreTable


def with_uniform(table: ScoreTable, uniform: int | None, result: RaceResult, executor: Executor) -> ScoreTable:
    """The table with ``uniform`` among its diagnostics: that candidate's row, and the winner's lead over it.

    The lead is the mean difference of the two scores of each image, with its standard error. Where the uniform
    candidate left the race early it is measured once more, on the winner's last rung.

    Args:
        table: of the race.
        uniform: the candidate of uniform widths; None where there is none.
        result: how the race ended.
        executor: who measured.
    """
    if uniform is None:
        return table
    columns = ("score", "accuracy", "rung", "rank")
    row = {"candidate": uniform, **{name: getattr(table, name)[uniform].item() for name in columns}}
    if result.spec.original[uniform] != table.winner:
        row |= _lead(table.winner, int(result.spec.original[uniform]), result, executor)
    return replace(table, diagnostics=table.diagnostics | {"uniform": row})


def _lead(winner: int, uniform: int, result: RaceResult, executor: Executor) -> dict[str, float | int]:
    """Mean and standard error of the winner's score less the uniform candidate's; NaN where one is not finite."""
    spec, finalists = result.spec, result.finalists
    rung = spec.rungs[result.standings.rung[winner]]
    missing = [candidate for candidate in (winner, uniform) if finalists.image_scores(candidate) is None]
    scores = {candidate: m.image_scores for candidate, m in executor.measure(rung, spec.batch_size, missing)}
    one, other = (
        np.asarray(scores.get(candidate, finalists.image_scores(candidate)), np.float64)
        for candidate in (winner, uniform)
    )
    gaps_N = one - other
    error = gaps_N.std(ddof=1) / np.sqrt(len(gaps_N))
    return {"lead": float(gaps_N.mean()), "lead_error": float(error), "lead_images": len(gaps_N)}
