"""What an adaptation looks at: images of the field, images of the network's own kind, and how both compare."""

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from torch import Tensor, nn

from eyas.adaptation.adapt import adapt
from eyas.adaptation.drift import DriftReference, DriftReport, detect_drift
from eyas.adaptation.drift.expected_help import FEWEST_IMAGES
from eyas.adaptation.fewest_images import FEWEST_IN_WINDOW
from eyas.adaptation.revert_rule import RevertVerdict, judge
from eyas.config import AdaptParams
from eyas.data import Dataset
from eyas.data.decoding import Preprocessing
from eyas.data.manifest import MANIFEST
from eyas.errors import BadInputError
from eyas.operations.tracking import MlflowStore
from eyas.operations.tracking.adaptation_run import AdaptationRecord
from eyas.storage import Store
from tasks.dvc_lock import require_as_written
from tasks.field_copies import drawn_order
from tasks.field_images import FieldImages, read_field
from tasks.registered_network import RegisteredNetwork, require_same_images
from tasks.training_support import TrainingData
from tasks.watch import REFERENCE, require_enough_to_compare
from tasks.workspace import Workspace

FEWEST_TO_HOLD_OUT, HELD_OUT = 256, 4
"""Of so many images a fourth is kept from the adapter, and judged by; with labels, or of fewer, all are both."""
Outcome = Literal["proposed", "unchanged", "reverted"]


@dataclass(frozen=True)
class AdaptDecision:
    """What an adaptation came to, and why; what was refused is an error instead."""

    outcome: Outcome
    message: str
    model: str
    version: str
    """Number of the version that is proposed, that stays, or that takes the champion's place again."""
    drift: str
    """What changed in the images, in a sentence."""
    images: int
    run_id: str
    """Of MLflow."""
    details: tuple[str, ...] = ()
    """No adaptation beside the adapted network."""

    @property
    def lines(self) -> list[str]:
        """For the terminal."""
        return [line for line in (self.drift, *self.details, self.message) if line]


@dataclass(frozen=True)
class Case:
    """What an adaptation looks at; N images of the field, M of the score split."""

    workspace: Workspace
    store: MlflowStore
    dataset: Dataset
    field: FieldImages
    scratch: Path

    @property
    def section(self) -> AdaptParams:
        """How it is done."""
        return self.workspace.params.adapt

    @cached_property
    def images(self) -> Tensor:
        """Of the field, normalised, ``(N, C, H, W)``."""
        return self.dataset.normalise(self.field.pixels)

    @cached_property
    def source(self) -> Tensor:
        """Images like those of the training, and not among them, normalised, ``(M, C, H, W)``."""
        return self.dataset.normalise(self.dataset.split("score").images(self.section.source_images))

    @property
    def source_labels(self) -> Tensor | None:
        """Their labels ``(M,)``, where they have any."""
        labelled = self.dataset.task_of("score").labelled
        return self.dataset.split("score").first_labels(self.section.source_images) if labelled else None

    def drift(self, standing: RegisteredNetwork, record: AdaptationRecord) -> DriftReport:
        """The field against what the version is used to: the images that it has followed, if any, else the source."""
        kept, model = standing.folder / REFERENCE, standing.network.model
        reference = DriftReference.load(kept) if kept.exists() else None
        if reference is None:
            window = max(FEWEST_IN_WINDOW, min(len(self.field), len(self.source)))
            require_enough_to_compare(len(self.source), self.workspace)
            reference = DriftReference.of(model, self.source, self.source_labels, window=window)
        report = detect_drift(model, self.images, reference, detector=self.section.detector)
        record.log_json("drift", report.model_dump(mode="json"))
        record.log_file(report.draw(self.scratch / "drift.png"))
        return report

    @property
    def tells(self) -> bool:
        """Whether the images are enough to take an adapted champion back without labels that decide."""
        return len(self.field) >= FEWEST_IMAGES

    @property
    def everything(self) -> list[int]:
        """Positions of all images of the field."""
        return list(range(len(self.field)))

    @cached_property
    def drawn(self) -> list[int]:
        """Positions of all images in an order by chance, so that none of names, cameras or classes tells anything."""
        return drawn_order(self.field.sha256, self.section.seed)

    @property
    def held_out(self) -> list[int]:
        """Positions of the images that no adapter sees, a fourth of them where there are enough; in a drawn order."""
        if self.field.labels is not None or len(self.field) < FEWEST_TO_HOLD_OUT:
            return []
        return self.drawn[: math.ceil(len(self.field) / HELD_OUT)]

    @property
    def judged(self) -> list[int]:
        """Positions of the images that the rule judges an adaptation by: those held out, else all."""
        return self.held_out or self.everything

    @property
    def followed(self) -> Tensor:
        """The images that an adapter sees."""
        held_out = set(self.held_out)
        return self.images[[position for position in self.everything if position not in held_out]]

    def follow(self, model: nn.Module, images: Tensor) -> nn.Module:
        """A copy of a network that has followed images, as the section says."""
        section = self.section
        return adapt(
            model,
            images,
            section.adapter,
            source=self.source if section.adapter.needs_source else None,
            batch_size=section.batch_size,
            seed=section.seed,
        )

    def verdict(
        self, source: nn.Module, adapted: nn.Module, positions: list[int], *, standing: bool = False
    ) -> RevertVerdict:
        """What the rule says of an adapted network, new or ``standing``, beside its source, on these images.

        Their labels come in a drawn order: the sequential test would take folders class by class for a stream.
        """
        chosen = set(positions)
        positions = [position for position in self.drawn if position in chosen]
        canary = None if self.source_labels is None else (self.source, self.source_labels)
        labels = None if self.field.labels is None else self.field.labels[positions]
        return judge(
            source,
            adapted,
            self.images[positions],
            canary,
            labels,
            rule=self.section.rule,
            standing=standing,
            follow=lambda images: self.follow(source, images[: len(self.followed)]),
        )


def failures(verdict: RevertVerdict) -> str:
    """What the rule holds against an adaptation, in a sentence."""
    return "; ".join(f"{reason.name}: {reason.text}" for reason in verdict.reasons if not reason.holds)


def require_fetched(workspace: Workspace) -> None:
    """See that the profile has images like those of the training.

    Raises:
        BadInputError: it has fetched none.
    """
    if not (workspace.artifacts / "fetch" / MANIFEST).exists():
        msg = f"{workspace.name} has no images to compare with: give the version's profile, or `{workspace.command}`"
        raise BadInputError(msg)


def open_case(
    workspace: Workspace,
    store: MlflowStore,
    standing: RegisteredNetwork,
    address: str,
    *,
    scratch: Path,
    labelled: bool,
) -> Case:
    """The workspace's data and the images at an address, as the version reads both.

    Raises:
        BadInputError: the profile has fetched nothing.
        DataError: the data is of another kind than the version's, or the images cannot be used.
        ChecksumError: the data is not what ``fetch`` wrote.
    """
    params = workspace.params
    require_fetched(workspace)
    require_as_written(workspace.folder, "fetch")
    dataset = TrainingData.open(params, workspace.artifacts).dataset
    require_same_images(standing, dataset)
    image = dataset.manifest.image
    field = read_field(
        address,
        params,
        Preprocessing(image.channels, image.size, image.resize, params.fetch.limits),
        classes=dataset.class_names if labelled else None,
        store=Store(params.runtime.storage, workspace.state / "downloads"),
        base=workspace.root,
    )
    return Case(workspace, store, dataset, field, scratch)
