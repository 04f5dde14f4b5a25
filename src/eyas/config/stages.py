"""The sections of the six stages; DVC looks at these."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from eyas.calibration import AnyCalibrator, Calibrator
from eyas.config.budget_params import BudgetParams
from eyas.config.gradual_params import GradualParams
from eyas.config.joint_fields import check_cuts, check_sparse, check_surgeries
from eyas.config.section import Count, Fraction, PublicAddress, Section, Seed, Sha256
from eyas.data.comparability import FROM_TRAIN, WORDS
from eyas.data.formats import AnyFormat
from eyas.data.limits import Limits
from eyas.data.tasks import AnyTask, Task
from eyas.deploy.exporters import AnyExporter, Exporter
from eyas.deploy.runtimes import AnyRuntime
from eyas.networks.surgeries import AnySurgery
from eyas.pruning.criteria import AnyCriterion, Criterion
from eyas.pruning.sparsity import AnySparsity
from eyas.recovery import AnyRecovery, Recovery
from eyas.sampling.samplers import AnySampler, Sampler
from eyas.scoring import REFITTED_RUNGS, Rung
from eyas.scoring.priors import AnyPrior
from eyas.scoring.race.rungs import with_finalists
from eyas.scoring.reward import Reward
from eyas.scoring.scorers import AnyScorer
from eyas.training.recipes import AnyRecipe, Recipe
from eyas.training.sparsifiers import AnySparsifier, Sparsifier

if TYPE_CHECKING:
    from eyas.training.masked_weights import SparseTraining

LEAST_STD = 0.001
"""Of pixel values in [0, 1]; 1 / 255, for networks that take values up to 255, is more."""


class FetchParams(Section):
    """Where the data comes from, how it is read, and how it is split."""

    train: PublicAddress = "builtin:digits"
    """``builtin:digits``, a path, ``https://...`` or ``s3://...``; ``$NAME`` is read from the environment."""
    test: PublicAddress | None = None
    """The given test set; without one, ``test_fraction`` of the training data is set aside. Instead of an address:
    ``included`` is the test set that ``train`` itself brings, and must; ``from_train`` sets aside a part of ``train``
    even where ``baseline.checkpoint`` may have seen it, and marks every accuracy as not comparable."""
    task: AnyTask = Field(default_factory=lambda: Task.parse("classification"))
    """What a network answers about an image: ``classification``, one class, or ``segmentation``, one per pixel."""
    format: AnyFormat = "auto"
    """How the files hold their images: a kind, ``{kind: parquet, image_column: ..., label_column: ...}``, or ``auto``,
    which looks. Parquet's two columns may also stand beside ``format``, as they did before."""
    sha256: dict[str, Sha256] = Field(default_factory=dict)
    """Expected digest (or its first 8 or more digits) by file name."""
    image_size: Count = 32
    """Height and width a network sees."""
    resize: Count | None = None
    """Shorter edge before the centre crop to ``image_size``; without it images are resized to it directly."""
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    """Per channel, of pixel values in [0, 1]."""
    std: tuple[Annotated[float, Field(gt=0)], ...] = (0.229, 0.224, 0.225)
    """Per channel, of pixel values in [0, 1]; what a network gets is (pixel / 255 - mean) / std."""
    calibration_fraction: Fraction = 0.1
    """Share of the training data that re-estimates batch-norm statistics."""
    score_fraction: Fraction = 0.15
    """Share of the training data that judges candidates and epochs; never trained on."""
    test_fraction: Fraction = 0.2
    """Share set aside when no test set is given."""
    max_images: Count | None = None
    """Use only so many training images, chosen by content hash; for a quick look."""
    skip_broken: Annotated[int, Field(ge=0, strict=True)] = 0
    """Leave out at most so many images that do not decode; with more, all of them are named and the stage ends."""
    limits: Limits = Limits()
    """What the source may hold, so that no file takes all of the memory or the disk."""

    @model_validator(mode="before")
    @classmethod
    def _columns_are_parquets(cls, content: Any) -> Any:
        names = ("image_column", "label_column")
        if not isinstance(content, Mapping) or not any(name in content for name in names):
            return content
        columns = {name: content[name] for name in names if content.get(name) is not None}
        rest = {name: value for name, value in content.items() if name not in names}
        if not columns:
            return rest
        chosen = rest.get("format", "auto")
        options = dict(chosen) if isinstance(chosen, Mapping) else {"kind": chosen}
        if options.get("kind") not in {"auto", "parquet"}:
            msg = f"{' and '.join(columns)} name columns of Parquet, but format is {chosen!r}: leave one of them out"
            raise ValueError(msg)
        return rest | {"format": options | {"kind": "parquet"} | columns}

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not all(map(math.isfinite, (*self.mean, *self.std))):
            msg = f"mean {list(self.mean)} and std {list(self.std)} must be finite numbers"
            raise ValueError(msg)
        if not all(0 <= value <= 1 for value in self.mean) or not all(LEAST_STD <= value <= 1 for value in self.std):
            hint = ": divide them by 255" if any(value > 1 for value in (*self.mean, *self.std)) else ""
            msg = (
                f"mean {list(self.mean)} and std {list(self.std)} are of pixel values in [0, 1]: a mean lies between 0 "
                f"and 1, a std between {LEAST_STD} and 1{hint}"
            )
            raise ValueError(msg)
        if len(self.mean) != len(self.std):
            msg = f"mean has {len(self.mean)} channels and std {len(self.std)}: give one number per channel in both"
            raise ValueError(msg)
        if self.resize is not None and self.resize < self.image_size:
            msg = f"resize {self.resize} must not be smaller than image_size {self.image_size}, which is cut out of it"
            raise ValueError(msg)
        if len(self.mean) not in {1, 3, 4}:
            msg = f"mean and std have {len(self.mean)} numbers; images have 1, 3 or 4 channels"
            raise ValueError(msg)
        test = self.test_fraction if self.test in {None, FROM_TRAIN} else 0
        taken = self.calibration_fraction + self.score_fraction + test
        if taken >= 1:
            msg = f"calibration, score and test take {taken:.2f} of the data: their sum must stay below 1"
            raise ValueError(msg)
        return self

    @property
    def addresses(self) -> dict[str, str]:
        """Where each part of the data lies: ``train``, and ``test`` where it has an address of its own."""
        return {"train": self.train} | ({"test": self.test} if self.test and self.test not in WORDS else {})


