"""What speaks against new statistics where images have no labels: the revert rule's reasons, by numpy alone.

A device keeps these numbers beside its statistics, so that ``eyas verify`` judges by the same. Limits are the defaults
of ``adapt.rule``, as it asks them without a canary. Shapes: N images, K classes.
"""

from typing import Any

import numpy as np

FEWEST_IMAGES = 64
SURE, MIN_AGREEMENT, MAX_SURE_ENTROPY_RISE, EXCUSING_ENTROPY_FALL = 0.9, 0.8, 0.05, 0.015
MAX_ENTROPY_RISE, MAX_CLASS_EXCESS, MAX_CLASS_GROWTH, MAX_DISTANCE_RATIO = 0.03, 0.65, 0.15, 1.0
Arrays = dict[str, Any]
Reason = tuple[str, bool, str]
"""Name, whether it holds, and what was measured."""
TOLD = ("field.classes", "field.entropy", "field.sure", "field.sure_entropy", "field.distance")


def summarised(before_NK: Any, after_NK: Any, distances: tuple[float, float]) -> Arrays:
    """What is kept of the probabilities with the network's own statistics and with the new ones; no image among it.

    Entropies are shares of ln K; ``distances`` are those of the layers from what the images make them see.
    """
    number, pairs = before_NK.shape[1], (before_NK.astype(np.float64), after_NK.astype(np.float64))
    with np.errstate(divide="ignore", invalid="ignore"):
        entropies = [-np.where(p > 0, p * np.log(p), 0).sum(1) / np.log(max(number, 2)) for p in pairs]
    classes, sure = [p.argmax(1) for p in pairs], before_NK.max(1) >= SURE
    return {
        "field.classes": np.array([np.bincount(one, minlength=number) for one in classes], np.int64),
        "field.entropy": np.array([one.mean() for one in entropies]),
        "field.sure": np.array([sure.sum(), (classes[0] == classes[1])[sure].sum()], np.int64),
        "field.sure_entropy": np.array([one[sure].mean() if sure.any() else 0.0 for one in entropies]),
        "field.distance": np.array(distances, np.float64),
    }


def reasons(told: Arrays, num_classes: int, few_images: bool = False) -> list[Reason]:
    """Each reason, by what :func:`summarised` keeps; raises ValueError for numbers that no images can have."""
    _require_possible(told, num_classes)
    counts, entropy, (sure, kept), sure_entropy, distance = (told[name] for name in TOLD)
    images, rises = int(counts[0].sum()), [float(after - before) for before, after in (entropy, sure_entropy)]
    shares, usual = counts.max(1) / images, 1 / counts.shape[1]
    allowed = usual + MAX_CLASS_EXCESS * (1 - usual)
    limit = f"at most {allowed:.0%}: {usual:.0%} is usual, and {MAX_CLASS_EXCESS:.0%} of the way from there to all"
    growth = f"the largest class has {shares[1]:.0%} after {shares[0]:.0%} (at most {MAX_CLASS_GROWTH:.0%} more)"
    rise = f"changes by {rises[0]:+.3f} of ln K over all images (at most +{MAX_ENTROPY_RISE:g})"
    layers = f"layers are {distance[1]:.3g} from what they hold, {distance[0]:.3g} without adaptation"
    judged = [
        (
            "images",
            few_images or images >= FEWEST_IMAGES,
            f"{images}, at least {FEWEST_IMAGES} unless few are asked for",
        ),
        ("one class", shares[0] <= allowed, f"the source takes {shares[0]:.0%} of the images for one class ({limit})"),
        ("collapse", shares[1] - shares[0] <= MAX_CLASS_GROWTH, growth),
        ("entropy", rises[0] <= MAX_ENTROPY_RISE, rise),
        *(_sure_answers(int(sure), int(kept), *rises) if sure else ()),
        ("statistics", distance[1] <= MAX_DISTANCE_RATIO * distance[0], layers),
    ]
    return [(name, bool(holds), text) for name, holds, text in judged]


def lines(judged: list[Reason]) -> list[str]:
    """Each reason as a line."""
    return [f"{'ok  ' if holds else 'FAIL'} {name}: {text}" for name, holds, text in judged]


def _sure_answers(sure: int, kept: int, rise: float, sure_rise: float) -> list[Reason]:
    where, excused = f"of {sure} images that the source is sure of", -rise >= EXCUSING_ENTROPY_FALL
    classes = f"{kept / sure:.0%} {where} keep their class (at least {MIN_AGREEMENT:.0%})"
    surely = f"the entropy {where} changes by {sure_rise:+.3f} of ln K (at most +{MAX_SURE_ENTROPY_RISE:g})"
    limits = (
        ("agreement", kept / sure >= MIN_AGREEMENT, classes),
        ("sure answers", sure_rise <= MAX_SURE_ENTROPY_RISE, surely),
    )
    excuse = "; excused, since answers became surer as a whole" if excused else ""
    return [(name, holds or excused, text if holds else f"{text}{excuse}") for name, holds, text in limits]


def _require_possible(told: Arrays, num_classes: int) -> None:
    shapes, kinds = [(2, num_classes), *[(2,)] * 4, ()], "ififfi"
    values = [told.get(name, np.array("")) for name in (*TOLD, "images")]
    possible = all(
        v.shape == shape and v.dtype.kind == kind for v, shape, kind in zip(values, shapes, kinds, strict=True)
    )
    if possible:
        counts, entropy, (sure, kept), sure_entropy, distance, images = values
        entropies = np.concatenate([entropy, sure_entropy])
        possible = bool(
            (counts >= 0).all() and images > 0 and (counts.sum(1, dtype=np.float64) == images).all()
            and (entropies >= 0).all() and (entropies <= 1 + 1e-6).all()
            and 0 <= kept <= sure <= images
            and np.isfinite(distance).all() and (distance >= 0).all()
        )  # fmt: skip
    if not possible:
        raise ValueError("what the file tells of its images is incomplete or impossible")
