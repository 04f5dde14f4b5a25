"""What ``params.yaml`` may hold: one frozen class per section.

A stage reads its own section (and those DVC lists for it); ``runtime`` says how work is done and never what
comes out of it, so DVC does not look at it.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from eyas.calibrators import AnyCalibrator, Calibrator
from eyas.criteria import AnyCriterion, Criterion
from eyas.errors import ParameterError
from eyas.exporters import AnyExporter, Exporter
from eyas.gates import PromoteParams
from eyas.recipes import AnyRecipe, Recipe
from eyas.samplers import AnySampler, Sampler
from eyas.scorers import AnyScorer, Scorer
from eyas.scoring import DEFAULT_RUNGS, Rung
from eyas.storage.settings import StorageSettings

Fraction = Annotated[float, Field(gt=0, lt=1)]
Count = Annotated[int, Field(ge=1)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{8,64}$")]


class Section(BaseModel):
    """A section of ``params.yaml``: frozen, and closed to fields it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, use_attribute_docstrings=True)


class FetchParams(Section):
    """Where the data comes from, how it is read, and how it is split."""

    train: str = "builtin:digits"
    """``builtin:digits``, a path, ``https://...`` or ``s3://...``; ``$NAME`` is read from the environment."""
    test: str | None = None
    """The given test set; without one, ``test_fraction`` of the training data is set aside."""
    format: Literal["auto", "folder", "parquet", "cifar", "idx"] = "auto"
    """How the files hold their images; ``auto`` looks at them."""
    sha256: dict[str, Sha256] = {}
    """Expected digest (or its first 8 or more digits) by file name."""
    image_column: str | None = None
    """Parquet's image column; without it the only column that holds images."""
    label_column: str | None = None
    """Parquet's label column; without it the only column of integers."""
    image_size: Count = 32
    """Height and width a network sees."""
    resize: Count | None = None
    """Shorter edge before the centre crop to ``image_size``; without it images are resized to it directly."""
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    """Per channel, of pixel values in [0, 1]."""
    std: tuple[Annotated[float, Field(gt=0)], ...] = (0.229, 0.224, 0.225)
    """Per channel, of pixel values in [0, 1]."""
    calibration_fraction: Fraction = 0.1
    """Share of the training data that re-estimates batch-norm statistics."""
    score_fraction: Fraction = 0.15
    """Share of the training data that judges candidates and epochs; never trained on."""
    test_fraction: Fraction = 0.2
    """Share set aside when no test set is given."""
    max_images: Count | None = None
    """Use only so many training images, chosen by content hash; for a quick look."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(self.mean) != len(self.std):
            msg = f"mean has {len(self.mean)} channels and std {len(self.std)}: give one number per channel in both"
            raise ValueError(msg)
        if self.resize is not None and self.resize < self.image_size:
            msg = f"resize {self.resize} must not be smaller than image_size {self.image_size}, which is cut out of it"
            raise ValueError(msg)
        if len(self.mean) not in {1, 3, 4}:
            msg = f"mean and std have {len(self.mean)} numbers; images have 1, 3 or 4 channels"
            raise ValueError(msg)
        taken = self.calibration_fraction + self.score_fraction + (0 if self.test else self.test_fraction)
        if taken >= 1:
            msg = f"calibration, score and test take {taken:.2f} of the data: their sum must stay below 1"
            raise ValueError(msg)
        return self


class BaselineParams(Section):
    """The dense network: what it is and where its weights come from."""

    architecture: str = "resnet8"
    """A name in ``models/``, or ``package.module:factory``."""
    arguments: dict[str, Any] = {}
    """Passed to the factory beside ``num_classes``."""
    checkpoint: str | None = None
    """A path, ``https://...``, ``s3://...`` or ``models:/name@alias``; without one the network is trained."""
    checkpoint_sha256: Sha256 | None = None
    """Expected digest of the checkpoint, or its first 8 or more digits."""
    seen_by_checkpoint: bool = False
    """The checkpoint was trained on all the training data, score and calibration images included."""
    epochs: Count = 15
    """Epochs of training where no checkpoint is given."""
    adapt_epochs: Annotated[int, Field(ge=0)] = 0
    """Epochs of fine-tuning a given checkpoint on this data first; 0 leaves it as it is."""
    recipe: AnyRecipe = Field(default_factory=lambda: Recipe.parse("sgd"))
    """How the dense network is trained or adapted."""
    seed: int = 0


