"""The engine's copy of the network: what it takes over, what it leaves behind, and the user's own left alone."""

import copy
import threading
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import prune

import eyas
from eyas.calibration import Calibrator
from eyas.scoring import ScoreOptions
from eyas.scoring.device_copy import on_device
from eyas.scoring.hooks import drop_idle_hooks
from tests.scoring.conftest import FUSED, HELD_OUT
from tests.scoring.networks import images


def locked(model, _):
    model.lock = threading.Lock()


def caching(model, data):
    model.seen = model.conv1(data[:2])


def old_weight_norm(model, _):
    nn.utils.weight_norm(model.conv1)


@pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated")
@pytest.mark.parametrize("spoil", [locked, caching, old_weight_norm])
def test_what_can_be_pruned_can_be_scored(scene, spoil):
    model = copy.deepcopy(scene.model)
    spoil(model, scene.scoring)
    space = eyas.trace(model, (images(2, 0),))
    plan = space.plan({group.name: 4 for group in space.groups})
    small = eyas.prune(model, space, plan)
    data = (scene.calibration, scene.scoring, scene.labels)
    table = eyas.score(model, space, [plan], *data, rungs=HELD_OUT)
    order = torch.randperm(160, generator=torch.Generator().manual_seed(0))
    Calibrator.parse("pooled")(small, scene.calibration[order].split(80))
    with torch.no_grad():
        expected = nn.functional.cross_entropy(small.eval()(scene.scoring), scene.labels)
    assert table.cross_entropy[0] == pytest.approx(float(expected), abs=1e-5)


def test_the_copy_has_tensors_of_its_own(scene):
    model = copy.deepcopy(scene.model).train()
    before = copy.deepcopy(model.state_dict())
    copied = on_device(model, "cpu")
    for tensor in (*copied.parameters(), *copied.buffers()):
        tensor.data.fill_(7)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(module.training for module in model.modules())
    assert not any(module.training for module in copied.modules())


CALLS: list[str] = []


def count(module, *_):
    CALLS.append(type(module).__name__)


class Clip:
    """A hook that is part of what the network computes."""

    calls: ClassVar[list[int]] = []

    def __call__(self, module, inputs, output):
        Clip.calls.append(len(output))
        return output.clamp(-0.1, 0.1)


@pytest.mark.parametrize("workers", [1, 2])
def test_hooks_that_only_watch_see_nothing_of_the_race(scene, workers):
    model = copy.deepcopy(scene.model)
    model.conv1.register_forward_hook(count)
    model.register_forward_pre_hook(lambda *_: CALLS.append("root"))
    CALLS.clear()
    data = (scene.calibration, scene.scoring, scene.labels)
    options = ScoreOptions(workers=workers, threads=1)
    table = eyas.score(model, scene.space, scene.plans, *data, rungs=FUSED, options=options)
    assert len(CALLS) <= 2  # the two images that tell whether a hook changes the answers
    assert np.array_equal(table.score, scene.score(rungs=FUSED, threads=1).score)
    assert len(model.conv1._forward_hooks) == len(model._forward_pre_hooks) == 1
    CALLS.clear()
    model(scene.scoring[:2])
    assert CALLS == ["root", "Conv2d"]


class Keeper:
    """Watches with a method of its own, and cannot be copied."""

    def __init__(self):
        self.lock, self.kept = threading.Lock(), []

    def watch(self, module, inputs, output):
        self.kept.append(len(output))


def test_a_hook_that_cannot_be_copied_stays_with_the_users_network(scene):
    model, keeper = copy.deepcopy(scene.model), Keeper()
    model.norm1.register_forward_hook(keeper.watch)
    data = (scene.calibration, scene.scoring, scene.labels)
    eyas.score(model, scene.space, scene.plans[:3], *data, rungs=FUSED)
    assert keeper.kept in ([], [2])
    assert len(model.norm1._forward_hooks) == 1
    model(scene.scoring[:7])
    assert keeper.kept[-1] == 7


@pytest.mark.parametrize("workers", [1, 2])
def test_hooks_that_change_the_answers_are_part_of_the_network(scene, workers):
    model = copy.deepcopy(scene.model)
    model.head.register_forward_hook(Clip())
    data = (scene.calibration, scene.scoring, scene.labels)
    options = ScoreOptions(workers=workers, threads=1)
    table = eyas.score(model, scene.space, scene.plans[:3], *data, rungs=FUSED, options=options)
    assert (table.cross_entropy < np.log(5) + 0.2).all()
    assert (table.cross_entropy > np.log(5) - 0.2).all()


@pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated")
def test_hooks_of_torch_that_compute_weights_stay(scene):
    model = on_device(scene.model, "cpu")
    nn.utils.weight_norm(model.conv1)
    nn.utils.spectral_norm(model.conv2)
    prune.random_unstructured(model.head, "weight", 0.5)
    model.conv1.register_forward_pre_hook(count)
    drop_idle_hooks(model, scene.scoring[:2])
    kinds = [type(hook).__name__ for module in model.modules() for hook in module._forward_pre_hooks.values()]
    assert kinds == ["WeightNorm", "SpectralNorm", "RandomUnstructured"]
