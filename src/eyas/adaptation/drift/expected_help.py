"""The rule by which adaptation of batch-norm statistics is expected to help, or not."""

from collections.abc import Sequence
from statistics import median

from eyas.adaptation.drift.drift_report import BalanceDrift, LayerDrift, NumberDrift
from eyas.adaptation.drift.image_statistics import IMAGE_STATISTICS

FEWEST_IMAGES = 64
"""Fewer make statistics that are worth less than those the network has."""
LARGEST_SHARE = 0.8
"""Of one class among the predictions: with more, statistics follow the class and not the camera."""
RULE = (
    "after it the revert rule decides, by limits of its own: it sets the adapted network's answers beside those "
    "without adaptation"
)
"""What comes after an adaptation that is expected to help."""
MOVED = 2.0
"""Layers are expected to gain where their divergence is so many times that of the clean windows (median)."""


def expect_help(
    numbers: Sequence[NumberDrift], layers: Sequence[LayerDrift], balance: BalanceDrift, images: int
) -> tuple[bool, str]:
    """Whether adaptation is expected to help, and why; the first that applies decides.

    1. Nothing drifted: no.
    2. The network has no batch-norm layers: no.
    3. The class balance drifted, and how images look did not: no.
    4. There are fewer than 64 images, or more than 80 % are taken for one class: not with these images.
    5. Half of the layers see a divergence of at least twice that of clean windows: yes. Else no.
    """
    if not (balance.drifted or any(one.drifted for one in numbers)):
        return False, "do not adapt: nothing drifted"
    if not layers:
        return False, "do not adapt: the network has no batch-norm layers whose statistics could follow"
    looks = any(one.drifted for one in numbers if one.name in IMAGE_STATISTICS)
    if balance.drifted and not looks:
        return False, "do not adapt: other classes are more frequent now, and statistics would follow the classes"
    unfit = _unfit(balance, images)
    if unfit:
        return False, unfit
    factor = median(layer.symmetric_kl / max(layer.clean_kl, 1e-12) for layer in layers)
    if factor < MOVED:
        return False, f"do not adapt: the layers see {factor:.1f} times the divergence of clean images, which they bear"
    told = f"adaptation is expected to help: the layers see {factor:.3g} times the divergence of clean images"
    return True, f"{told}; {RULE}"


def _unfit(balance: BalanceDrift, images: int) -> str:
    """Why these images are none to adapt with."""
    if images < FEWEST_IMAGES:
        return f"do not adapt yet: {images} images are few, collect at least {FEWEST_IMAGES}"
    if max(balance.predicted) > LARGEST_SHARE:
        share = (
            f"{max(balance.predicted):.0%} of the images are taken for one class (worth a try to {LARGEST_SHARE:.0%})"
        )
        return f"do not adapt with these: {share}, and statistics would follow it; collect others, too"
    return ""
