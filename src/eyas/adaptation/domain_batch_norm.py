"""Domain-specific batch-norm: one small bundle of statistics per site over weights that all sites share.

A bundle is what ``bn_statistics.safetensors`` of an export holds: mean, variance, weight and bias of each batch-norm
layer (Chang et al. 2019, arXiv:1906.03950). A ResNet-20 has 11 kB of them beside 1.1 MB of weights.
"""

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from eyas.adaptation.source_statistics import put_statistics
from eyas.calibration.batchnorm import named_batch_norms
from eyas.deploy.bn_statistics import bn_statistics
from eyas.errors import ParameterError


def domain_statistics(model: nn.Module, adapted: nn.Module, images: int) -> dict[str, Tensor]:
    """The bundle that makes ``adapted`` of ``model``.

    Args:
        model: the network that all sites have.
        adapted: what :func:`eyas.adapt` made of it on one site.
        images: how many that were.

    Raises:
        ParameterError: more than batch-norm differs, so that no bundle holds it.
    """
    own = {f"{name}." for name in named_batch_norms(adapted)}
    here, there = model.state_dict(), adapted.state_dict()
    changed = {name for name in here.keys() | there.keys() if not _equal(here.get(name), there.get(name))}
    beyond = sorted(name for name in changed if not any(name.startswith(prefix) for prefix in own))
    if beyond:
        msg = (
            f"`adapted` differs from `model` in {beyond[0]}, which is no batch-norm: sites that share weights take an "
            "adapter of statistics, or of batch-norm's weights"
        )
        raise ParameterError(msg)
    return bn_statistics(adapted, images)


def with_statistics(model: nn.Module, statistics: Mapping[str, Tensor]) -> nn.Module:
    """A copy of ``model`` with the bundle of a site, in eval mode: what is folded and exported for it.

    Raises:
        DataError: the bundle is another network's, or holds no statistics.
    """
    network = copy.deepcopy(model).eval()
    put_statistics(network, statistics)
    return network


def _equal(one: Tensor | None, other: Tensor | None) -> bool:
    return one is not None and other is not None and torch.equal(one, other)
