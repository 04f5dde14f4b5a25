"""What a criterion, or a sampler, looks at in a search: where it reads labels, none of it scores the candidates."""

from torch import Tensor

from eyas.errors import DataError
from eyas.pruning.calibration_set import CalibrationSet, LabelReader


def images_to_read(
    reader: LabelReader, calibration: Tensor, scoring: Tensor, *, labels: Tensor | None, output: int | str | None
) -> CalibrationSet | None:
    """The calibration images, with labels where they are read; None without images.

    Args:
        reader: the criterion, or the sampler.
        calibration: normalised images.
        scoring: normalised images that score candidates.
        labels: of the calibration images.
        output: which of several outputs answers.

    Raises:
        DataError: labels do not align, or an image whose label is read scores candidates, too.
    """
    if not len(calibration):
        return None
    if labels is None or not reader.reads_labels:
        return CalibrationSet(calibration, None, output)
    scored = {image.numpy().tobytes() for image in scoring.float().cpu()}
    shared = sum(image.numpy().tobytes() in scored for image in calibration.float().cpu())
    if shared:
        msg = (
            f"{shared} of `calibration_images` are among `scoring_images`, and {reader.family} {reader.kind} reads "
            "their labels: give other images, or leave its labels: true out"
        )
        raise DataError(msg)
    return CalibrationSet(calibration, labels, output)
