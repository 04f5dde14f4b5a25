"""What a criterion, or a sampler, looks at in the stages: calibration images, and their labels where it reads them."""

from torch import Tensor

from eyas.data import Dataset
from eyas.pruning.calibration_set import CalibrationSet, LabelReader
from eyas.pruning.criteria import Criterion
from eyas.pruning.criteria.image_criterion import ImageCriterion


def criterion_data(reader: LabelReader, dataset: Dataset, images: Tensor, output: int | str | None) -> CalibrationSet:
    """The first images of the calibration split, normalised; no split shares an image with it."""
    labels = dataset.split("calibration").first_labels(len(images)) if reader.reads_labels else None
    return CalibrationSet(images, labels, output)


def criterion_metrics(criterion: Criterion, data: CalibrationSet) -> dict[str, int]:
    """What rated the channels, as a stage's metrics have it: how many images, and how many of their labels."""
    seen = data.first(criterion.images) if isinstance(criterion, ImageCriterion) else data.first(0)
    return {"criterion_images": len(seen.images), "criterion_labels": 0 if seen.labels is None else len(seen.labels)}
