"""What every calibrator promises: batch-norm buffers change and nothing else does, also after an error."""

import copy

import pytest
import torch
from torch import nn

from eyas.calibration import Calibrator
from eyas.errors import DataError

KINDS = sorted(Calibrator.registry)


def is_statistic(name):
    return name.endswith(("running_mean", "running_var", "num_batches_tracked"))


def settings(model):
    return [(m.training, getattr(m, "momentum", 0), getattr(m, "track_running_stats", 0)) for m in model.modules()]


def hooks(model):
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


@pytest.mark.parametrize("kind", KINDS)
def test_changes_batch_norm_statistics_and_nothing_else(kind, net, images):
    net[3].train()  # a flag of the user's own
    before, flags = copy.deepcopy(net.state_dict()), settings(net)
    assert Calibrator.parse(kind)(net, images.split(32)) == 96
    for name, value in net.state_dict().items():
        same = torch.equal(value, before[name])
        assert same != name.endswith(("running_mean", "running_var")), name
    assert settings(net) == flags
    assert hooks(net) == 0


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_half_way_leaves_everything_as_it_was(kind, net, images):
    net[3].train()
    before, flags = copy.deepcopy(net.state_dict()), settings(net)

    def batches():
        yield images[:32]
        raise RuntimeError("the disk is gone")

    with pytest.raises(RuntimeError, match="the disk is gone"):
        Calibrator.parse(kind)(net, batches())
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert settings(net) == flags
    assert hooks(net) == 0


@pytest.mark.parametrize("kind", KINDS)
def test_statistics_that_cannot_be_put_back_keep_no_setting_from_it(kind, images):
    """A network built in inference mode refuses changes outside of it."""
    with torch.inference_mode():
        net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, momentum=0.3)).eval()
    flags = settings(net)
    with pytest.raises(RuntimeError, match="inference tensor"):
        Calibrator.parse(kind)(net, images.split(32))
    assert settings(net) == flags
    assert hooks(net) == 0


@pytest.mark.parametrize("kind", KINDS)
def test_repeats_and_ignores_dropout(kind, net, images):
    other = copy.deepcopy(net).train()
    Calibrator.parse(kind)(net, images.split(32))
    Calibrator.parse(kind)(other, images.split(32))
    assert all(torch.equal(a, b) for a, b in zip(net.buffers(), other.buffers(), strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_calibrated_model_can_still_be_trained(kind, net, images):
    Calibrator.parse(kind)(net, images.split(48))
    net.train()(images).sum().backward()
    assert all(p.grad is not None for p in net.parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_no_images_is_an_error_in_words(kind, net):
    with pytest.raises(DataError, match="no images"):
        Calibrator.parse(kind)(net, [])


@pytest.mark.parametrize("kind", KINDS)
def test_one_value_per_channel_is_an_error_in_words(kind):
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    with pytest.raises(DataError, match="give 2 or more"):
        Calibrator.parse(kind)(net, [torch.ones(1, 3)])


@pytest.mark.parametrize("kind", KINDS)
def test_a_network_without_batch_norm_is_left_alone(kind, images):
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4), nn.BatchNorm2d(4, track_running_stats=False))
    before = copy.deepcopy(net.state_dict())
    assert Calibrator.parse(kind)(net, [images]) == 96
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


@pytest.mark.parametrize("kind", ["cumulative", "pooled"])
@pytest.mark.parametrize("step", ["stack_layers", "StackedStatistics.write"])
def test_an_error_after_the_pass_leaves_everything_as_it_was(kind, step, net, images, monkeypatch):
    before, flags = copy.deepcopy(net.state_dict()), settings(net)

    def fail(*_):
        raise MemoryError("no room for the estimate")

    monkeypatch.setattr(f"eyas.calibration.update_bn_stats.{step}", fail)
    with pytest.raises(MemoryError, match="no room"):
        Calibrator.parse(kind)(net, images.split(32))
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert settings(net) == flags
    assert hooks(net) == 0
