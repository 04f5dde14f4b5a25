"""Networks from a name: those of the models folder, a user's own, and what is refused in words."""

import pytest
import torch

from eyas.errors import ParameterError
from eyas.networks.architectures import build_model, find_architecture


def test_build_repeats_under_a_seed_and_leaves_the_generator():
    state = torch.get_rng_state()
    first, second, other = (build_model("resnet8", {"width": 4, "in_channels": 1}, 10, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first.conv1.weight, second.conv1.weight)
    assert not torch.equal(first.conv1.weight, other.conv1.weight)


def test_a_name_stands_for_the_models_folder():
    named = find_architecture("resnet20", {"width": 8}, 5)
    assert named.factory == "models:build"
    assert named.arguments == {"name": "resnet20", "width": 8, "num_classes": 5}
    assert type(build_model(named.factory, {"name": "resnet20"}, 5)) is type(build_model("resnet20", {}, 5))


def test_a_factory_by_reference():
    model = build_model("models.resnet_cifar:resnet8", {"width": 4}, 3)
    assert model.linear.out_features == 3


@pytest.mark.parametrize(
    ("architecture", "arguments", "message"),
    [
        ("resnet21", {}, "unknown architecture 'resnet21'.*resnet20"),
        ("resnet20", {"depth": 3}, "architecture 'resnet20'.*depth"),
        ("no_such_package:net", {}, "cannot be imported.*no_such_package"),
        ("models:nothing", {}, "cannot be imported.*nothing"),
        ("models:names", {}, "unexpected keyword|takes 0 positional"),
        ("eyas.errors:__doc__", {}, "is a str"),
        ("builtins:dict", {}, "built a dict, not an nn.Module"),
    ],
)
def test_wrong_architectures(architecture, arguments, message):
    with pytest.raises(ParameterError, match=message):
        build_model(architecture, arguments, 10)
