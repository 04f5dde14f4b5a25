"""All of ``params.yaml``: read, checked, and explained where it is wrong."""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from eyas.config.adapt_params import AdaptParams
from eyas.config.operation import NotifyParams, RegisterParams, RuntimeParams, ScheduleParams
from eyas.config.override import Override
from eyas.config.parameter_file import read_sections
from eyas.config.plugins import ModuleNames, find_modules_of, import_plugins
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
from eyas.errors import UNKNOWN, ParameterError, fault_words, faults_of, fields_of
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
    adapt: AdaptParams = Field(default_factory=AdaptParams)
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


def import_plugins_of(path: Path) -> None:
    """Import what is installed and what a parameter file names under ``plugins``, whatever else it holds.

    Raises:
        ParameterError: the file cannot be read, or a plugin cannot be imported.
    """
    find_modules_of(path)
    import_plugins(read_sections(path).get("plugins"), str(path))


def parse_params(content: Any, where: str = "params", overrides: Sequence[Override] = ()) -> PipelineParams:
    """Check parameters that were read already; ``where`` names them in the message.

    What one of ``overrides`` set is told as that option's.
    """
    if not isinstance(content, Mapping):
        msg = f"{where} must hold sections ({', '.join(fields_of(PipelineParams))}), not {type(content).__name__}"
        raise ParameterError(msg)
    import_plugins(content.get("plugins"), where)
    try:
        params = PipelineParams.model_validate(content)
        if params.fetch.task.labelled:
            require_test_set(params.fetch, params.baseline)
        else:
            require_no_labels(params.fetch, params.baseline, params.sample, params.score, params.finetune)
    except ValidationError as error:
        raise ParameterError(_told(faults_of(error, content), content, where, overrides)) from error
    except ParameterError as error:
        options = "".join(f", {redact(override.typed)}" for override in overrides)
        raise ParameterError(f"{where}{options}:\n{error}") from error
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


def _told(faults: Sequence[Any], content: Any, where: str, overrides: Sequence[Override]) -> str:
    """A line per fault of pydantic's: first those of options, then those of the file."""
    of_options, of_file = [], []
    for fault in faults:
        loc, reason = fault["loc"], fault_words(fault, PipelineParams, content, show=_redacted)
        place, setting = ".".join(map(str, loc)), [override for override in overrides if override.sets(loc)]
        typed = redact(", ".join(override.typed for override in setting))
        above = all(len(override.place) > len(loc) for override in setting)
        if not setting:
            of_file.append(f"  {place}: {reason}")
        elif all(".".join(override.place) == place for override in setting):
            of_options.append(f"{typed}: {reason}")
        elif above and fault["type"] != UNKNOWN:  # the whole may be at odds without the option, too
            of_options.append(f"{where} with {typed}: {place}: {reason}")
        else:
            of_options.append(f"{typed}: {place}: {reason}")
    return "\n".join([*of_options, *([f"{where}:", *of_file] if of_file else [])])


def _redacted(value: Any) -> str:
    return redact(repr(value))
