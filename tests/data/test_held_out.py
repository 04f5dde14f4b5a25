"""Test images against what a network was made with: by content, whatever the files are called."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eyas.data.comparability import Comparability
from eyas.data.held_out import HeldOutImages
from eyas.data.index import read_index
from eyas.data.manifest import INDEX, read_manifest
from eyas.data.split_assignment import assign

MADE = Comparability()
DOUBTFUL = Comparability(False, "its checkpoint may have seen them")
SHARES = st.floats(0.05, 0.4)


def digests(count: int, salt: str) -> list[str]:
    return [hashlib.sha256(f"{salt} {number}".encode()).hexdigest() for number in range(count)]


def held_out(images: list[str], share: float) -> frozenset[str]:
    return frozenset(one for one in images if assign(one, test=share, score=0.1, calibration=0.1) == "test")


@given(st.integers(1, 80), st.integers(0, 80), st.integers(0, 80), SHARES, st.text(max_size=3))
def test_new_and_removed_data_moves_no_image_into_the_test_set(
    before: int, more: int, fewer: int, share: float, salt: str
) -> None:
    old = digests(before, salt)
    new = [*old[min(fewer, before) :], *digests(more, salt + "new")]
    test = HeldOutImages("new", held_out(new, share), of_its_own=False)
    seen = set(old) - held_out(old, share)
    assert test.unseen_by("net 1", MADE, "old", seen).comparable


@given(st.integers(1, 80), SHARES, SHARES, st.text(max_size=3))
def test_another_share_is_comparable_exactly_where_it_takes_no_image_that_was_trained_on(
    count: int, then: float, now: float, salt: str
) -> None:
    images = digests(count, salt)
    seen, test = set(images) - held_out(images, then), held_out(images, now)
    decided = HeldOutImages("new", test, of_its_own=False).unseen_by("net 1", MADE, "old", seen)
    shared = sum(one in seen for one in test)
    assert decided.comparable == (shared == 0)
    assert now > then or decided.comparable
    assert decided.comparable or decided.reason == f"net 1 was made with {shared} of the {len(test)} test images"


def test_on_the_same_data_set_what_was_found_at_its_making_holds() -> None:
    test = HeldOutImages("same", frozenset("ab"), of_its_own=True)
    for made in (MADE, DOUBTFUL):
        assert test.unseen_by("net 1", made, "same", None) == made


def test_what_nobody_knows_is_not_comparable() -> None:
    decided = HeldOutImages("new", frozenset("ab"), of_its_own=True).unseen_by("net 1", MADE, "old", None)
    assert (decided.comparable, decided.reason) == (False, "which images net 1 was made with is not known any more")


def test_a_doubt_from_its_making_stays_until_a_test_set_of_its_own_is_given() -> None:
    for own in (False, True):
        test = HeldOutImages("new", frozenset("ab"), of_its_own=own)
        assert test.unseen_by("net 1", DOUBTFUL, "old", {"c"}).comparable is own
        assert not test.unseen_by("net 1", DOUBTFUL, "old", {"a"}).comparable


READ = "3 8 None "


def test_images_that_were_seen_in_another_file_are_seen() -> None:
    test = HeldOutImages("new", frozenset("abc"), of_its_own=True, pixels={one: f"{READ}{one}" for one in "abc"})
    decided = test.unseen_by("net 1", MADE, "old", {"x", f"{READ}b", "c", f"{READ}c"})
    assert decided.reason == "net 1 was made with 2 of the 3 test images"
    assert test.unseen_by("net 1", MADE, "old", {"x", f"{READ}y"}).comparable


@pytest.mark.parametrize(
    ("seen", "told"), [({"x"}, True), ({"x", "3 16 None a"}, True), ({"x", f"{READ}y"}, False), ({"a"}, False)]
)
def test_where_pixels_cannot_be_compared_it_is_said(
    caplog: pytest.LogCaptureFixture, seen: set[str], told: bool
) -> None:
    test = HeldOutImages("new", frozenset("a"), of_its_own=True, pixels={"a": f"{READ}a"})
    assert test.unseen_by("net 1", MADE, "old", seen).comparable is (seen != {"a"})
    assert ("a test image that is among them in another file is not recognised" in caplog.text) is told


def test_of_a_data_set_pixels_are_known_by_how_they_were_read(
    fetched: Callable[..., Path], folder: Path, tmp_path: Path
) -> None:
    made = fetched(folder)
    test = HeldOutImages.of(made)
    rows = {row.sha256: row.pixels for row in read_index(made / INDEX) if row.split == "test"}
    assert test.pixels == {digest: f"{READ}{pixels}" for digest, pixels in rows.items()}
    old = read_manifest(made).model_copy(update={"repeated": None})
    (made / "manifest.json").write_text(old.to_json())
    assert HeldOutImages.of(made).pixels == {}