class BudgetParams(Section):
    """What a candidate may cost: a number up to 1 is a share of the dense cost, a larger one absolute."""

    macs: Annotated[float, Field(gt=0)] | None = None
    """Multiply-adds per image."""
    params: Annotated[float, Field(gt=0)] | None = None
    """Number of parameters."""
    activation_bytes: Annotated[float, Field(gt=0)] | None = None
    """Memory of all activations of one image in float32."""

    @model_validator(mode="after")
    def _one_budget(self) -> Self:
        given = [name for name, value in self if value is not None]
        if len(given) != 1:
            msg = f"give exactly one of macs, params, activation_bytes; given: {', '.join(given) or 'none'}"
            raise ValueError(msg)
        return self


class SampleParams(Section):
    """The search space and the candidates drawn from it."""

    budget: BudgetParams = BudgetParams(macs=0.5)
    """What a candidate may cost."""
    tolerance: Annotated[float, Field(gt=0, le=0.2)] = 0.005
    """Half the width of the band around the budget, as a share of the dense cost."""
    candidates: Count = 200
    """How many distinct candidates to draw."""
    sampler: AnySampler = Field(default_factory=lambda: Sampler.parse("budget"))
    """Who proposes them."""
    criterion: AnyCriterion = Field(default_factory=lambda: Criterion.parse("l1_norm"))
    """Which channels of a group are kept."""
    round_to: Count = 1
    """Widths become multiples of this, as the device likes."""
    min_width: Count = 1
    """No group is made smaller than this."""
    ignore: tuple[str, ...] = ()
    """Layer names (shell patterns) or type names whose outputs stay whole."""
    seed: int = 0


class ScoreParams(Section):
    """How candidates are judged."""

    calibrator: AnyCalibrator = Field(default_factory=lambda: Calibrator.parse("pooled"))
    """Who re-estimates batch-norm statistics."""
    scorer: AnyScorer = Field(default_factory=lambda: Scorer.parse("cross_entropy"))
    """What ranks."""
    rungs: Annotated[tuple[Rung, ...], Field(min_length=1)] = DEFAULT_RUNGS
    """The rounds of the race: images per candidate, fused or held out, and how many candidates go on."""
    stop_margin: Annotated[float, Field(gt=0)] = 4.0
    """A leader so many standard errors ahead of the others goes to the last rung alone."""
    calibration_images: Count = 4096
    """At most so many images of the calibration split."""
    score_images: Count = 4096
    """At most so many images of the score split."""
    batch_size: Annotated[int, Field(ge=2)] = 128
    """Images per batch of the statistics: part of the score."""
    output: int | str | None = None
    """Which output is judged where the network has several; without it the first, or ``logits`` or ``out``."""
    seed: int = 0
    """Shuffles the images."""


class FinetuneParams(Section):
    """How the winner is trained."""

    epochs: Annotated[int, Field(ge=0)] = 15
    """Passes over the train split."""
    recipe: AnyRecipe = Field(default_factory=lambda: Recipe.parse("sgd"))
    """Optimiser, schedule, augmentation, distillation."""
    seed: int = 0


class ExportParams(Section):
    """What is written for the device, and how it is checked and measured."""

    exporters: tuple[AnyExporter, ...] = Field(default_factory=lambda: (Exporter.parse("onnx"),))
    """The formats to write."""
    parity_images: Count = 1000
    """At most so many test images compare the file with PyTorch."""
    max_difference: Annotated[float, Field(gt=0)] = 1e-3
    """Largest absolute difference of a logit that passes."""
    min_agreement: Annotated[float, Field(ge=0, le=1)] = 0.999
    """Smallest share of equal top-1 answers that passes."""
    latency_runs: Count = 200
    """Timed runs of each network, after a tenth as many to warm up."""
    latency_batch: Count = 1
    """Images per timed run."""
    threads: Count = 1
    """Intra-op threads of the runtime while timing."""


class RegisterParams(Section):
    """Under which name the model enters the registry."""

    model: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$")] = "eyas"
    """The registered model's name."""


class ScheduleParams(Section):
    """When retraining is looked at without being asked."""

    cron: str | None = None
    """Five fields: ``0 3 * * 1`` is Mondays at three."""
    interval_minutes: Count | None = None
    """Every so many minutes, instead of ``cron``."""
    timezone: str = "UTC"
    """Of ``cron``, as in ``Europe/Berlin``."""
    overlap: Literal["refuse", "queue"] = "refuse"
    """What a run does that starts while another of its profile still runs."""
    grace_minutes: Count = 30
    """A run that starts later than this is told as late; where a newer one is due it does nothing."""

    @model_validator(mode="after")
    def _one_rhythm(self) -> Self:
        if self.cron and self.interval_minutes:
            msg = "cron and interval_minutes exclude each other: give one"
            raise ValueError(msg)
        if self.cron and len(self.cron.split()) != 5:
            msg = f"cron {self.cron!r} must have five fields: minute hour day month weekday"
            raise ValueError(msg)
        return self


