"""``eyas.recalibrate``: the calibrators on shuffled images in even batches."""

import copy
from typing import Literal

import numpy as np
import pytest
import torch

import eyas
from eyas.calibration import Calibrator
from eyas.calibration.recalibrate import even_batches
from eyas.errors import DataError, ParameterError


def statistics(model):
    return {name: buffer for name, buffer in model.named_buffers() if name.endswith(("mean", "var"))}


@pytest.mark.parametrize("kind", sorted(Calibrator.registry))
def test_it_is_the_calibrator_on_the_shuffled_prefix_in_even_batches(kind, net, images):
    oracle = copy.deepcopy(net)
    order = torch.randperm(96, generator=torch.Generator().manual_seed(5))[:50]
    Calibrator.parse(kind)(oracle, [images[order[:17]], images[order[17:34]], images[order[34:]]])
    assert eyas.recalibrate(net, images, calibrator=kind, num_images=50, batch_size=24, seed=5) == 50
    expected = statistics(oracle)
    assert all(torch.equal(value, expected[name]) for name, value in statistics(net).items())


def test_all_images_count_where_no_number_is_asked_for(net, images):
    """The first layer sees the images themselves, so that its pooled statistics are numpy's, whatever the seed."""
    assert eyas.recalibrate(net, images, seed=3) == 96
    values = net[0](images).detach().double().permute(0, 2, 3, 1).flatten(0, 2).numpy()
    np.testing.assert_allclose(net[1].running_mean, values.mean(0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(net[1].running_var, values.var(0), rtol=1e-5)


def test_without_a_seed_the_order_is_the_callers(net, images):
    one, other = copy.deepcopy(net), copy.deepcopy(net)
    eyas.recalibrate(one, images, num_images=40, seed=None)
    eyas.recalibrate(other, images[:40], seed=None)
    assert all(torch.equal(value, statistics(other)[name]) for name, value in statistics(one).items())


def test_same_seed_same_statistics_other_seed_others(net, images):
    one, same, other = (copy.deepcopy(net) for _ in range(3))
    for model, seed in ((one, 1), (same, 1), (other, 2)):
        eyas.recalibrate(model, images, num_images=40, seed=seed)
    assert all(torch.equal(value, statistics(same)[name]) for name, value in statistics(one).items())
    assert not torch.equal(one[1].running_mean, other[1].running_mean)


def test_what_cannot_be_done_is_said(net, images):
    for few in (0, 1):
        with pytest.raises(DataError, match=f"`images` holds {few}: .* at least two"):
            eyas.recalibrate(net, images[:few])
    with pytest.raises(DataError, match=r"`images` are torch.uint8: give normalised floats"):
        eyas.recalibrate(net, images.to(torch.uint8))
    for name, value in (("num_images", 1), ("num_images", -3), ("batch_size", 0), ("batch_size", -1)):
        with pytest.raises(ParameterError, match=f"`{name}` is {value}: .* at least 2"):
            eyas.recalibrate(net, images, **{name: value})
    with pytest.raises(ParameterError, match="available: cumulative, image_weighted, .*pooled, source_mix"):
        eyas.recalibrate(net, images, calibrator="magic")


@pytest.mark.parametrize(
    ("count", "size", "sizes"), [(121, 2, {2, 3}), (5, 3, {2, 3}), (143, 128, {71, 72}), (1, 2, {1})]
)
def test_batches_are_even_and_never_of_one(count, size, sizes):
    lengths = [len(batch) for batch in even_batches(torch.arange(count), size)]
    assert sum(lengths) == count
    assert set(lengths) == sizes


@pytest.mark.parametrize("kind", sorted(Calibrator.registry))
def test_images_of_another_precision_and_arrays_are_the_same_images(kind, net, images):
    plain = copy.deepcopy(net)
    eyas.recalibrate(plain, images, calibrator=kind)
    for taken in (images.double(), images.numpy(), images.double().numpy()):
        model = copy.deepcopy(net)
        assert eyas.recalibrate(model, taken, calibrator=kind) == 96
        assert all(torch.equal(value, statistics(plain)[name]) for name, value in statistics(model).items())


@pytest.mark.parametrize("kind", sorted(Calibrator.registry))
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite_change_nothing(kind, value, net, images):
    before = copy.deepcopy(net.state_dict())
    images[-1, 2, 7, 7] = value
    with pytest.raises(DataError, match="`images` hold values that are not finite"):
        eyas.recalibrate(net, images, calibrator=kind)
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())


def test_what_is_no_tensor_of_images_is_told(net, images):
    for wrong, words in ((None, "is a NoneType"), ([images, images], "is a list"), (images[:, 0, 0, 0], "have shape")):
        with pytest.raises(DataError, match=f"`images` {words}.*: give one tensor"):
            eyas.recalibrate(net, wrong)


def test_a_calibrator_that_does_not_say_how_many_images_it_saw_is_told_by_name(net, images):
    class Silent(Calibrator):
        kind: Literal["silent"] = "silent"

        def __call__(self, model, batches):
            list(batches)

    del Calibrator.registry["silent"]
    with pytest.raises(ParameterError, match="calibrator silent gives a NoneType: it must give the number of images"):
        eyas.recalibrate(net, images, calibrator=Silent())
