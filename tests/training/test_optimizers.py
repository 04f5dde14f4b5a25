"""Any optimiser of torch by name, in every recipe: the same steps as torch's own, checked before training."""

from typing import Literal

import pytest
import torch
from pydantic import ValidationError
from torch.nn.functional import cross_entropy

from eyas.config import parse_params
from eyas.errors import ParameterError
from eyas.training import TensorSplit, train
from eyas.training.recipes import Recipe
from eyas.training.recipes.sgd import SGD
from tests.training.helpers import state_hash

PLAIN = {"augmentation": "none", "distillation": None, "warmup_epochs": 0, "batch_size": 64}


class Bare(Recipe):
    """A recipe with a schedule of its own that makes its own optimiser."""

    kind: Literal["bare_for_tests"] = "bare_for_tests"

    def optimiser(self, model):
        return torch.optim.SGD(model.parameters(), lr=0.1)

    def rate(self, epoch, epochs):
        return 0.01

    def loss(self, logits_NK, labels_N, teacher_NK):
        return cross_entropy(logits_NK, labels_N)


del Recipe.registry["bare_for_tests"]


class Watched(TensorSplit):
    """Keeps what it hands out in an order."""

    def to(self, device):
        return self

    def batches(self, batch_size, order=None):
        for batch in super().batches(batch_size, order):
            if order is not None:
                self.__dict__.setdefault("seen", []).append(batch)
            yield batch


@pytest.mark.parametrize("name", ["adamw", "AdamW", "torch.optim:AdamW"])
def test_training_takes_torchs_own_steps(name, tiny, digits):
    """Held against the loop spelled out: one epoch of four steps on images in the loop's order."""
    recipe = SGD(optimizer=name, optimizer_arguments={"betas": [0.8, 0.95], "eps": "1e-6"}, weight_decay=0.1, **PLAIN)
    split = Watched(digits[0].images, digits[0].labels)
    model, other = tiny(), tiny()
    model.dropout.p = other.dropout.p = 0.0
    train(model, split, digits[1], recipe=recipe, epochs=1)
    weights = [parameter for parameter in other.parameters() if parameter.ndim > 1]
    rest = [parameter for parameter in other.parameters() if parameter.ndim == 1]
    groups = [{"params": weights}, {"params": rest, "weight_decay": 0.0}]
    adam = torch.optim.AdamW(groups, lr=0.001, betas=(0.8, 0.95), eps=1e-6, weight_decay=0.1)
    other = other.to(memory_format=torch.channels_last).train()
    assert len(split.seen) == 4
    for step, (images, labels) in enumerate(split.seen, start=1):
        for group in adam.param_groups:
            group["lr"] = recipe.rate(step / 5, 1)
        adam.zero_grad()
        cross_entropy(other(images.contiguous(memory_format=torch.channels_last)), labels).backward()
        adam.step()
    assert state_hash(model) == state_hash(other)


@pytest.mark.parametrize(
    ("name", "learning_rate", "momentum", "weight_decay"),
    [("sgd", 0.05, 0.9, 5e-4), ("SGD", 0.05, 0.9, 5e-4), ("adamw", 1e-3, 0, 1e-2), ("rmsprop", 1e-2, 0, 0)],
)
def test_what_is_left_out_is_the_optimisers_own_default(name, learning_rate, momentum, weight_decay):
    recipe = Recipe.parse({"kind": "sgd", "optimizer": name})
    assert (recipe.learning_rate, recipe.momentum, recipe.weight_decay) == (learning_rate, momentum, weight_decay)
    assert Recipe.parse(recipe.model_dump(mode="json")) == recipe
    assert SGD(optimizer=name, learning_rate=0.3, weight_decay=0.2).learning_rate == 0.3


@pytest.mark.parametrize(
    "name", ["adadelta", "adafactor", "adagrad", "adam", "adamax", "asgd", "nadam", "radam", "rprop"]
)
def test_every_other_optimiser_of_torch_trains_a_network(name, tiny, digits):
    recipe, model = SGD(optimizer=name, learning_rate=0.001, **PLAIN), tiny()
    assert type(recipe.make_optimiser(model)).__name__.lower() == name
    before = state_hash(model)
    train(model, *digits[:2], recipe=recipe, epochs=1)
    assert state_hash(model) != before


def test_a_recipe_that_makes_its_own_optimiser_takes_another_too(tiny):
    assert type(Bare().make_optimiser(tiny())).__name__ == "SGD"
    named = Bare(optimizer="adam", optimizer_arguments={"weight_decay": 0.1})
    made = named.make_optimiser(tiny())
    assert (type(made).__name__, made.defaults["weight_decay"]) == ("Adam", 0.1)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"optimizer": "adamm"}, r"'adamm' is not in torch.optim \(did you mean 'adam'\?\): give adafactor, "),
        ({"optimizer": "muon"}, "muon cannot be used: ValueError: Muon only supports 2D"),
        ({"optimizer": "lbfgs"}, "lbfgs cannot be used: ValueError: LBFGS"),
        ({"optimizer": "sparseadam"}, "sparseadam cannot be used: RuntimeError: SparseAdam does not support dense"),
        ({"optimizer": "adam", "momentum": 0.9}, "adam knows no momentum: leave momentum out"),
        ({"optimizer": "adam", "optimizer_arguments": {"beta": 1}}, r"adam takes no beta \(did you mean 'betas'\?\)"),
        ({"optimizer": "adam", "optimizer_arguments": {"lr": 1}}, "lr is the recipe's own learning_rate: write it"),
        ({"optimizer": "adam", "optimizer_arguments": {"betas": [2, 3]}}, "adam cannot be used: ValueError: Invalid"),
        ({"optimizer": "nowhere.optim:Lion"}, "nowhere.optim:Lion cannot be imported"),
        ({"optimizer_arguments": {"dampening": 0.1}}, "sgd cannot be used: ValueError: Nesterov"),
    ],
)
def test_what_cannot_be_is_refused_in_words(options, words):
    with pytest.raises((ValidationError, ParameterError), match=words):
        Recipe.parse({"kind": "sgd", **options})


def test_arguments_without_an_optimiser_are_refused():
    with pytest.raises(ValidationError, match="name it, as in optimizer: adamw"):
        Bare(optimizer_arguments={"eps": 1})


def test_a_parameter_file_tells_the_section():
    with pytest.raises(ParameterError, match=r"finetune\.recipe: optimizer 'adamm' is not in torch.optim"):
        parse_params({"finetune": {"recipe": {"kind": "sgd", "optimizer": "adamm"}}})


def test_checking_an_optimiser_draws_nothing():
    state = torch.random.get_rng_state()
    SGD(optimizer="adamw")
    assert torch.equal(torch.random.get_rng_state(), state)
