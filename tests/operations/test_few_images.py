"""What is worth setting for few images, at its edges."""

import re

import pytest

from eyas.operations.few_images import (
    Setting,
    enough_to_compare,
    fraction_for_refit,
    settings_for_few,
    too_few_to_compare,
)

USUAL = {"calibration_fraction": 0.1, "score_fraction": 0.15}


def test_six_hundred_images_want_both() -> None:
    calibration, scorer = settings_for_few(600, **USUAL, scorer=None)
    assert calibration.text == (
        "set fetch.calibration_fraction to 0.14: about 84 images calibrate then, and the refit wants 64 or more"
    )
    assert (scorer.section, scorer.field, scorer.value) == ("score", "scorer", "cross_entropy")
    assert "about 90 images judge the candidates" in scorer.why


@pytest.mark.parametrize(
    ("images", "change", "fields"),
    [
        (640, {}, ["scorer"]),  # a tenth is 64
        (639, {}, ["calibration_fraction", "scorer"]),
        (2000, {}, []),  # 300 score images
        (1999, {}, ["scorer"]),
        (1999, {"scorer": "dense_probe"}, ["scorer"]),
        (1999, {"scorer": "top1"}, []),  # chosen
        (639, {"refit": False}, ["scorer"]),
        (1999, {"labelled": False}, []),  # which cross_entropy would need
        (100, {"calibration_fraction": 0.25}, ["scorer"]),  # no more can be spared
    ],
)
def test_only_what_there_is_too_little_for_is_told(images: int, change: dict[str, object], fields: list[str]) -> None:
    told: list[Setting] = settings_for_few(images, **{"scorer": None, **USUAL, **change})  # type: ignore[arg-type]
    assert [one.field for one in told] == fields


@pytest.mark.parametrize(
    ("images", "fraction", "share"),
    [(834, 0.15, None), (833, 0.15, "0.16"), (500, 0.15, "0.25"), (499, 0.15, None), (0, 0.15, None), (600, 0.3, None)],
)
def test_a_score_split_is_widened_to_a_quarter_at_most(images: int, fraction: float, share: str | None) -> None:
    setting = enough_to_compare(images, fraction)
    assert (setting and setting.value) == share
    if share is not None:
        assert too_few_to_compare(images, float(share)) == ""


@pytest.mark.parametrize("images", [0, 1, 64, 300, 599, 600, 5000])
def test_a_share_gives_enough_or_is_the_most(images: int) -> None:
    share = fraction_for_refit(images)
    assert 0 < share <= 0.25
    assert share * images >= 64 or share == 0.25


@pytest.mark.parametrize(
    ("images", "fraction", "source_images", "way"),
    [
        (834, 0.15, None, ""),  # about 125: fewer than 100 they will hardly be
        (
            833,
            0.15,
            None,
            "about 125 images, and eyas watch and eyas adapt compare others with 100 or more of them: set",
        ),
        (600, 0.15, 1024, "about 90 images, and .* set fetch.score_fraction to 0.21, or watch with --reference FILE"),
        (240, 0.15, None, "about 36 images, and .* give 834 images or more, or watch with --reference FILE"),
        (0, 0.15, None, "give 834 images or more"),
        (2000, 0.15, 99, "adapt.source_images takes 99 of the score split, and .*: set it to 100"),
        (2000, 0.15, 100, ""),
    ],
)
def test_a_score_split_that_is_too_small_to_compare_with_is_told(
    images: int, fraction: float, source_images: int | None, way: str
) -> None:
    told = too_few_to_compare(images, fraction, source_images)
    assert re.search(way, told)
    assert bool(told) == bool(way)
