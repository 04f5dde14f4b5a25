"""Drift and the revert rule on a network with several outputs: the one that is chosen decides."""

import pytest
import torch
from torch import nn

from eyas.adaptation.drift import DriftReference, detect_drift
from eyas.adaptation.revert_rule import judge
from eyas.errors import DataError


class TwoHeads(nn.Module):
    """Answers with an auxiliary head first; ``only`` picks one."""

    def __init__(self, only: str | None = None) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.conv, self.norm, self.only = nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), only
        self.first, self.second = nn.Linear(6, 2), nn.Linear(6, 5)
        for parameter in self.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator)

    def forward(self, images):
        x = self.norm(self.conv(images)).relu().mean((2, 3))
        answers = {"first": self.first(x), "second": self.second(x)}
        return answers if self.only is None else answers[self.only]


@pytest.fixture
def images():
    return torch.randn(240, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def test_the_chosen_output_is_what_drift_and_the_rule_go_by(images):
    whole, second = TwoHeads().eval(), TwoHeads("second").eval()
    labels = torch.arange(120) % 5
    chosen = DriftReference.of(whole, images[:120], labels, output="second")
    alone = DriftReference.of(second, images[:120], labels)
    for name, values in alone.numbers.items():
        assert (chosen.numbers[name] == values).all()
    assert chosen.counts.tolist() == alone.counts.tolist()
    field = images[120:] * 3
    reports = detect_drift(whole, field, chosen, output="second"), detect_drift(second, field, alone)
    assert reports[0].sentence == reports[1].sentence
    canary = images[:120], labels
    verdicts = judge(whole, whole, field, canary, output="second"), judge(second, second, field, canary)
    assert verdicts[0].lines() == verdicts[1].lines()
    assert judge(whole, whole, field).lines() != verdicts[0].lines(), "the first output where none is chosen"


def test_an_output_that_there_is_not_is_told(images):
    with pytest.raises(DataError, match="no tensor there|third"):
        DriftReference.of(TwoHeads().eval(), images, output="third")