class BaselineParams(Section):
    """The dense network: what it is and where its weights come from."""

    architecture: str = "resnet8"
    """A name in ``models/``, or ``package.module:factory``."""
    arguments: dict[str, Any] = Field(default_factory=dict)
    """Passed to the factory beside ``num_classes``."""
    checkpoint: PublicAddress | None = None
    """A path, ``https://...``, ``s3://...`` or ``models:/name@alias``; without one the network is trained."""
    checkpoint_sha256: Sha256 | None = None
    """Expected digest of the checkpoint, or its first 8 or more digits."""
    checkpoint_key: str | None = None
    """Which of several state dicts in the checkpoint, by its place (``ema``, ``state_dict.model``); without it the one
    under ``state_dict``, ``model`` or ``model_state_dict``."""
    seen_by_checkpoint: bool | None = None
    """Whether the checkpoint was trained on the training data, the images included that are set aside of it for
    calibration, score and test; none: not known. Without ``fetch.test`` it must be known that it was not."""
    surgeries: tuple[AnySurgery, ...] = ()
    """What changes in how the network is normalised, with the checkpoint's weights in it, before it is trained, pruned
    and exported: ``[unfold_batch_norm]``. A registered version has what was done to it before."""
    output: int | str | None = None
    """Which of several outputs is the logits: it is trained, scored, distilled, exported as ``logits`` and judged. A
    position, a name, or a path of both (``heads.0``); without it ``logits`` or ``out``, or the only one of fitting
    shape."""
    epochs: Count | None = None
    """Epochs of training where no checkpoint is given; without it 15, or as many as 600 steps take, 200 at most."""
    adapt_epochs: Annotated[int, Field(ge=0)] = 0
    """Epochs of fine-tuning a given checkpoint on this data first; 0 leaves it as it is."""
    recipe: AnyRecipe = Field(default_factory=lambda: Recipe.parse("sgd"))
    """How the dense network is trained or adapted."""
    seed: Seed = 0
    """Of the initial weights, and of the order, augmentation and dropout of training."""

    @model_validator(mode="after")
    def _surgeries_go_with_the_checkpoint(self) -> Self:
        check_surgeries(self)
        return self


