"""A criterion that rates all channels of a layer alike is told once, with the layers and what to take instead."""

import pytest
import torch
from torch import nn

import eyas
from eyas.pruning.criteria import Criterion
from models.resnet_cifar import resnet20

IMAGES = torch.randn(8, 3, 8, 8, generator=torch.Generator().manual_seed(0))
INSTEAD = "the first in order are kept there; take weight_activation, or group_norm without images"


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]


def test_scales_of_a_network_that_was_just_made_are_told_for_all_groups_at_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    model = resnet20(num_classes=10, width=8).eval()
    space = eyas.trace(model, (IMAGES[:2],))
    space.plan(None, "bn_scale")
    first, more = [group.name for group in space.groups[:3]], len(space.groups) - 3
    names = f"{', '.join(first)} and {more} more groups"
    assert told(caplog) == [f"criterion bn_scale rates all channels of {names} alike: {INSTEAD}"]


def test_only_layers_that_tie_are_named_and_others_not_at_all(caplog: pytest.LogCaptureFixture) -> None:
    model = resnet20(num_classes=10, width=8).eval()
    space = eyas.trace(model, (IMAGES[:2],))
    for name, layer in model.named_modules():
        if isinstance(layer, nn.BatchNorm2d) and name != "layer2.1.bn1":
            nn.init.uniform_(layer.weight, generator=torch.Generator().manual_seed(len(name)))
    space.planner("bn_scale")
    assert told(caplog) == [f"criterion bn_scale rates all channels of layer2.1.conv1 alike: {INSTEAD}"]


@pytest.mark.parametrize(
    ("options", "instead"),
    [
        ("apoz", INSTEAD),
        ({"kind": "keep_frequency", "mass": 1}, INSTEAD),
        ({"kind": "filter_similarity", "sharpness": 1e4}, INSTEAD),
        ("l1_norm", None),
        ("activation_mean", None),
        ("weight_activation", None),
    ],
)
def test_any_criterion_that_cannot_tell_channels_apart_says_so(
    options: object, instead: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is zero behind a SiLU; of orthogonal filters of one norm each is like none but itself."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 6, 1), nn.SiLU(), nn.Conv2d(6, 2, 1)).eval()
    space = eyas.trace(model, (IMAGES[:2],))
    space.ranking(options, data=IMAGES)  # type: ignore[arg-type]
    kind = Criterion.parse(options).kind
    expected = [] if instead is None else [f"criterion {kind} rates all channels of 0 alike: {instead}"]
    assert told(caplog) == expected


def test_equal_weights_are_told_with_the_other_of_both(caplog: pytest.LogCaptureFixture) -> None:
    model = nn.Sequential(nn.Conv2d(3, 6, 1), nn.ReLU(), nn.Conv2d(6, 2, 1)).eval()
    for parameter in model.parameters():
        nn.init.ones_(parameter)
    eyas.trace(model, (IMAGES[:2],)).planner("group_norm")
    assert [text.rpartition("take ")[2] for text in told(caplog)] == ["weight_activation"]
