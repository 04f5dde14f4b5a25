"""How long a training is where the user left it open: enough steps for small sets, the same as ever for large ones."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eyas.training import TensorSplit, choose_length, train
from eyas.training.recipes import Recipe
from eyas.training.recipes.sgd import SGD
from tests.training.helpers import state_hash

SIZES = st.integers(2, 2_000_000)


@given(st.integers(5120, 2_000_000))
def test_large_sets_are_trained_as_ever(images: int) -> None:
    length = choose_length(images)
    assert (length.batch_size, length.epochs) == (128, 15)
    assert length.steps == 15 * (images // 128)


@given(SIZES)
def test_small_sets_get_enough_steps(images: int) -> None:
    length = choose_length(images)
    assert length.batch_size in {16, 32, 64, 128}
    assert 15 <= length.epochs <= 200
    assert length.steps >= 600 or length.epochs == 200
    assert length.steps_per_epoch >= 20 or length.batch_size == 16


@pytest.mark.parametrize(
    ("images", "batch_size", "epochs"),
    # By hand: the largest batch with 20 steps an epoch, then 600 steps.
    [(60, 16, 200), (400, 16, 24), (640, 32, 30), (1280, 64, 30), (2559, 64, 16), (2560, 128, 30), (50_000, 128, 15)],
)
def test_the_rule_by_hand(images: int, batch_size: int, epochs: int) -> None:
    length = choose_length(images)
    assert (length.batch_size, length.epochs) == (batch_size, epochs)
    assert length.chosen == ("batch_size", "epochs")


@given(SIZES, st.integers(2, 1024), st.integers(0, 300))
def test_what_was_given_stays(images: int, batch_size: int, epochs: int) -> None:
    length = choose_length(images, batch_size, epochs)
    assert (length.batch_size, length.epochs, length.chosen) == (batch_size, epochs, ())
    assert choose_length(images, batch_size, None).batch_size == batch_size
    assert choose_length(images, None, epochs).epochs == epochs


def test_the_text_says_what_was_chosen_and_what_was_not() -> None:
    assert choose_length(400).text == (
        "24 epochs of 25 steps with batches of 16 (batch_size and epochs chosen for 400 images)"
    )
    assert "(epochs chosen for 400 images)" in choose_length(400, 128).text
    assert choose_length(400, 128, 15).text == "15 epochs of 3 steps with batches of 128"


@pytest.mark.parametrize("kind", sorted(Recipe.registry))
def test_every_recipe_leaves_its_batch_size_open(kind: str) -> None:
    assert Recipe.parse(kind).batch_size is None


@pytest.mark.parametrize("images", [40, 100, 256])
def test_a_training_takes_what_the_rule_says_and_tells_it(digits, tiny, caplog, images: int) -> None:
    caplog.set_level("INFO")
    split, score, _ = digits
    part = TensorSplit(split.images[:images], split.labels[:images])
    expected = choose_length(images, epochs=2)
    chosen, named = tiny(), tiny()
    result = train(chosen, part, score, recipe=SGD(), epochs=2)
    assert result.length == expected
    assert f"training: {expected.text}" in caplog.messages
    train(named, part, score, recipe=SGD(batch_size=expected.batch_size), epochs=2)
    assert state_hash(chosen) == state_hash(named)


def test_epochs_left_open_are_trained(digits, tiny) -> None:
    split, score, _ = digits
    result = train(tiny(), split, score, recipe=SGD(batch_size=128), epochs=None)
    assert len(result.history) == result.length.epochs == choose_length(256, 128).epochs == 200
