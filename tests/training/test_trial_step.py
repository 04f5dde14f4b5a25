"""A network that cannot be trained is refused before the first step, and nothing of it is changed."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from eyas.errors import ParameterError
from eyas.training.trial_step import check_learns

SHAPE = (3, 8, 8)


class Classifier(nn.Sequential):
    """Batch norm and dropout, whose state and draws a step would change."""

    def __init__(self) -> None:
        body = [nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
        super().__init__(*body, nn.Linear(4, 5))


class OtherInTraining(Classifier):
    """Does something else in train mode."""

    def __init__(self, change: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.change = change

    def forward(self, images: Tensor) -> Tensor:
        answer = super().forward(images)
        return self.change(answer) if self.training else answer


def _raise(answer: Tensor) -> Tensor:
    raise AssertionError("no training here")


@pytest.mark.parametrize(
    ("network", "words"),
    [
        (Classifier().requires_grad_(requires_grad=False), "all its parameters are frozen"),
        (OtherInTraining(Tensor.detach), "turns gradients off"),
        (OtherInTraining(lambda logits: logits.detach().requires_grad_()), "no gradient reaches any"),
        (OtherInTraining(lambda logits: logits[:, :3]), r"answers two images with \(2, 3\) in train mode, .*\(2, 5\)"),
        (OtherInTraining(lambda logits: logits[None]), r"\(1, 2, 5\) in train mode"),
        (OtherInTraining(_raise), "in train mode it fails with AssertionError: no training here"),
        (OtherInTraining(lambda logits: logits.nothing), "AttributeError"),
    ],
)
def test_what_cannot_be_trained_is_refused_in_one_line(network: nn.Module, words: str) -> None:
    with pytest.raises(ParameterError, match=words) as caught:
        check_learns(network.eval(), SHAPE)
    assert (caught.value.exit_status, "\n" in str(caught.value)) == (2, False)
    assert not any(module.training for module in network.modules())


@pytest.mark.parametrize("training", [True, False])
def test_a_network_that_learns_is_left_as_it_was(training: bool) -> None:
    network = Classifier().train(training)
    network[0].requires_grad_(requires_grad=False)
    before, state = copy.deepcopy(network.state_dict()), torch.get_rng_state()
    check_learns(network, SHAPE)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())
    assert torch.equal(torch.get_rng_state(), state)
    assert network.training is training


def test_the_outputs_of_an_auxiliary_head_are_no_fault() -> None:
    check_learns(OtherInTraining(lambda logits: (logits, logits[:, :2])), SHAPE)
