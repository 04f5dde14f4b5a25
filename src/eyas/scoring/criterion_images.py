"""What a criterion looks at in a search: none of it scores the candidates, where labels rate their channels."""

from torch import Tensor

from eyas.errors import DataError
from eyas.pruning.calibration_set import CalibrationSet
from eyas.pruning.criteria import Criterion


def criterion_images(
    criterion: Criterion, calibration: Tensor, scoring: Tensor, *, labels: Tensor | None, output: int | str | None
) -> CalibrationSet | None:
    """The calibration images, with labels where the criterion reads them; None without images.

    Args:
        criterion: which channels of a group are kept.
        calibration: normalised images.
        scoring: normalised images that score candidates.
        labels: of the calibration images.
        output: which of several outputs answers.

    Raises:
        DataError: labels do not align, or an image whose label the criterion reads scores candidates, too.
    """
    if not len(calibration):
        return None
    if labels is None or not criterion.reads_labels:
        return CalibrationSet(calibration, None, output)
    scored = {image.numpy().tobytes() for image in scoring.float().cpu()}
    shared = sum(image.numpy().tobytes() in scored for image in calibration.float().cpu())
    if shared:
        msg = (
            f"{shared} of `calibration_images` are among `scoring_images`, and criterion {criterion.kind} reads their "
            "labels: give other images, or leave its labels: true out"
        )
        raise DataError(msg)
    return CalibrationSet(calibration, labels, output)
