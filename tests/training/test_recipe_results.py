"""Recipes of one's own that give something else than they promise: told by name in the first step."""

from typing import Literal

import pytest
import torch
from torch.nn import functional

from eyas.errors import ParameterError
from eyas.training import train
from eyas.training.recipes import Recipe
from eyas.training.recipes.sgd import SGD
from eyas.training.trial_batch import check_recipe


class Odd(SGD):
    """Right but in what ``how`` names."""

    kind: Literal["odd"] = "odd"
    how: str = ""

    def loss(self, logits_NK, labels_N, teacher_NK):
        """See the base."""
        losses = functional.cross_entropy(logits_NK, labels_N, reduction="none")
        odd = {
            "no loss": None,
            "a float": losses.mean().item(),
            "per image": losses,
            "constant": losses.mean().detach(),
        }
        return odd.get(self.how, losses.mean())

    def augment(self, images_NCHW, generator):
        """See the base."""
        odd = {"fewer": images_NCHW[1:], "doubles": images_NCHW.double(), "a list": list(images_NCHW)}
        return odd.get(self.how, images_NCHW)

    def augment_stored(self, images_NCHW, generator):
        """See the base."""
        return images_NCHW[:, :, 1:] if self.how == "stored" else images_NCHW

    def rate(self, epoch, epochs):
        """See the base."""
        return None if self.how == "no rate" else super().rate(epoch, epochs)

    def optimiser(self, model):
        """See the base."""
        return None if self.how == "no optimiser" else super().optimiser(model)


del Recipe.registry["odd"]
LOSSES = [
    ("no loss", "its loss is NoneType for logits"), ("a float", "its loss is float"),
    ("per image", r"its loss is a tensor \(\d+,\)"), ("constant", r"its loss is a tensor \(\) .* passes a gradient"),
]  # fmt: skip
IMAGES = [
    ("fewer", r"its augmentation makes \(\d+, 1, 8, 8\) torch.float32 of images"),
    ("doubles", r"its augmentation makes .* torch.float64 of images"),
    ("a list", "its augmentation makes list of images"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("how", "words"),
    [
        *LOSSES, *IMAGES,
        ("stored", r"its augmentation makes \(32, 1, 7, 8\) torch.float32 of stored images \(32, 1, 8, 8\)"),
        ("no rate", "its learning rate is a NoneType: give a number"),
        ("no optimiser", "its optimiser is a NoneType"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_by_name(how, words, digits, tiny):
    with pytest.raises(ParameterError, match=f"^recipe odd: {words}") as told:
        train(tiny(), *digits[:2], recipe=Odd(how=how, batch_size=32), epochs=1)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(("how", "words"), [*LOSSES, *IMAGES])
def test_a_trial_tells_it_before_the_training(how, words):
    with pytest.raises(ParameterError, match=f"^recipe odd: {words}"):
        check_recipe(Odd(how=how), (1, 8, 8), 10)


def test_what_is_right_trains(digits, tiny):
    torch.manual_seed(0)
    result = train(tiny(), *digits[:2], recipe=Odd(batch_size=32), epochs=2)
    assert result.history[-1].train_loss < result.history[0].train_loss
