"""All of ``params.yaml``: read, checked, and explained where it is wrong."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from eyas.component import nearest
from eyas.config.fields import fields_of, model_at
from eyas.config.operation import NotifyParams, RegisterParams, RuntimeParams, ScheduleParams
from eyas.config.plugins import ModuleNames, find_modules_of, import_plugins
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
from eyas.config.without_labels import require_no_labels
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
    plugins: ModuleNames = ()
    """Modules, or packages of modules, that define further members of families, as in ``[my_package.pruning]``: from
    the folder of the parameter file, or from anywhere that Python looks."""

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
    find_modules_of(path)
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


def import_plugins_of(path: Path) -> None:
    """Import what is installed and what a parameter file names under ``plugins``, whatever else it holds.

    Raises:
        ParameterError: the file cannot be read, or a plugin cannot be imported.
    """
    find_modules_of(path)
    import_plugins(read_sections(path).get("plugins"), str(path))


def parse_params(content: Any, where: str = "params") -> PipelineParams:
    """Check parameters that were read already; ``where`` names them in the message."""
    if not isinstance(content, Mapping):
        msg = f"{where} must hold sections ({', '.join(_sections())}), not {type(content).__name__}"
        raise ParameterError(msg)
    import_plugins(content.get("plugins"), where)
    try:
        params = PipelineParams.model_validate(content)
        if params.fetch.task.labelled:
            require_test_set(params.fetch, params.baseline)
        else:
            require_no_labels(params.fetch, params.baseline, params.score, params.finetune)
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
    return list(fields_of(PipelineParams))


def _explain(fault: Any, content: Any) -> str:
    """One pydantic error as a line: section.field, what was given, what is allowed."""
    place = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        *above, name = fault["loc"]
        near = nearest(name, fields_of(model_at(PipelineParams, above, content)))
        return f"  {place}: no such parameter{near}; {_allowed_names(tuple(above), content)}"
    reason = fault["msg"].removeprefix("Value error, ")
    if fault["type"] == "model_type":
        reason = f"expected fields, as in {place}: {{field: value}}; {_allowed_names(fault['loc'], content)}"
    return f"  {place}: {reason}; given: {redact(repr(fault['input']))}"


def _allowed_names(loc: tuple[str | int, ...], content: Any) -> str:
    """The field names allowed at ``loc``, as a phrase; of a component, those of the kind that was given."""
    names = list(fields_of(model_at(PipelineParams, loc, content)))
    if not loc:
        return f"sections are {', '.join(names)}"
    return f"{'.'.join(map(str, loc))} knows {', '.join(names)}" if names else "see src/eyas/config/"
