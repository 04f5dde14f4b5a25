"""What speaks against new statistics where images have no labels: the revert rule's reasons, by numpy alone.

A device keeps these numbers beside its statistics, so that ``eyas verify`` judges by the same. The bundle says the
limits of ``adapt.rule`` and how often clean images are of each class. Shapes: N images, K classes.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING or __package__:  # within eyas
    from eyas.deploy.bundle.class_permutations import class_balance_test
else:  # in a bundle
    from class_permutations import class_balance_test

RULE = "adapt_rule.json"
LIMITS = {
    "sure": 0.9,
    "min_agreement": 0.8,
    "max_sure_entropy_rise": 0.05,
    "excusing_entropy_fall": 0.015,
    "max_entropy_rise": 0.03,
    "max_class_distance": 0.15,
    "max_class_excess": 0.65,
    "max_class_growth": 0.15,
    "max_distance_ratio": 1.0,
    "max_canary_loss": 0.75,
}
"""Those of a bundle that says none, the defaults of ``adapt.rule``. ``max_canary_loss`` holds for golden images: the
largest share that may get another class than PyTorch gave."""
FEWEST_IMAGES, MOST_IMAGES, CHANCE = 64, 10**8, 0.01
"""Images that are no few, how many can be told, and the probability from which on classes are as far apart by chance.
"""
HOLD_OUT = {"from": 256, "one_of": 4}
"""From so many images on one of four is kept from the statistics, and they are judged by these."""
Arrays = dict[str, Any]
Rule = dict[str, Any]
Reason = tuple[str, bool, str]
"""Name, whether it holds, and what was measured."""
TOLD = ("field.classes", "field.entropy", "field.sure", "field.sure_entropy", "field.distance")


def write_rule(folder: Path, limits: Mapping[str, float], clean_classes: Sequence[int] | None) -> None:
    """Leave the rule in a bundle; ``clean_classes`` is how often the network answers clean images with each class."""
    classes = None if clean_classes is None else list(clean_classes)
    rule = {"clean_classes": classes, "hold_out": HOLD_OUT, "limits": {name: limits[name] for name in LIMITS}}
    (folder / RULE).write_text(json.dumps(rule, indent=1) + "\n", "utf-8")


def read_rule(folder: Path) -> Rule:
    """The rule of a bundle; of an older one, which has none, limits alone."""
    path = folder / RULE
    if not path.is_file():
        return {"clean_classes": None, "hold_out": None, "limits": LIMITS}
    told: Rule = json.loads(path.read_text("utf-8"))
    return told


def judging(images: int, rule: Rule) -> int:
    """How many of so many images judge: some that are held out, or all where they are too few for that."""
    hold_out = rule["hold_out"]
    return images // int(hold_out["one_of"]) if hold_out and images >= hold_out["from"] else images


def summarised(before_NK: Any, after_NK: Any, distances: tuple[float, float], rule: Rule) -> Arrays:
    """What is kept of the probabilities with the network's own statistics and with the new ones; no image among it.

    Entropies are shares of ln K; ``distances`` are those of the layers from what the images make them see.
    """
    number, pairs = before_NK.shape[1], (before_NK.astype(np.float64), after_NK.astype(np.float64))
    with np.errstate(divide="ignore", invalid="ignore"):
        entropies = [-np.where(p > 0, p * np.log(p), 0).sum(1) / np.log(max(number, 2)) for p in pairs]
    classes, sure = [p.argmax(1) for p in pairs], before_NK.max(1) >= rule["limits"]["sure"]
    return {
        "field.classes": np.array([np.bincount(one, minlength=number) for one in classes], np.int64),
        "field.entropy": np.array([one.mean() for one in entropies]),
        "field.sure": np.array([sure.sum(), (classes[0] == classes[1])[sure].sum()], np.int64),
        "field.sure_entropy": np.array([one[sure].mean() if sure.any() else 0.0 for one in entropies]),
        "field.distance": np.array(distances, np.float64),
    }


def reasons(told: Arrays, num_classes: int, rule: Rule, few_images: bool = False) -> list[Reason]:
    """Each reason, by what :func:`summarised` keeps; raises ValueError for numbers that no images can have."""
    _require_possible(told, num_classes, rule)
    limits, clean = rule["limits"], rule["clean_classes"]
    counts, entropy, (sure, kept), sure_entropy, distance = (told[name] for name in TOLD)
    rises = [float(after - before) for before, after in (entropy, sure_entropy)]
    classes, balanced = _classes(clean, counts[1], limits) if clean else ((), False)
    excuse = _excuse(rises[0], balanced, limits)
    judged = [
        _images(int(told["images"]), rule, few_images),
        *_largest_class(counts, clean, limits),
        (
            "entropy",
            rises[0] <= limits["max_entropy_rise"],
            f"changes by {rises[0]:+.3f} of ln K over all images (at most +{limits['max_entropy_rise']:g})",
        ),
        *(_sure_answers(int(sure), kept / sure, rises[1], limits, excuse) if sure else ()),
        *classes,
        _distance(distance, limits["max_distance_ratio"]),
    ]
    return [(name, bool(holds), text) for name, holds, text in judged]


def lines(judged: list[Reason]) -> list[str]:
    """Each reason as a line."""
    return [f"{'ok  ' if holds else 'FAIL'} {name}: {text}" for name, holds, text in judged]


def _images(images: int, rule: Rule, few: bool) -> Reason:
    judges, told = judging(images, rule), f"{images}, at least {FEWEST_IMAGES} unless few are asked for"
    if rule["hold_out"]:
        same = f"the same ones judge, for of fewer than {rule['hold_out']['from']} none is held out"
        told += f"; {judges} that are held out judge" if judges < images else f"; {same}"
    return "images", few or images >= FEWEST_IMAGES, told


def _largest_class(counts_2K: Any, clean: list[int] | None, limits: Mapping[str, float]) -> list[Reason]:
    shares = counts_2K.max(1) / counts_2K[0].sum()
    usual = max(clean) / sum(clean) if clean else 1 / counts_2K.shape[1]
    allowed = usual + limits["max_class_excess"] * (1 - usual)
    way = f"{usual:.0%} is usual, and {limits['max_class_excess']:.0%} of the way from there to all"
    share = f"the source takes {shares[0]:.0%} of the images for one class (at most {allowed:.0%}: {way})"
    most = limits["max_class_growth"]
    growth = f"the largest class has {shares[1]:.0%} after {shares[0]:.0%} (at most {most:.0%} more)"
    return [("one class", shares[0] <= allowed, share), ("collapse", shares[1] - shares[0] <= most, growth)]


def _excuse(rise: float, balanced: bool, limits: Mapping[str, float]) -> str:
    """Why the network before need not be trusted where it was sure; nothing where it must."""
    if -rise >= limits["excusing_entropy_fall"]:
        return "; excused, since answers became surer as a whole"
    if balanced and rise <= limits["max_entropy_rise"]:
        return "; excused, since classes are as frequent as among clean images again"
    return ""


def _sure_answers(sure: int, agreement: float, rise: float, limits: Mapping[str, float], excuse: str) -> list[Reason]:
    where, least, most = f"of {sure} images that the source is sure of", limits["min_agreement"], limits
    classes = f"{agreement:.0%} {where} keep their class (at least {least:.0%})"
    surely = f"the entropy {where} changes by {rise:+.3f} of ln K (at most +{most['max_sure_entropy_rise']:g})"
    asked = (
        ("agreement", agreement >= least, classes),
        ("sure answers", rise <= most["max_sure_entropy_rise"], surely),
    )
    return [(name, holds or bool(excuse), text if holds else f"{text}{excuse}") for name, holds, text in asked]


def _classes(clean: list[int], counts_K: Any, limits: Mapping[str, float]) -> tuple[list[Reason], bool]:
    """Whether the new answers have each class as often as clean images have it, and whether surely so."""
    distance, p_value = class_balance_test(np.array(clean, np.int64), counts_K, smallest=CHANCE)
    near, most = distance <= limits["max_class_distance"], limits["max_class_distance"]
    chance = ", or as far as chance goes" if not near and p_value > CHANCE else ""
    text = f"shares of the classes are {distance:.2f} from those of clean images (at most {most:g}{chance})"
    return [("classes", near or p_value > CHANCE, text)], near


def _distance(distance: Any, most: float) -> Reason:
    allowed = "" if most == 1 else f" (at most {most:g} times)"
    text = f"layers are {distance[1]:.3g} from what they hold, {distance[0]:.3g} without adaptation{allowed}"
    return "statistics", distance[1] <= most * distance[0], text


def _require_possible(told: Arrays, num_classes: int, rule: Rule) -> None:
    shapes, kinds = [(2, num_classes), *[(2,)] * 4, ()], "ififfi"
    values = [told.get(name, np.array("")) for name in (*TOLD, "images")]
    possible = all(
        v.shape == shape and v.dtype.kind == kind for v, shape, kind in zip(values, shapes, kinds, strict=True)
    )
    if possible and 0 < values[-1] <= MOST_IMAGES:
        counts, entropy, (sure, kept), sure_entropy, distance, images = values
        entropies, judges = np.concatenate([entropy, sure_entropy]), judging(int(images), rule)
        possible = bool(
            (counts >= 0).all() and (counts.sum(1, dtype=np.float64) == judges).all()
            and (entropies >= 0).all() and (entropies <= 1 + 1e-6).all()
            and 0 <= kept <= sure <= judges
            and np.isfinite(distance).all() and (distance >= 0).all()
        )  # fmt: skip
    else:
        possible = False
    if not possible:
        raise ValueError("what the file tells of its images is incomplete or impossible")
