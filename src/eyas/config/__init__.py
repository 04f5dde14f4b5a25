"""What ``params.yaml`` may hold: one frozen class per section.

A stage reads its own section (and those DVC lists for it); ``runtime`` says how work is done and never what
comes out of it, so DVC does not look at it. Each part imports on first use: names and form of parameters
(:mod:`eyas.config.first_look`) are checked before the classes.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from eyas.config.adapt_params import AdaptParams
    from eyas.config.budget_params import BudgetParams
    from eyas.config.operation import NotifyParams, RegisterParams, RuntimeParams, ScheduleParams
    from eyas.config.overrides import apply_overrides
    from eyas.config.parameter_file import read_sections
    from eyas.config.pipeline import PipelineParams, expand, load_params, parse_params
    from eyas.config.section import Section
    from eyas.config.stages import (
        BaselineParams,
        ExportParams,
        FetchParams,
        FinetuneParams,
        SampleParams,
        ScoreParams,
    )
    from eyas.operations.promote_params import PromoteParams

__all__ = [
    "AdaptParams",
    "BaselineParams",
    "BudgetParams",
    "ExportParams",
    "FetchParams",
    "FinetuneParams",
    "NotifyParams",
    "PipelineParams",
    "PromoteParams",
    "RegisterParams",
    "RuntimeParams",
    "SampleParams",
    "ScheduleParams",
    "ScoreParams",
    "Section",
    "apply_overrides",
    "expand",
    "load_params",
    "parse_params",
    "read_sections",
]

_MODULES = (
    "parameter_file",
    "section",
    "budget_params",
    "stages",
    "operation",
    "adapt_params",
    "pipeline",
    "overrides",
)

# Hidden from type checkers: with it in sight, every misspelt name would be taken for Any.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        """Import a public name on first use (PEP 562)."""
        if name in __all__:
            for module in _MODULES:
                names = vars(importlib.import_module(f"{__name__}.{module}"))
                if name in names:
                    return names[name]
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