class SampleParams(Section):
    """The search space and the candidates drawn from it."""

    budget: BudgetParams = BudgetParams(macs=0.5)
    """What a candidate may cost."""
    tolerance: Annotated[float, Field(gt=0, le=0.2)] = 0.005
    """Half the width of the band around the budget, as a share of the dense cost; below a quarter of that four times
    this share of the budget itself, as far as widths have steps so small."""
    candidates: Count = 200
    """How many distinct candidates to draw."""
    sampler: AnySampler = Field(default_factory=lambda: Sampler.parse("evolution"))
    """Who proposes them."""
    criterion: AnyCriterion = Field(default_factory=lambda: Criterion.parse("weight_activation"))
    """Which channels of a group are kept."""
    round_to: Count | Literal["auto"] = "auto"
    """Widths become multiples of this; ``auto``: as ``latency_profile`` shows, else 8 or 4 where enough remain."""
    latency_profile: str | None = None
    """``device.json``, times of the layers on the device; ``eyas profile`` or, there, ``eyas_profile.py`` writes it."""
    min_width: Count = 1
    """No group is made smaller than this."""
    depth: bool = False
    """Whole residual blocks may be left out, too, where their shortcut is an identity."""
    ignore: tuple[str, ...] = ()
    """Layer names (shell patterns) or type names whose outputs stay whole."""
    seed: Seed = 0
    """Of the draw of candidates."""


class ScoreParams(Section):
    """How candidates are judged."""

    calibrator: AnyCalibrator = Field(default_factory=lambda: Calibrator.parse("pooled"))
    """Who re-estimates batch-norm statistics."""
    scorer: AnyScorer | None = None
    """What ranks; left out, ``dense_probe`` where one linear layer makes the answers, else ``cross_entropy``."""
    prior: AnyPrior | None = None
    """What is added to every score for the widths alone: ``{kind: log_widths, weight: 0.1}``."""
    reward: Reward | None = None
    """What scores are multiplied by for costs that are to be low as well: ``{params: 1, latency: 0.5}``."""
    rungs: Annotated[tuple[Rung, ...], AfterValidator(with_finalists)] = REFITTED_RUNGS
    """The rounds of the race: images per candidate, fused or held out, training steps (``steps: 0`` refits alone), how
    many candidates go on."""
    stop_margin: Annotated[float, Field(gt=0)] = 4.0
    """A leader so many standard errors ahead goes to the last rung alone, but not before the first rung that trains."""
    calibration_images: Annotated[int, Field(ge=2, strict=True)] = 4096
    """At most so many images of the calibration split."""
    score_images: Annotated[int, Field(ge=2, strict=True)] = 4096
    """At most so many images of the score split."""
    batch_size: Annotated[int, Field(ge=2)] = 128
    """Images per batch of the statistics: part of the score."""
    output: int | str | None = None
    """What ``baseline.output`` is where that is left out."""
    seed: Seed = 0
    """Shuffles the images."""


