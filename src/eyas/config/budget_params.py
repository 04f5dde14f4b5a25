"""``sample.budget``: what a candidate may cost."""

from typing import Annotated, Any, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from eyas.config.section import Section
from eyas.sampling.budget_limits import LIMITS, limit_problem, not_a_number

PERCENT = 100
"""Counts up to it are shares that were written in percent."""


class BudgetParams(Section):
    """What a candidate may cost: one limit, or several, of which it meets one and keeps within the others.

    A number below 1 is a share of the dense cost, a larger one absolute; milliseconds are always absolute.
    """

    macs: Annotated[float, Field(gt=0)] | None = None
    """Multiply-adds per image."""
    params: Annotated[float, Field(gt=0)] | None = None
    """Number of parameters."""
    activation_bytes: Annotated[float, Field(gt=0)] | None = None
    """Memory of all activations of one image in float32."""
    file_bytes: Annotated[float, Field(gt=0)] | None = None
    """Size of the exported float32 ONNX file, as predicted from the parameters."""
    latency_ms: Annotated[float, Field(gt=0)] | None = None
    """Milliseconds per run on the device, in the runtime, threads and batch of ``sample.latency_profile``."""
    latency: Annotated[float, Field(gt=0)] | None = None
    """The same as a share of the dense network's."""

    @field_validator("*", mode="before")
    @classmethod
    def _is_number(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, str):
            try:
                return float(value)
            except ValueError as error:
                raise ValueError(not_a_number(str(info.field_name), value)) from error
        return value

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if not self.limits:
            msg = f"give at least one of {', '.join(LIMITS)}"
            raise ValueError(msg)
        if problem := limit_problem(self.limits):
            raise ValueError(problem)
        for name, value in self.limits.items():
            if value == 1 and name != "latency_ms":
                msg = f"{name} 1 is all that the dense network has: nothing would be pruned; give a share below 1"
                raise ValueError(msg)
            if 1 < value <= PERCENT and not name.startswith("latency"):
                msg = f"{name} {value:g} would be a count, and none so small: for {value:g} % give {value / 100:g}"
                raise ValueError(msg)
        return self

    @property
    def limits(self) -> dict[str, float]:
        """What is limited, by name."""
        return {name: value for name, value in self if value is not None}

    @property
    def limits_latency(self) -> bool:
        """Whether milliseconds are limited, which a latency profile predicts."""
        return self.latency is not None or self.latency_ms is not None
