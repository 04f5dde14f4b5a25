"""One bundle per site over shared weights: what it makes of the network, folded too, and what it cannot hold."""

import pytest
import torch
from safetensors.torch import load, save
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

import eyas
from eyas.adaptation.domain_batch_norm import domain_statistics, with_statistics
from eyas.deploy.bn_statistics import bn_statistics
from eyas.errors import DataError, ParameterError


@pytest.fixture
def model():
    torch.manual_seed(0)
    head = (nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))
    return nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), *head).eval()


@pytest.fixture
def sites():
    generator = torch.Generator().manual_seed(0)
    return {f"site {n}": n + (n + 1) * torch.randn(64, 3, 8, 8, generator=generator) for n in range(3)}


@pytest.mark.parametrize("adapter", ["ada_bn", "tent"])
def test_a_bundle_is_all_that_a_site_needs(adapter, model, sites):
    for images in sites.values():
        adapted = eyas.adapt(model, images, adapter)
        bundle = load(save(domain_statistics(model, adapted, len(images))))
        network = with_statistics(model, bundle)
        assert torch.equal(network(images), adapted(images))
        assert int(bundle["images"]) == 64
        assert sum(tensor.numel() for name, tensor in bundle.items() if name != "images") == 4 * 8 + 1


def test_the_same_statistics_at_all_sites_are_plain_batch_norm(model, sites):
    for images in sites.values():
        assert torch.equal(with_statistics(model, bn_statistics(model, 1))(images), model(images))


def test_a_sites_network_folds(model, sites):
    for images in sites.values():
        network = with_statistics(model, domain_statistics(model, eyas.adapt(model, images, "ada_bn"), 64))
        folded = nn.Sequential(fuse_conv_bn_eval(network[0], network[1]), *network[2:])
        torch.testing.assert_close(folded(images), network(images), atol=1e-4, rtol=1e-4)


def test_what_is_more_than_batch_norm_is_refused(model, sites):
    adapted = eyas.adapt(model, sites["site 1"], "ada_bn")
    with torch.no_grad():
        adapted[5].weight[0, 0] += 1
    with pytest.raises(ParameterError, match=r"`adapted` differs from `model` in 5\.weight"):
        domain_statistics(model, adapted, 64)
    with pytest.raises(ParameterError, match="`adapted` differs from `model`"):
        domain_statistics(model, model[:5], 64)


def test_a_bundle_of_another_network_is_refused(model):
    other = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    with pytest.raises(DataError, match=r"`statistics` hold a tensor of the shape \(4,\) 1\.mean"):
        with_statistics(model, bn_statistics(other, 1))
