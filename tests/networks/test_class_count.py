"""The number of classes, from nothing but a checkpoint's tensors."""

import pytest
from torch import nn

import models
from eyas.errors import ParameterError
from eyas.networks.class_count import classes_of_weights


def resnet(count: int) -> nn.Module:
    return models.build(name="resnet8", num_classes=count, width=8, in_channels=1)


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("count", [2, 7, 11, 100])
def test_it_is_read_from_what_grows_with_it(prefix: str, count: int) -> None:
    weights = {f"{prefix}{name}": tensor for name, tensor in resnet(count).state_dict().items()}
    assert classes_of_weights(weights, resnet) == count


def test_a_network_of_fixed_size_tells_nothing() -> None:
    with pytest.raises(ParameterError, match="give `num_classes`"):
        classes_of_weights(resnet(10).state_dict(), lambda count: resnet(10))
