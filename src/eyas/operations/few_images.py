"""What to set where a data set is small: fields of the parameter file with their values, and why.

Pure functions of numbers; :mod:`tasks.init` writes them, ``eyas run --check`` tells them, the verdict comes back to
them.
"""

import math
from dataclasses import dataclass

from eyas.adaptation.fewest_images import FEWEST_IMAGES

REFIT_IMAGES = 64
"""A refit of fewer calibration images may lead the answers away, and is undone then (docs/own_network.md)."""
SCORE_IMAGES = 300
"""Below so many a probe of the refitted features hardly tells candidates apart (docs/own_network.md)."""
MARGIN = 1.25
"""Splits are drawn by hash, so a share gives a few images more or fewer than it says."""
MOST = 0.25
"""Share of the training images that may be set aside to calibrate."""
PROBE, SCORER = "dense_probe", "cross_entropy"


@dataclass(frozen=True)
class Setting:
    """One line of a parameter file."""

    section: str
    field: str
    value: str
    why: str

    @property
    def text(self) -> str:
        """In one line."""
        return f"set {self.section}.{self.field} to {self.value}: {self.why}"


def settings_for_few(
    images: int,
    *,
    calibration_fraction: float,
    score_fraction: float,
    scorer: str | None,
    labelled: bool = True,
    refit: bool = True,
) -> list[Setting]:
    """What is worth setting; nothing where there are enough images.

    Args:
        images: of the training data, before it is split.
        calibration_fraction: share of them that calibrates.
        score_fraction: share of them that judges.
        scorer: what ranks; None where that is left open.
        labelled: whether they have labels.
        refit: whether candidates or the winner are refitted.
    """
    settings = []
    if refit and calibration_fraction * images < REFIT_IMAGES:
        share = fraction_for_refit(images)
        if share > calibration_fraction:
            why = f"about {share * images:.0f} images calibrate then, and the refit wants {REFIT_IMAGES} or more"
            settings.append(Setting("fetch", "calibration_fraction", f"{share:g}", why))
    judging = score_fraction * images
    if labelled and scorer in {None, PROBE} and judging < SCORE_IMAGES:
        why = f"about {judging:.0f} images judge the candidates, and a probe of so few hardly tells them apart"
        settings.append(Setting("score", "scorer", SCORER, why))
    return settings


def too_few_to_compare(images: int, score_fraction: float, source_images: int | None = None) -> str:
    """Why ``eyas watch`` and ``eyas adapt`` will have too few images to compare others with, and what to do; or "".

    Args:
        images: of the training data, before it is split.
        score_fraction: share of them that is compared with.
        source_images: how many of those ``eyas adapt`` takes at most.
    """
    needed = f"eyas watch and eyas adapt compare others with {FEWEST_IMAGES} or more of them"
    compared = score_fraction * images
    if compared < MARGIN * FEWEST_IMAGES:
        setting, more = enough_to_compare(images, score_fraction), math.ceil(MARGIN * FEWEST_IMAGES / score_fraction)
        way = f"set fetch.score_fraction to {setting.value}" if setting else f"give {more:,} images or more"
        return f"the score split gets about {compared:.0f} images, and {needed}: {way}, or watch with --reference FILE"
    if source_images is not None and source_images < FEWEST_IMAGES:
        return f"adapt.source_images takes {source_images} of the score split, and {needed}: set it to {FEWEST_IMAGES}"
    return ""


def enough_to_compare(images: int, score_fraction: float) -> Setting | None:
    """The share that gives ``eyas watch`` and ``eyas adapt`` enough to compare with.

    None where the score split has enough, or would take more than a quarter of the images.
    """
    share = math.ceil(100 * MARGIN * FEWEST_IMAGES / max(images, 1)) / 100
    if score_fraction * images >= MARGIN * FEWEST_IMAGES or share > MOST:
        return None
    why = f"about {share * images:.0f} images judge then: eyas watch and adapt need {FEWEST_IMAGES} to compare with"
    return Setting("fetch", "score_fraction", f"{share:g}", why)


def fraction_for_refit(images: int) -> float:
    """Share of the training images that gives a refit enough of them, with two decimals; a quarter at most."""
    return min(MOST, math.ceil(100 * MARGIN * REFIT_IMAGES / max(images, 1)) / 100)
