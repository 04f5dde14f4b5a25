"""The gate of every exported artifact: what it computes on real images against PyTorch, and what it may lose."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from eyas.data.tasks import Task
from eyas.data.tasks.segmentation import Segmentation
from eyas.deploy.logit_parity import LogitParity, OutputParity, compare_logits, compare_output
from eyas.deploy.runtimes import LOGITS
from eyas.errors import ParityError

DENSE_AGREEMENT = "dense_agreement"
MEAN_IOU = Segmentation.measure
SHARES = {
    MEAN_IOU: Segmentation.words, "accuracy": "accuracy", DENSE_AGREEMENT: "agreement with the dense network"
}  # fmt: skip
"""What tells how well a file answers, by its name among the numbers, in words; the first that is there decides."""


@dataclass(frozen=True)
class ArtifactLimits:
    """What an artifact may differ by."""

    max_difference: float | None
    """Of a logit; None allows any."""
    max_relative_difference: float | None
    """The same, as a share of the largest logit."""
    min_agreement: float
    """Of top-1 answers."""
    max_accuracy_drop: float
    """Against PyTorch on the same images; where each pixel has a class of mean IoU, else one image always may go."""


@dataclass(frozen=True)
class ArtifactParity:
    """An artifact against PyTorch on the same images."""

    logits: LogitParity
    accuracy: float
    """Share of answers that are the labels, which may be a dense network's answers: see :data:`SHARES`."""
    accuracy_change: float
    """Against PyTorch's."""
    worst: int
    """Position of the image whose answer changed, if one did, and whose logits differ most."""
    outputs: dict[str, OutputParity] = field(default_factory=dict)
    """Further outputs by name."""
    measures: dict[str, float] = field(default_factory=dict)
    """What else is told of its answers: ``mean_iou`` and how it changed, which decide where they are there."""
    labelled: bool = True
    """Whether labels tell what is right."""

    def as_dict(self) -> dict[str, Any]:
        """The numbers by name."""
        numbers, share = asdict(self), "accuracy" if self.labelled else DENSE_AGREEMENT
        shares = {share: numbers.pop("accuracy"), f"{share}_change": numbers.pop("accuracy_change")}
        del numbers["labelled"]
        return {**numbers.pop("logits"), **numbers.pop("measures"), **shares, **numbers}

    def require(self, file: str, limits: ArtifactLimits, explain: Callable[[int], str]) -> None:
        """Refuse an artifact that computes something else.

        Args:
            file: its name, for the message.
            limits: that it must keep.
            explain: says of the worst image which it is, and where it goes wrong.

        Raises:
            ParityError: a limit is broken; names it, the worst image, and the layer where it is known.
        """
        try:
            self._require(file, limits)
        except ParityError as error:
            msg = f"{error}. {explain(self.worst)}"
            raise ParityError(msg) from error

    def _require(self, file: str, limits: ArtifactLimits) -> None:
        share = limits.min_agreement
        self.logits.require(file, max_difference=limits.max_difference, min_agreement=share)
        for name, output in self.outputs.items():
            output.require(name, file, max_difference=limits.max_difference, min_agreement=share)
        relative, most = self.logits.relative_difference, limits.max_relative_difference
        if most is not None and not relative <= most:
            msg = (
                f"{file} computes something else than PyTorch: relative difference {relative:.3g}; allowed: at most "
                f"{most:g} (`max_relative_difference`)"
            )
            raise ParityError(msg)
        value, change, granted = self._deciding(limits.max_accuracy_drop)
        if -change > granted + 1e-9:
            is_right = "is right on" if self.labelled else "answers as the dense network on"
            verb = "has a mean IoU of" if MEAN_IOU in self.measures else is_right
            msg = (
                f"{file} {verb} {100 * value:.2f} % (of {self.logits.images} test images), PyTorch "
                f"{verb.split()[-1]} {100 * (value - change):.2f} %; allowed: a drop of at most "
                f"{100 * limits.max_accuracy_drop:g} points (`max_accuracy_drop`). Leave it out of `exporters`, "
                "or let it keep more layers in float"
            )
            raise ParityError(msg)

    def _deciding(self, limit: float) -> tuple[float, float, float]:
        """What decides, how it changed, and by how much it may drop."""
        if MEAN_IOU in self.measures:
            return self.measures[MEAN_IOU], self.measures[f"{MEAN_IOU}_change"], limit
        return self.accuracy, self.accuracy_change, max(limit, 1 / self.logits.images)


def judged_share(facts: Mapping[str, Any]) -> tuple[str, float]:
    """How often an artifact is right or agrees, as :meth:`ArtifactParity.as_dict` told: in words, and as a share."""
    return next((words, facts[name]) for name, words in SHARES.items() if name in facts)


def compare_artifact(
    expected: Mapping[str, Tensor], exported: Mapping[str, Tensor], labels: Tensor, *, labelled: bool = True
) -> ArtifactParity:
    """Compare what an artifact answers with PyTorch's outputs, the logits first in both; other names may differ.

    Not ``labelled``, the labels are a dense network's answers.

    Raises:
        ParityError: it has another number of outputs, or one of another shape.
    """
    if len(expected) != len(exported):
        msg = f"the file has {len(exported)} outputs, PyTorch {len(expected)}"
        raise ParityError(msg)
    by_name = dict(zip(expected, exported.values(), strict=True))
    mine_NK, its_NK = expected[LOGITS], by_name[LOGITS]
    task = Task.of(labels)
    its, mine = (task.tally(one.argmax(1), labels.long(), one.shape[1]).measures() for one in (its_NK, mine_NK))
    accuracy = its.pop(Task.measure)
    its |= {f"{name}_change": value - mine[name] for name, value in its.items()}
    return ArtifactParity(
        logits=compare_logits(mine_NK, its_NK),
        accuracy=accuracy,
        accuracy_change=accuracy - mine[Task.measure],
        worst=_worst(mine_NK, its_NK),
        outputs={name: compare_output(expected[name], by_name[name]) for name in expected if name != LOGITS},
        measures=its,
        labelled=labelled,
    )


def _worst(expected_NK: Tensor, actual_NK: Tensor) -> int:
    difference_N = (expected_NK - actual_NK).abs().nan_to_num(torch.inf).flatten(1).amax(1)
    changed_N = (expected_NK.argmax(1) != actual_NK.argmax(1)).reshape(len(expected_NK), -1).any(1)
    among_N = changed_N if changed_N.any() else torch.ones_like(changed_N)
    return int(difference_N.masked_fill(~among_N, -1).argmax())
