"""What a coordinator refuses of a site, each in one line."""

import json

import pytest
import safetensors.torch
import torch

from eyas.adaptation.sites.collection import collect
from eyas.adaptation.sites.site_losses import SiteLosses
from eyas.adaptation.sites.site_message import MAX_BYTES, Header, SiteMessage
from eyas.adaptation.sites.site_statistics import SiteStatistics
from eyas.errors import DataError
from tests.adaptation.sites.conftest import network


@pytest.fixture
def told(net, images) -> SiteStatistics:
    return collect(net, images, "north")


def changed(told: SiteStatistics, tensors=None, **header) -> bytes:
    """The message with other tensors (None: without) or another header, as a faulty site may send it."""
    message = SiteMessage.decode(told.encode())
    values = {**message.tensors, **(tensors or {})}
    values = {name: tensor for name, tensor in values.items() if tensor is not None}
    text = json.dumps({**message.header.model_dump(), **header})
    return safetensors.torch.save(values, {"eyas.site_message": text})


def test_a_message_comes_back_as_it_was_and_equal_ones_have_equal_bytes(net, images, told):
    again = SiteStatistics.decode(told.encode(), net)
    assert (again.site, again.images, again.layers.keys()) == ("north", 60, {"1", "4"})
    assert torch.equal(again.layers["4"].variance, told.layers["4"].variance)
    assert collect(net, images, "north").encode() == told.encode()


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"1.mean": torch.full((6,), torch.nan).double()}, "have values of 1.mean that are not finite"),
        ({"1.var": torch.full((6,), torch.inf).double()}, "have values of 1.var that are not finite"),
        ({"1.var": -torch.ones(6).double()}, "have a negative variance of 1"),
        ({"1.count": torch.tensor(0)}, "count 0 values of 1: there are 1 to"),
        ({"1.count": torch.tensor(-5)}, "count -5 values of 1"),
        ({"1.count": torch.tensor(2**60)}, "count 1152921504606846976 values of 1"),
        ({"1.count": torch.tensor(60 * 64 + 1)}, "count 3841 values of 1 on 60 images: each gives as many"),
        (
            {"1.count": torch.tensor(60 * 2**23)},
            "count 503316480 values of 1 on 60 images: each gives as many, at most",
        ),
        ({"1.count": torch.tensor(2**53 - 1)}, "values of 1 on 60 images"),
        ({"1.count": torch.tensor(True)}, "and count as int64"),
        (
            {"1.mean": torch.full((6,), 1e20).double()},
            "mean or variance of 1 that is larger than float32 can work with",
        ),
        (
            {"1.mean": torch.full((6,), -1e308, dtype=torch.float64)},
            "mean or variance of 1 that is larger than float32",
        ),
        ({"1.var": torch.full((6,), 1e39, dtype=torch.float64)}, "mean or variance of 1 that is larger than float32"),
        ({"1.var": torch.full((6,), torch.nan).to(torch.float8_e4m3fn)}, "have values of 1.var that are not finite"),
        ({"1.var": torch.ones(6).to(torch.float8_e4m3fn)}, "must have mean and var of 1 as float64"),
        ({"1.mean": torch.zeros(5).double()}, r"means \(5,\), variances \(6,\), count \(\) of 1, which has 6 channels"),
        ({"1.count": torch.tensor([9])}, r"count \(1,\) of 1"),
        ({"1.mean": torch.zeros(6)}, "must have mean and var of 1 as float64"),
        ({"1.count": torch.tensor(9.0)}, "and count as int64"),
        ({"7.mean": torch.zeros(6).double()}, "hold 7.mean, which is no mean, var or count of a batch-norm layer"),
        ({"1.num_batches_tracked": torch.tensor(3)}, "hold 1.num_batches_tracked, which is no mean, var or count"),
        ({"0.weight": torch.zeros(6).double()}, "hold 0.weight, which is no mean"),
        ({"4.var": None}, "lack mean, var or count of 4"),
        ({f"{layer}.{part}": None for layer in "14" for part in ("mean", "var", "count")}, "hold no layer"),
    ],
)
def test_impossible_statistics_are_refused(net, told, tensors, message):
    with pytest.raises(DataError, match=message) as refused:
        SiteStatistics.decode(changed(told, tensors), net)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({"version": 2}, "version in its header"),
        ({"images": 0}, "images in its header"),
        ({"images": 2**31 + 1}, "images in its header"),
        ({"images": 2**53 - 1}, "images in its header"),
        ({"images": 10**400}, "images in its header"),
        ({"images": True}, "images in its header"),
        ({"images": "60"}, "images in its header"),
        ({"images": 60.0}, "images in its header"),
        ({"images": -60}, "images in its header"),
        ({"images": 59}, "values of 1 on 59 images: each gives as many"),
        ({"site": "../../etc/passwd"}, "site in its header"),
        ({"site": ""}, "site in its header"),
        ({"surprise": 1}, "surprise in its header"),
        ({"kind": "losses"}, "these are losses of north: statistics are expected"),
        ({"network": "0" * 64}, "are about another network"),
    ],
)
def test_a_header_that_does_not_fit_is_refused(net, told, header, message):
    with pytest.raises(DataError, match=message) as refused:
        SiteStatistics.decode(changed(told, **header), net)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "this is no message of a site"),
        (b"\x80\x04.", "this is no message of a site"),
        (b"\xff" * 64, "this is no message of a site"),
        (safetensors.torch.save({"1.mean": torch.zeros(6)}), "there is no '__metadata__' in it"),
        (safetensors.torch.save({}, {"eyas.site_message": "[" * 9999}), "nested too deeply"),
        (safetensors.torch.save({}, {"eyas.site_message": "[]"}), "this is no message of a site"),
        (bytes(MAX_BYTES + 1), "16,777,217 bytes: at most 16,777,216 are taken"),
    ],
)
def test_what_is_no_message_is_refused(net, content, message):
    with pytest.raises(DataError, match=message) as refused:
        SiteStatistics.decode(content, net)
    assert "\n" not in str(refused.value)


