"""Look before a run: everything that would stop it later, all at once, each fault with the field that it is about.

What costs no time is looked at before every run; ``eyas run --check`` also builds and traces the network, loads the
checkpoint into it, tries the exporters, and asks the places and servers that are named.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from eyas.config import PipelineParams, apply_overrides, read_sections
from eyas.config.override import Override, parse_overrides
from eyas.errors import EyasError, ParameterError
from eyas.operations.few_images import settings_for_few, too_few_to_compare
from tasks import preflight_names, preflight_places
from tasks.preflight_data import count_training_images
from tasks.workspace import Workspace, open_workspace

Check = Callable[[PipelineParams, Path, Path], None]
"""``(params, checkout, artifacts)``; raises an error that explains itself, relative paths start at the checkout."""

QUICK: Mapping[str, Check] = {
    "fetch.train": preflight_places.check_train,
    "fetch.test": preflight_places.check_test,
    "baseline.architecture": preflight_names.check_factory,
    "baseline.checkpoint": preflight_places.check_checkpoint,
    "baseline.recipe": preflight_names.check_dense_recipe,
    "finetune.recipe": preflight_names.check_recipe,
    "export.exporters": preflight_names.check_exporters,
    "runtime.device": preflight_names.check_device,
    "runtime.cluster": preflight_names.check_cluster,
    "runtime.processes": preflight_names.check_shared_batches,
    "runtime.state": preflight_places.check_state,
    "disk": preflight_places.check_writable,
}
"""By what a fault is told under."""
SLOW: Mapping[str, Check] = {
    "fetch.train": preflight_places.check_remote_train,
    "fetch.test": preflight_places.check_remote_test,
    "baseline.checkpoint": preflight_places.check_remote_checkpoint,
    "runtime.tracking_uri": preflight_places.check_mlflow,
    "PREFECT_API_URL": preflight_places.check_prefect,
    "disk": preflight_places.check_space,
}
LOOKED_AT = "parameters, data, checkpoint, packages, device, disk, servers"
NETWORK = "network, budget and export"


@dataclass(frozen=True)
class Preflight:
    """What a look came to."""

    profile: str
    faults: tuple[str, ...]
    """Each with its field."""
    skipped: tuple[str, ...] = ()
    """What could not be looked at yet, and why."""
    advice: tuple[str, ...] = ()
    """What is worth setting, although nothing would stop the run."""

    def require(self) -> None:
        """Refuse the run, with every fault.

        Raises:
            ParameterError: there are faults.
        """
        if self.faults:
            lines = [f"  {line}" for fault in (*self.faults, *self._not_yet()) for line in fault.splitlines()]
            raise ParameterError("\n".join([f"{self.profile} cannot run:", *lines]))

    def line(self) -> str:
        """What was looked at, where there are no faults; then, a line each, what is worth setting."""
        seen = LOOKED_AT if self.skipped else f"{LOOKED_AT}, {NETWORK}"
        can_run = "; ".join([f"{self.profile} can run: looked at {seen}", *self._not_yet()])
        return "\n".join([can_run, *(f"advice: {one}" for one in self.advice)])

    def _not_yet(self) -> list[str]:
        return [f"not looked at yet: {what}" for what in self.skipped]


def look(workspace: Workspace, overrides: Sequence[Override] = ()) -> Preflight:
    """The quick checks, as before every run; a fault names the one of ``overrides`` that brought it."""
    faults = _faults(QUICK, workspace.params, workspace.root, workspace.artifacts)
    return Preflight(workspace.name, tuple(_with_option(fault, overrides) for fault in faults))


def look_closely(root: Path, params_file: Path, overrides: Sequence[str], name: str | None = None) -> Preflight:
    """Every check; where parameters are wrong, those of the sections that are right."""
    faults: list[str] = []
    try:
        workspace = open_workspace(root, params_file, overrides, name=name)
    except ParameterError as error:
        faults.append(str(error))
        workspace = Workspace(root, root, params_file.name, _right_sections(params_file, overrides))
    place = (workspace.params, root, workspace.artifacts)
    faults += dict.fromkeys([*_faults(QUICK, *place), *_faults(SLOW, *place)])
    if faults:
        told = tuple(_with_option(fault, _parsed(overrides)) for fault in faults)
        return Preflight(workspace.name, told, (f"{NETWORK}, for which the rest must be right",))
    from tasks.preflight_network import look_at_network  # which needs torch; what is told above must not wait for it

    network = look_at_network(*place)
    advice = () if network.faults else tuple(_advice_for_few(workspace))
    return Preflight(workspace.name, tuple(network.faults), tuple(network.skipped), advice)


def _advice_for_few(workspace: Workspace) -> Iterator[str]:
    params = workspace.params
    fetch, scorer = params.fetch, params.score.scorer
    images = count_training_images(params, workspace.root)
    if images is None:
        return
    images = images if fetch.max_images is None else min(images, fetch.max_images)
    for setting in settings_for_few(
        images,
        calibration_fraction=fetch.calibration_fraction,
        score_fraction=fetch.score_fraction,
        scorer=scorer.kind if scorer else None,
        labelled=fetch.task.kind == "classification",
        refit=bool(params.finetune.recovery) or any(rung.steps is not None for rung in params.score.rungs),
    ):
        yield setting.text
    few = too_few_to_compare(images, fetch.score_fraction, params.adapt.source_images)
    if few:
        yield few


def _faults(checks: Mapping[str, Check], params: PipelineParams, root: Path, artifacts: Path) -> Iterator[str]:
    for field, check in checks.items():
        try:
            check(params, root, artifacts)
        except EyasError as error:
            yield f"{field}: {str(error).removeprefix(f'{field}: ')}"


def _with_option(fault: str, overrides: Sequence[Override]) -> str:
    """A fault of a field that an option set is told as that option's."""
    field, colon, reason = fault.partition(": ")
    typed = next((one.typed for one in reversed(overrides) if ".".join(one.place) == field), None)
    return f"{typed}{colon}{reason}" if typed else fault


def _parsed(overrides: Sequence[str]) -> list[Override]:
    try:
        return parse_overrides(overrides)
    except ParameterError:  # told already, as a fault of its own
        return []


def _right_sections(params_file: Path, overrides: Sequence[str]) -> PipelineParams:
    """The parameters, with the defaults of each section that is wrong."""
    try:
        content = apply_overrides(read_sections(params_file), overrides)
    except ParameterError:
        return PipelineParams()
    return PipelineParams.model_validate({name: part for name, part in content.items() if _is_right(name, part)})


def _is_right(name: str, section: Any) -> bool:
    try:
        PipelineParams.model_validate({name: section})
    except ValidationError:
        return False
    return True
