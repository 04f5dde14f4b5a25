"""The AdaBN scoring engine: batch-norm statistics re-estimated, candidates judged, in rungs."""

from typing import TYPE_CHECKING

from eyas.component import import_on_use

if TYPE_CHECKING:
    from eyas.scoring.candidates import GrowingPlans, WidthPlans
    from eyas.scoring.race.rungs import DEFAULT_RUNGS, REFITTED_RUNGS, TRAINING_RUNGS, Rung
    from eyas.scoring.race.score_table import ScoreTable
    from eyas.scoring.score_options import ScoreOptions
    from eyas.scoring.score_plans import score

__all__ = [
    "DEFAULT_RUNGS",
    "REFITTED_RUNGS",
    "TRAINING_RUNGS",
    "GrowingPlans",
    "Rung",
    "ScoreOptions",
    "ScoreTable",
    "WidthPlans",
    "score",
]

# Hidden from type checkers: with it in sight, every misspelt name would be taken for Any.
if not TYPE_CHECKING:
    __getattr__ = import_on_use(
        __name__,
        {
            "DEFAULT_RUNGS": "eyas.scoring.race.rungs",
            "GrowingPlans": "eyas.scoring.candidates",
            "REFITTED_RUNGS": "eyas.scoring.race.rungs",
            "Rung": "eyas.scoring.race.rungs",
            "ScoreOptions": "eyas.scoring.score_options",
            "ScoreTable": "eyas.scoring.race.score_table",
            "TRAINING_RUNGS": "eyas.scoring.race.rungs",
            "WidthPlans": "eyas.scoring.candidates",
            "score": "eyas.scoring.score_plans",
        },
    )
