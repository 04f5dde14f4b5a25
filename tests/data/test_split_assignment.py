"""Splits by content: disjoint, stable under growth, blind to order and place, of the promised size."""

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eyas.data.split_assignment import assign, count_classes, position, smallest
from eyas.errors import DataError

SHARES = {"test": 0.2, "score": 0.15, "calibration": 0.1}
digests = st.binary(min_size=1, max_size=8).map(lambda data: hashlib.sha256(data).hexdigest())


@given(digests)
def test_an_image_alone_decides_its_split(digest: str) -> None:
    place = int.from_bytes(bytes.fromhex(digest)[24:], "big") / 2.0**64
    expected = "test" if place < 0.2 else "score" if place < 0.35 else "calibration" if place < 0.45 else "train"
    assert assign(digest, **SHARES) == expected
    assert 0 <= position(digest) <= 1


def test_shares_are_met() -> None:
    names = [assign(hashlib.sha256(bytes([n % 256, n // 256])).hexdigest(), **SHARES) for n in range(20_000)]
    for name, share in {**SHARES, "train": 0.55}.items():
        sigma = (share * (1 - share) / 20_000) ** 0.5
        assert abs(names.count(name) / 20_000 - share) < 4 * sigma


@given(digests, st.floats(0.01, 0.3), st.floats(0.01, 0.3))
def test_a_larger_calibration_share_takes_from_train_alone(digest: str, less: float, more: float) -> None:
    less, more = sorted((less, more))
    before = assign(digest, test=0.2, score=0.15, calibration=less)
    after = assign(digest, test=0.2, score=0.15, calibration=more)
    assert before == after or (before, after) == ("train", "calibration")


@settings(max_examples=50)
@given(st.lists(digests, min_size=1, max_size=40, unique=True), st.integers(1, 50), st.randoms())
def test_the_smallest_are_chosen_whatever_the_order(hashes: list[str], count: int, random) -> None:
    chosen = {hashes[at] for at in smallest(hashes, count)}
    assert chosen == set(sorted(hashes)[:count])
    shuffled = list(hashes)
    random.shuffle(shuffled)
    assert {shuffled[at] for at in smallest(shuffled, count)} == chosen


@given(st.lists(digests, min_size=2, max_size=40, unique=True), st.integers(1, 20))
def test_adding_images_keeps_or_drops_but_never_moves(hashes: list[str], count: int) -> None:
    fewer = hashes[:-1]
    before = {fewer[at] for at in smallest(fewer, count)}
    after = {hashes[at] for at in smallest(hashes, count)}
    assert after - before <= {hashes[-1]}


def test_order_and_split_are_independent() -> None:
    hashes = [hashlib.sha256(bytes([n % 256, n // 256])).hexdigest() for n in range(4000)]
    first = np.array([position(hashes[at]) for at in smallest(hashes, 400)])
    assert abs(first.mean() - 0.5) < 4 * (1 / 12 / 400) ** 0.5


def test_an_absent_class_is_named_with_its_split() -> None:
    with pytest.raises(DataError, match="'bee' has no image in split 'score'"):
        count_classes(
            [0, 1, 0, 1, 0, 0, 1],
            ["train", "train", "calibration", "calibration", "score", "test", "test"],
            ["ant", "bee"],
        )
    for limited in (False, True):
        with pytest.raises(DataError) as raised:
            count_classes([0], ["train"], ["ant"], limited=limited)
        assert ("max_images" in str(raised.value)) is limited, "what is not set leaves no image out"
    counts = count_classes([0, 0, 0, 0], ["train", "calibration", "score", "test"], ["ant"])
    assert counts == {name: {"ant": 1} for name in ("train", "calibration", "score", "test")}