class FinetuneParams(Section):
    """How the winner is trained."""

    epochs: Annotated[int, Field(ge=0)] | None = None
    """Passes over the train split; without it 15, or as many as 600 steps take, 200 at most."""
    recovery: AnyRecovery | None = Field(default_factory=lambda: Recovery.parse("least_squares"))
    """Refit of the winner before training, in closed form, kept where it lowers the loss on the score split."""
    depth_scaling: bool = False
    """Undoes a part of training in early blocks (LiNeS, arXiv:2410.17146) where the score split gains by it."""
    compare_uniform: bool = False
    """Trains the network of uniform widths as well, in the same way, and tells which of the two is better."""
    gradual: GradualParams | None = None
    """Prune in several cuts with training in between; without it in one, before training."""
    sparsity: AnySparsity | None = None
    """Sets weights of what is left to zero, by a pattern: ``unstructured``, ``{kind: n_m, n: 2, m: 4}``."""
    sparsifier: AnySparsifier = Field(default_factory=lambda: Sparsifier.parse("at_once"))
    """How training comes to these zeros."""
    recipe: AnyRecipe = Field(default_factory=lambda: Recipe.parse("sgd"))
    """Optimiser, schedule, augmentation, distillation."""
    seed: Seed = 0
    """Of the order, augmentation and dropout of training."""

    @property
    def sparse(self) -> "SparseTraining | None":
        """Pattern and sparsifier, where there is a pattern."""
        from eyas.training.masked_weights import SparseTraining

        return None if self.sparsity is None else SparseTraining(self.sparsity, self.sparsifier)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        check_sparse(self)
        check_cuts(self)
        return self


class ExportParams(Section):
    """What is written for the device, and how it is checked and measured."""

    exporters: tuple[AnyExporter, ...] = Field(default_factory=lambda: (Exporter.parse("onnx"),))
    """The formats to write."""
    parity_images: Count = 1000
    """At most so many test images compare the file with PyTorch."""
    max_difference: Annotated[float, Field(gt=0)] = 1e-3
    """Largest absolute difference of a logit that passes."""
    max_relative_difference: Annotated[float, Field(gt=0)] | None = None
    """The same as a share of the largest logit; null allows what ``max_difference`` does."""
    min_agreement: Annotated[float, Field(ge=0, le=1)] = 0.999
    """Smallest share of equal top-1 answers that passes."""
    max_accuracy_drop: Annotated[float, Field(ge=0, le=1)] = 0.01
    """Largest loss of test accuracy against PyTorch that a file passes with; also of the one that is recommended."""
    max_calibration_distance: Annotated[float, Field(gt=0)] = 0.5
    """How far, in standard deviations, the calibration images' statistics may be from those that batch-norm layers
    hold, where a format takes ranges from them."""
    runtimes: tuple[AnyRuntime, ...] = ()
    """What the device has, as in ``[onnx, {kind: openvino, precision: default}]``: only their files are recommended
    beside float32 ONNX; any where it is left out."""
    latency_runs: Count = 200
    """Timed runs of each network, after a tenth as many to warm up."""
    latency_batch: Count = 1
    """Images per timed run."""
    threads: Count = 1
    """Intra-op threads of the runtime while timing."""
    bundle: bool = True
    """Writes a folder and a tar of all that a device needs beside ONNX Runtime: the network, labels, preprocessing,
    test images with expected answers, ``predict.py``."""
    preprocessing_in_graph: bool = True
    """Adds an ONNX file to the bundle that takes unsigned bytes of any size and gives probabilities; not for images of
    4 channels, whose colours are weighed by their transparency."""
    adaptable: bool = False
    """Adds to the bundle ``adapt.py``, which replaces batch-norm statistics by those of images on the device."""
    licence: str = ""
    """Of the network, as its bundle tells it; a name such as CC-BY-4.0."""

    @property
    def chosen(self) -> dict[str, Exporter]:
        """The exporters by kind; float32 ONNX is always written, for latency and accuracy are measured on it."""
        return {"onnx": Exporter.parse("onnx"), **{exporter.kind: exporter for exporter in self.exporters}}
