"""What criteria and samplers may look at: calibration images, and their labels where these are read."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Protocol

from eyas.data.image_tensors import as_labels, normalised_images
from eyas.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor


class LabelReader(Protocol):
    """A criterion, or a sampler: it looks at calibration images, and may read their labels."""

    family: ClassVar[str]

    @property
    def kind(self) -> str:
        """Its name in the family."""
        ...

    @property
    def reads_labels(self) -> bool:
        """Whether it does."""
        ...


@dataclass(frozen=True)
class CalibrationSet:
    """Images that rate channels; none of them may score the candidates that are made of the rating."""

    images: "Tensor"
    """Normalised floats ``(N, C, H, W)``."""
    labels: "Tensor | None" = None
    """Class of each image ``(N,)``, or of each pixel ``(N, H, W)``, -100 where it has none."""
    output: int | str | None = None
    """Which of several outputs answers, by position, name or path; without it ``logits``, ``out`` or the first."""

    def __post_init__(self) -> None:
        """Tensors of what was given; refuse what are no images, and labels that do not align.

        Raises:
            DataError: the images are no finite floats, or there is not one label (or one map) per image.
        """
        object.__setattr__(self, "images", normalised_images("images", self.images))
        object.__setattr__(self, "labels", None if self.labels is None else as_labels("labels", self.labels))
        if self.labels is not None and (self.labels.is_floating_point() or len(self.labels) != len(self.images)):
            msg = f"{len(self.labels)} labels of {self.labels.dtype} for {len(self.images)} images: one integer each"
            raise DataError(msg)

    def first(self, count: int) -> "CalibrationSet":
        """At most ``count`` images, from the front."""
        labels = None if self.labels is None else self.labels[:count]
        return replace(self, images=self.images[:count], labels=labels)
