"""The paired interval: against its formula, by simulation, and at its edges."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eyas.operations.paired_counts import PairedCounts, about

counts = st.tuples(st.integers(0, 60), st.integers(0, 60), st.integers(0, 400)).map(
    lambda drawn: PairedCounts(drawn[0] + drawn[1] + drawn[2], drawn[0], drawn[1])
)


def test_counts_are_those_of_the_images() -> None:
    first = np.array([1, 1, 1, 0, 0, 0, 0])
    second = np.array([1, 0, 0, 1, 1, 1, 0])
    assert PairedCounts.of(first, second) == PairedCounts(images=7, gained=3, lost=2)
    assert PairedCounts.of(first, second).difference == pytest.approx(second.mean() - first.mean())


def test_the_interval_by_hand() -> None:
    # 50 images, 3 gained, 8 lost; half an image in each cell: 52 images, 3.5 and 8.5.
    low, high = PairedCounts(50, 3, 8).interval(2.0)
    per_image = np.array([1.0] * 7 + [-1.0] * 17 + [0.0] * 80)  # every half image as one, 104 of them
    error = per_image.std() / math.sqrt(52)
    assert low == pytest.approx(per_image.mean() - 2 * error)
    assert high == pytest.approx(per_image.mean() + 2 * error)


@given(counts)
def test_exchanging_the_networks_mirrors_the_interval(pair: PairedCounts) -> None:
    low, high = PairedCounts(pair.images, pair.lost, pair.gained).interval()
    assert (-high, -low) == pytest.approx(pair.interval(), abs=1e-12)


@given(counts)
def test_the_interval_holds_what_was_measured_and_stays_possible(pair: PairedCounts) -> None:
    low, high = pair.interval()
    assert -1 <= low < high <= 1
    if pair.images:
        assert low <= pair.difference <= high


@given(counts, st.floats(0, 5), st.floats(0, 5))
def test_more_deviations_never_make_it_narrower(pair: PairedCounts, one: float, other: float) -> None:
    (low, high), (lower, higher) = pair.interval(min(one, other)), pair.interval(max(one, other))
    assert lower <= low <= high <= higher


@settings(max_examples=50)
@given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=40), st.randoms())
def test_the_order_of_images_does_not_matter(pairs: list[tuple[bool, bool]], random: object) -> None:
    def of(pairs: list[tuple[bool, bool]]) -> PairedCounts:
        return PairedCounts.of(*np.array(pairs, dtype=bool).reshape(-1, 2).T)

    shuffled = random.sample(pairs, len(pairs))  # type: ignore[attr-defined]
    assert of(shuffled) == of(pairs)


@pytest.mark.parametrize("images", [0, 1, 2, 10])
def test_equal_answers_to_few_images_are_not_certain(images: int) -> None:
    low, high = PairedCounts(images, 0, 0).interval()
    assert low < -0.1
    assert high == -low
    assert math.isnan(PairedCounts(images, 0, 0).difference) == (images == 0)


def test_equal_answers_to_many_images_are_nearly_so() -> None:
    assert PairedCounts(10_000, 0, 0).interval()[0] == pytest.approx(-1.96 / 10_002)


@given(counts.filter(lambda pair: pair.images >= 20), st.sampled_from([-0.2, -0.01, 0.0, 0.2]), st.floats(0.5, 3))
def test_the_images_that_would_do_reach_the_limit_and_hardly_fewer_do(
    pair: PairedCounts, least: float, deviations: float
) -> None:
    images = pair.images_to_reach(least, deviations)
    if pair.difference <= least:
        assert images == math.inf
    elif images < 1e6:

        def low(images: float) -> float:
            share = images / pair.images
            scaled = PairedCounts(images, pair.gained * share, pair.lost * share)  # type: ignore[arg-type]
            return scaled.interval(deviations)[0]

        shift = 10 + 2 * abs(least) / (pair.difference - least)  # what half an image in each cell makes
        assert low(1.05 * images + shift) >= least - 1e-9
        assert images < 50 or low(0.95 * images - shift) <= least + 1e-9


@pytest.mark.parametrize(("images", "words"), [(7.2, "8"), (98, "98"), (101, "110"), (1081, "1,100"), (1e4, "10,000")])
def test_a_number_of_images_is_told_with_two_digits(images: float, words: str) -> None:
    assert about(images) == f"about {words}"


@pytest.mark.parametrize("images", [30, 100, 360, 2000])
@pytest.mark.parametrize(("gained", "lost"), [(0.02, 0.02), (0.01, 0.06), (0.1, 0.05), (0.002, 0.005)])
def test_it_holds_the_true_difference_in_95_of_100_samples(images: int, gained: float, lost: float) -> None:
    rng = np.random.default_rng(0)
    cells = rng.multinomial(images, [gained, lost, 1 - gained - lost], size=4000)
    intervals = [PairedCounts(images, *map(int, cell[:2])).interval() for cell in cells]
    covered = np.mean([low <= gained - lost <= high for low, high in intervals])
    assert covered > 0.94
