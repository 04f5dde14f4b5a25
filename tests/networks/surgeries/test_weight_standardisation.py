"""Weight standardisation: filters of mean 0 and deviation 1 in training, plain and equal afterwards."""

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

import models
from eyas.errors import ParameterError
from eyas.networks.operated_network import operate
from tests.networks.normalised_networks import Hard, Kinds, WithoutNorm, vary

IMAGES = torch.randn(16, 3, 12, 12, generator=torch.Generator().manual_seed(1))


def standardised(model: nn.Module) -> nn.Module:
    return operate(model, ["weight_standardisation"], IMAGES).model


def test_filters_have_zero_mean_and_unit_deviation() -> None:
    changed = standardised(Kinds())
    for name in ("plain", "grouped", "depthwise"):
        filters = changed.get_submodule(name).weight.detach().double().flatten(1)
        assert torch.allclose(filters.mean(1), torch.zeros(len(filters), dtype=torch.float64), atol=1e-6)
        assert torch.allclose(filters.std(1), torch.ones(len(filters), dtype=torch.float64), atol=1e-3)


def test_a_transposed_convolution_and_one_that_something_else_reads_stay() -> None:
    assert not parametrize.is_parametrized(standardised(Kinds()).up)
    model = vary(nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), Hard()))
    names = [name for name, module in standardised(model).named_modules() if parametrize.is_parametrized(module)]
    assert "2.third" not in names  # a sum reads it, too
    assert set(names) == {"0", "2.first", "2.second", "2.fourth"}


def test_shift_and_scale_of_a_filter_change_nothing() -> None:
    changed = standardised(vary(Kinds()))
    with torch.no_grad():
        before = changed(IMAGES)
        original = changed.plain.parametrizations.weight.original
        original[2] += 0.3
        original[4] *= 7
        assert torch.allclose(changed(IMAGES), before, atol=1e-4)
        original[2, 0, 0, 0] += 1  # no shift of the whole filter: the answer must notice
        assert not torch.allclose(changed(IMAGES), before, atol=1e-4)


def test_what_is_finished_is_the_plain_architecture() -> None:
    model = vary(models.build("resnet8", 10, width=4))
    operated = operate(model, ["weight_standardisation"], IMAGES)
    finished = operated.finish()
    assert str(finished) == str(model)
    assert finished.state_dict().keys() == model.state_dict().keys()
    plain = models.build("resnet8", 10, width=4)
    plain.load_state_dict(finished.state_dict())
    with torch.no_grad():
        assert torch.equal(plain.eval()(IMAGES), operated.model.eval()(IMAGES))


def test_without_a_normalisation_behind_it_is_refused() -> None:
    with pytest.raises(ParameterError, match="finds no convolution that a normalisation alone reads"):
        standardised(WithoutNorm())
