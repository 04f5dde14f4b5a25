"""Test images against what a network was made with: by content, whatever the files are called."""

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from eyas.data.comparability import Comparability
from eyas.data.held_out import HeldOutImages
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