def test_another_networks_statistics_are_refused_though_shapes_fit(net, told):
    """Equal shapes, other weights; a site's own batch-norm statistics make no other network."""
    with pytest.raises(DataError, match="are about another network"):
        SiteStatistics.decode(told.encode(), network(seed=1))
    net[1].running_mean.zero_()
    assert SiteStatistics.decode(told.encode(), net).images == 60


@pytest.mark.parametrize(
    ("numbers", "merged", "message"),
    [
        ({"cross_entropy": torch.tensor(torch.nan).double()}, "a" * 64, "not finite"),
        ({"cross_entropy": torch.tensor(-1.0).double()}, "a" * 64, "a loss of -1 and 3 right of 4: impossible"),
        ({"correct": torch.tensor(5)}, "a" * 64, "5 right of 4: impossible"),
        ({"correct": torch.tensor(-1)}, "a" * 64, "-1 right of 4: impossible"),
        ({"cross_entropy": torch.tensor(0.6).double()}, "a" * 64, "a loss of 0.6 with 1 of 4 images wrong: impossible"),
        (
            {"cross_entropy": torch.tensor(1e300, dtype=torch.float64)},
            "a" * 64,
            r"a loss of 1e\+300 with 1 of 4 .* impossible",
        ),
        ({"correct": torch.tensor(True)}, "a" * 64, "must hold cross_entropy .* alone"),
        ({"weights": torch.zeros(2)}, "a" * 64, "must hold cross_entropy .* alone"),
        ({}, "b" * 64, "those of other merged statistics: let it judge again"),
    ],
)
def test_impossible_losses_are_refused(numbers, merged, message):
    tensors = {"cross_entropy": torch.tensor(2.0).double(), "correct": torch.tensor(3), **numbers}
    header = Header(kind="losses", network="c" * 64, site="north", images=4, merged="a" * 64)
    with pytest.raises(DataError, match=message):
        SiteLosses.decode(SiteMessage(header, tensors).encode(), "c" * 64, merged)
