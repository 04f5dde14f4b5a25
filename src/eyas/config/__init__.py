"""What ``params.yaml`` may hold: one frozen class per section.

A stage reads its own section (and those DVC lists for it); ``runtime`` says how work is done and never what
comes out of it, so DVC does not look at it.
"""

from eyas.config.budget_params import BudgetParams
from eyas.config.operation import NotifyParams, RegisterParams, RuntimeParams, ScheduleParams
from eyas.config.overrides import apply_overrides
from eyas.config.pipeline import PipelineParams, expand, load_params, parse_params, read_sections
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
