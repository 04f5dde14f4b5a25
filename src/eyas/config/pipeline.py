"""All of ``params.yaml``: read, checked, and explained where it is wrong."""

import os
import re
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, Field, ValidationError

from eyas.component import Component
from eyas.config.operation import NotifyParams, RegisterParams, RuntimeParams, ScheduleParams
from eyas.config.safe_yaml import load_yaml
from eyas.config.section import Section
from eyas.config.stages import (
    BaselineParams,
    ExportParams,
    FetchParams,
    FinetuneParams,
    SampleParams,
    ScoreParams,
)
from eyas.config.test_set import require_test_set
from eyas.errors import ParameterError
from eyas.operations.promote_params import PromoteParams
from eyas.storage import redact


class PipelineParams(Section):
    """All of ``params.yaml``."""

    fetch: FetchParams = FetchParams()
    baseline: BaselineParams = Field(default_factory=BaselineParams)
    sample: SampleParams = Field(default_factory=SampleParams)
    score: ScoreParams = Field(default_factory=ScoreParams)
    finetune: FinetuneParams = Field(default_factory=FinetuneParams)
    export: ExportParams = Field(default_factory=ExportParams)
    register_: RegisterParams = Field(default=RegisterParams(), alias="register")
    promote: PromoteParams = PromoteParams()
    schedule: ScheduleParams = ScheduleParams()
    notify: NotifyParams = NotifyParams()
    runtime: RuntimeParams = RuntimeParams()

    @property
    def output(self) -> int | str | None:
        """The chosen one of several outputs."""
        return self.score.output if self.baseline.output is None else self.baseline.output


def load_params(path: Path | str = "params.yaml", *, runtime: Mapping[str, Any] | None = None) -> PipelineParams:
    """Read and check ``params.yaml``; ``runtime`` overrides fields of that section.

    Raises:
        ParameterError: the file is missing, is no YAML, or a field is unknown, mistyped or out of range; the
            message names section, field, value and what is allowed.
    """
    path = Path(path)
    content = read_sections(path)
    if runtime:
        content["runtime"] = {**(content.get("runtime") or {}), **runtime}
    return parse_params(content, str(path))


def read_sections(path: Path) -> dict[str, Any]:
    """A parameter file as it stands, unchecked but for its form.

    Raises:
        ParameterError: the file is missing, is no YAML, or does not hold sections.
    """
    try:
        content = load_yaml(path.read_text(), str(path)) or {}
    except FileNotFoundError as error:
        msg = f"{path} does not exist: give --params FILE, or start in a checkout that holds params.yaml"
        raise ParameterError(msg) from error
    except (OSError, UnicodeDecodeError) as error:
        msg = f"{path} cannot be read: {error}"
        raise ParameterError(msg) from error
    if not isinstance(content, dict):
        msg = f"{path} must hold sections ({', '.join(_sections())}), not {type(content).__name__}"
        raise ParameterError(msg)
    return content


def parse_params(content: Any, where: str = "params") -> PipelineParams:
    """Check parameters that were read already; ``where`` names them in the message."""
    if not isinstance(content, Mapping):
        msg = f"{where} must hold sections ({', '.join(_sections())}), not {type(content).__name__}"
        raise ParameterError(msg)
    try:
        params = PipelineParams.model_validate(content)
        require_test_set(params.fetch, params.baseline)
    except ValidationError as error:
        lines = [_explain(fault, content) for fault in error.errors()]
        raise ParameterError("\n".join([f"{where}:", *lines])) from error
    except ParameterError as error:
        raise ParameterError(f"{where}:\n{error}") from error
    return params


def expand(address: str) -> str:
    """``$NAME`` and ``~`` replaced in an address.

    Raises:
        ParameterError: the environment does not hold the name, or holds it empty.
    """
    empty = [name for name in re.findall(r"\$\{?(\w+)", address) if os.environ.get(name, name) == ""]
    if empty:
        msg = f"{address}: {empty[0]} is empty in the environment: set it, or write the address out"
        raise ParameterError(msg)
    expanded = os.path.expanduser(os.path.expandvars(address))
    if "$" in expanded:
        msg = f"{address}: the environment does not set the variable named there"
        raise ParameterError(msg)
    return expanded


def _sections() -> list[str]:
    return [field.alias or name for name, field in PipelineParams.model_fields.items()]


def _explain(fault: Any, content: Any) -> str:
    """One pydantic error as a line: section.field, what was given, what is allowed."""
    place = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        allowed = _allowed_names(fault["loc"][:-1], content)
        near = get_close_matches(str(fault["loc"][-1]), re.findall(r"\w+", allowed), n=1)
        return f"  {place}: no such parameter{f', did you mean {near[0]}?' if near else ';'} {allowed}"
    reason = fault["msg"].removeprefix("Value error, ")
    if fault["type"] == "model_type":
        reason = f"expected fields, as in {place}: {{field: value}}; {_allowed_names(fault['loc'], content)}"
    return f"  {place}: {reason}; given: {redact(repr(fault['input']))}"


def _allowed_names(loc: tuple[str | int, ...], content: Any) -> str:
    """The field names allowed at ``loc``, as a phrase; of a component, those of the kind that was given."""
    if not loc:
        return f"sections are {', '.join(_sections())}"
    fields: Any = {field.alias or name: field for name, field in PipelineParams.model_fields.items()}
    for name in loc:
        field = fields.get(str(name))
        content = content.get(name) if isinstance(content, Mapping) else None
        fields = getattr(_model_of(field.annotation, content), "model_fields", {}) if field else {}
    return f"{'.'.join(map(str, loc))} knows {', '.join(fields)}" if fields else "see src/eyas/config/"


def _model_of(annotation: Any, content: Any) -> Any:
    """The class behind a field: a section, or the member of a family whose kind ``content`` names."""
    classes = [candidate for candidate in (annotation, *get_args(annotation)) if isinstance(candidate, type)]
    for candidate in classes:
        if issubclass(candidate, Component) and isinstance(content, Mapping):
            return candidate.registry.get(str(content.get("kind")), candidate)
    return next((candidate for candidate in classes if issubclass(candidate, BaseModel)), annotation)
