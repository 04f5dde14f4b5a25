"""Merged statistics against all images in one place."""

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from eyas.adaptation.sites.collection import collect
from eyas.adaptation.sites.merging import merge
from eyas.adaptation.sites.site_statistics import Moments, SiteStatistics
from eyas.calibration import Calibrator
from eyas.errors import DataError
from tests.adaptation.sites.conftest import network

SPLITS = [[60], [20, 20, 20], [1, 59], [2, 3, 55], [37, 23]]


def merged_of(net: nn.Module, images: Tensor, sizes: list[int]) -> SiteStatistics:
    return merge([collect(net, part, f"site{n}", batch_size=7) for n, part in enumerate(images.split(sizes))])


def all_values(net: nn.Module, images: Tensor) -> np.ndarray:
    """What the first batch-norm sees, (values, channels)."""
    return net[0](images).detach().permute(0, 2, 3, 1).flatten(0, 2).numpy()


@pytest.mark.parametrize("sizes", SPLITS)
def test_first_layer_is_that_of_all_images_in_one_place_whatever_the_sites_sizes(net, images, sizes):
    first = merged_of(net, images, sizes).layers["1"]
    values = all_values(net, images)
    np.testing.assert_allclose(first.mean, values.mean(0), rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(first.variance, values.var(0), rtol=1e-10)
    assert first.count == len(values)


def test_the_spread_of_the_sites_means_counts(net, images):
    """The mean of the variances, the usual mistake, is far too small where sites differ."""
    parts = [collect(net, part, name) for part, name in zip(images.split(30), "ab", strict=True)]
    true = merge(parts).layers["1"].variance
    averaged = (parts[0].layers["1"].variance + parts[1].layers["1"].variance) / 2
    assert (true > 1.5 * averaged).any()
    assert (true >= averaged).all()


def test_sites_with_the_same_batches_are_pooled_at_every_depth(net, images):
    """Sites are batches of the one pass: what one machine makes of these batches is what they merge to."""
    central = copy.deepcopy(net)
    Calibrator.parse("pooled")(central, images.split(20))
    merged_of_sites = merge([collect(net, part, f"s{n}", batch_size=20) for n, part in enumerate(images.split(20))])
    merged_of_sites.write_to(net)
    for mine, other in zip(net.buffers(), central.buffers(), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("sizes", SPLITS)
def test_layer_by_layer_every_depth_is_exact_whatever_the_batches(net, images, sizes):
    merged, parts = None, images.split(sizes)
    for _ in range(2):
        told = [
            collect(net, part, f"s{n}", batch_size=5 + n, exact=True, merged=merged) for n, part in enumerate(parts)
        ]
        merged = merge(told, merged)
    central = copy.deepcopy(net)
    Calibrator.parse("layer_by_layer")(central, images.split(13))
    merged.write_to(net)
    for mine, other in zip(net.buffers(), central.buffers(), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-9, atol=1e-9)
    with pytest.raises(DataError, match="all 2 layers are merged already"):
        collect(net, images, "late", exact=True, merged=merged)


def test_merging_in_any_order_or_by_steps_is_the_same(net, images):
    told = [collect(net, part, f"s{n}") for n, part in enumerate(images.split([7, 50, 3]))]
    whole, turned = merge(told), merge(told[::-1])
    for name, moments in whole.layers.items():
        torch.testing.assert_close(moments.variance, turned.layers[name].variance, rtol=1e-12, atol=0)
        assert moments.count == turned.layers[name].count


def test_nothing_but_mean_and_variance_changes_where_they_are_written(net, images):
    """``num_batches_tracked`` is neither sent nor averaged nor written."""
    net[1].num_batches_tracked.fill_(7)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    told = collect(net, images, "north")
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    assert b"num_batches_tracked" not in told.encode()
    merge([told]).write_to(net)
    changed = {name for name, tensor in net.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed == {"1.running_mean", "1.running_var", "4.running_mean", "4.running_var"}


def test_what_does_not_belong_together_is_not_merged(net, images):
    north, south = collect(net, images[:30], "north"), collect(net, images[30:], "south")
    other = collect(network(width=7), images, "other")
    one_layer = collect(net, images, "one", exact=True)
    for told, message in [
        ([], "there are no statistics to merge"),
        ([north, south, north], "a site stands twice among north, north, south"),
        ([north, other], "the statistics of other are about another network"),
        ([north, one_layer], "sites north and one do not have the same layers: only one of them has 4"),
    ]:
        with pytest.raises(DataError, match=message):
            merge(told)
    with pytest.raises(DataError, match="the statistics of one are not those of this round: let it collect again"):
        merge([one_layer], merge([one_layer]))
    next_layer = collect(net, images, "one", exact=True, merged=merge([one_layer]))
    with pytest.raises(DataError, match="the statistics of one are not those of this round"):
        merge([next_layer])
    with pytest.raises(DataError, match="those of another network"):
        other.write_to(net)


def test_sites_must_read_images_of_one_size_and_not_have_more_than_a_message_tells(net, images):
    north, south = collect(net, images[:30], "north"), collect(net, images[30:, :, :6], "south")
    with pytest.raises(DataError, match=r"of 1 at each site .64 at north, 48 at south.: read images of one size"):
        merge([north, south])
    many = SiteStatistics(north.network, "many", 2**31, {
        name: Moments(one.mean, one.variance, 2**31 * (one.count // 30)) for name, one in north.layers.items()
    })  # fmt: skip
    assert SiteStatistics.decode(many.encode(), net).images == 2**31
    with pytest.raises(DataError, match="at most 2,147,483,648 can be: many tells 2,147,483,648"):
        merge([north, many])


def test_what_one_site_may_tell_all_sites_may_tell_together(net, images):
    """The largest means that are taken lie as far apart as can be, and their spread is still one of float32."""
    told, largest = collect(net, images, "north"), (torch.finfo(torch.float32).max / 2) ** 0.5 * (1 - 1e-9)
    sides = [
        SiteStatistics(told.network, site, 60, {
            name: Moments(one.mean * 0 + sign * largest, one.variance * 0, one.count)
            for name, one in told.layers.items()
        })
        for site, sign in (("north", 1), ("south", -1))
    ]  # fmt: skip
    merged = merge([SiteStatistics.decode(one.encode(), net) for one in sides])
    SiteStatistics.decode(merged.encode(), net, "merged").write_to(net)
    assert all(tensor.isfinite().all() for tensor in net.float().state_dict().values())


def test_a_network_without_batch_norm_has_nothing_to_tell(images):
    with pytest.raises(DataError, match="has no batch-norm with running statistics"):
        collect(nn.Sequential(nn.Conv2d(3, 4, 3)).double(), images, "north")
    with pytest.raises(DataError, match="`images` holds 0: give at least 1"):
        collect(network(), images[:0], "north")