class NotifyParams(Section):
    """Who is told, and of what; the address itself is a secret and stands in the environment."""

    variable: Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]*$")] = "EYAS_NOTIFY_URL"
    """The environment variable that holds the webhook's address; not set, nobody is told."""
    style: Literal["json", "slack"] = "json"
    """Every field, or Slack's form."""
    events: tuple[Literal["late", "failed", "refused", "promoted", "rolled_back"], ...] = ("late", "failed", "refused")
    """What is worth telling."""


class RuntimeParams(Section):
    """How work is done. Nothing here changes a result beyond rounding; DVC does not look at it."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """``auto`` takes CUDA where there is one."""
    threads: Annotated[int, Field(ge=0)] = 0
    """Threads of torch; 0 takes all cores."""
    workers: Count = 1
    """Processes that score side by side."""
    cluster: str | None = None
    """``ray``, or ``ray://host:port``: score on a Ray cluster."""
    state: str = ".eyas"
    """Where epoch checkpoints and journals live, outside of DVC's outputs."""
    experiment: str = "eyas"
    """MLflow's experiment."""
    tracking_uri: str | None = None
    """MLflow's server; without one ``MLFLOW_TRACKING_URI``, else SQLite in the checkout."""
    retries: Annotated[int, Field(ge=0)] = 2
    """How often a failed stage is tried again; bad input never is."""
    remote: str | None = None
    """Folder or address of DVC's remote; without one ``.eyas/remote`` in the checkout."""
    storage: StorageSettings = StorageSettings()
    """Endpoint, region, profile, encryption and patience of remote storage; completed by the environment."""


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


def load_params(path: Path | str = "params.yaml", *, runtime: Mapping[str, Any] | None = None) -> PipelineParams:
    """Read and check ``params.yaml``; ``runtime`` overrides fields of that section.

    Raises:
        ParameterError: the file is missing, is no YAML, or a field is unknown, mistyped or out of range; the
            message names section, field, value and what is allowed.
    """
    path = Path(path)
    try:
        content = yaml.safe_load(path.read_text())
    except FileNotFoundError as error:
        msg = f"{path} does not exist: give --params FILE, or start in a checkout that holds params.yaml"
        raise ParameterError(msg) from error
    except yaml.YAMLError as error:
        msg = f"{path} is not YAML: {error}"
        raise ParameterError(msg) from error
    content = content or {}
    if runtime and isinstance(content, dict):
        content["runtime"] = {**(content.get("runtime") or {}), **runtime}
    return parse_params(content, str(path))


def parse_params(content: Any, where: str = "params") -> PipelineParams:
    """Check parameters that were read already; ``where`` names them in the message."""
    if not isinstance(content, Mapping):
        msg = f"{where} must hold sections ({', '.join(_sections())}), not {type(content).__name__}"
        raise ParameterError(msg)
    try:
        return PipelineParams.model_validate(content)
    except ValidationError as error:
        raise ParameterError("\n".join([f"{where}:", *map(_explain, error.errors())])) from error


def expand(address: str) -> str:
    """``$NAME`` and ``~`` replaced in an address.

    Raises:
        ParameterError: the environment does not hold the name.
    """
    expanded = os.path.expanduser(os.path.expandvars(address))
    if "$" in expanded:
        msg = f"{address}: the environment does not set the variable named there"
        raise ParameterError(msg)
    return expanded


def _sections() -> list[str]:
    return [field.alias or name for name, field in PipelineParams.model_fields.items()]


def _explain(error: Any) -> str:
    """One pydantic error as a line: section.field, what was given, what is allowed."""
    place = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        return f"  {place}: no such parameter; {_allowed_names(error['loc'][:-1])}"
    reason = error["msg"].removeprefix("Value error, ")
    return f"  {place}: {reason}; given: {error['input']!r}"


def _allowed_names(loc: tuple[str | int, ...]) -> str:
    """The field names allowed at ``loc``, as a phrase."""
    if not loc:
        return f"sections are {', '.join(_sections())}"
    section = {field.alias or name: field.annotation for name, field in PipelineParams.model_fields.items()}
    kind: Any = section.get(str(loc[0]))
    for part in loc[1:]:
        field = getattr(kind, "model_fields", {}).get(str(part))
        kind = field.annotation if field else None
    names = getattr(kind, "model_fields", None)
    return f"{'.'.join(map(str, loc))} knows {', '.join(names)}" if names else "see src/eyas/config.py"
