"""Which exported versions can be fed the same photographs, and answer the same question."""

from pathlib import Path
from typing import Any

import pytest

from eyas.deploy.exported_model import ExportedModel

UNKNOWN = "unknown"


def version(resize: Any = None, size: int = 8, channels: int = 1, classes: str = "abc") -> ExportedModel:
    described = {"shape": [channels, size, size], "mean": [0.5], "std": [0.5]}
    described |= {} if resize == UNKNOWN else {"resize": resize}
    return ExportedModel(Path(), {"input": described, "classes": list(classes)})


@pytest.mark.parametrize(
    ("other", "alike"),
    [
        (version(), True),
        (version(11), True),
        (version(size=12), True),
        (version(14, size=12, channels=3), True),
        (version(UNKNOWN), True),  # as it was before resizing was recorded
        (version(UNKNOWN, size=12), False),
        (version(classes="acb"), False),
        (version(classes="abcd"), False),
    ],
)
def test_versions_are_compared_where_both_say_what_they_take(other: ExportedModel, alike: bool) -> None:
    assert version().answers_as(other) == other.answers_as(version()) == alike


@pytest.mark.parametrize("resize", [None, 11, UNKNOWN])
def test_what_is_not_known_is_no_crop_and_never_one(resize: Any) -> None:
    assert version(UNKNOWN).answers_as(version(resize)) == (resize != 11)
    words = {
        None: "1 x 8 x 8 in 3",
        11: "1 x 8 x 8, cut out of a shorter edge of 11, in 3",
        UNKNOWN: "not recorded, in",
    }
    assert words[resize] in version(resize).task
