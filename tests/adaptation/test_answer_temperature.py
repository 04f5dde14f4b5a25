"""The temperature is the one that drew the labels, never below 1; softened answers are those of divided logits."""

import pytest
import torch

from eyas.adaptation.answer_temperature import HOTTEST, fit_temperature, softened


def drawn(temperature: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits, and labels that are as frequent as the softmax of logits divided by the temperature says."""
    generator = torch.Generator().manual_seed(0)
    logits = 4 * torch.randn(4000, 6, generator=generator)
    return logits, torch.multinomial((logits / temperature).softmax(1), 1, generator=generator)[:, 0]


@pytest.mark.parametrize("temperature", [1.5, 2.5, 3.5])
def test_it_is_the_one_with_the_least_cross_entropy(temperature: float) -> None:
    logits, labels = drawn(temperature)
    fitted = fit_temperature(logits.softmax(1), labels)
    assert fitted == pytest.approx(temperature, rel=0.1)
    grid = torch.linspace(1, 4, 301)
    losses = [float(torch.nn.functional.cross_entropy(logits / value, labels)) for value in grid]
    assert fitted == pytest.approx(float(grid[losses.index(min(losses))]), abs=0.011)


def test_answers_are_never_made_surer_nor_told_to_know_nothing() -> None:
    logits, labels = drawn(0.5)
    assert fit_temperature(logits.softmax(1), labels) == 1
    assert fit_temperature(logits.softmax(1), logits.argmax(1)) == 1
    assert fit_temperature(logits.softmax(1), (labels + 1) % 6) == pytest.approx(HOTTEST)


def test_softened_answers_are_those_of_divided_logits() -> None:
    logits = drawn(1.0)[0]
    assert torch.allclose(softened(logits.softmax(1), 2.5), (logits / 2.5).softmax(1).double(), atol=1e-6)
    sure = softened(torch.tensor([[1.0, 0.0]]), 4.0)  # zero is what underflowed, no infinity
    assert float(sure[0, 0]) > 0.999
