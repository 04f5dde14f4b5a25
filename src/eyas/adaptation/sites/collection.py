"""What a site tells of its own images: no image leaves it.

Shapes: N images, C channels, H height, W width.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from eyas.adaptation.drift.observation import require_images
from eyas.adaptation.sites.network_digest import network_digest
from eyas.adaptation.sites.site_statistics import Moments, SiteStatistics
from eyas.calibration.batchnorm import named_batch_norms, track_statistics
from eyas.calibration.layer_by_layer import call_order, record_layer
from eyas.calibration.pooled import pooled
from eyas.calibration.recalibrate import even_batches
from eyas.calibration.update_bn_stats import StackedStatistics, update_bn_stats
from eyas.errors import DataError, EyasError, one_line


def collect(
    model: nn.Module,
    images: Tensor,
    site: str,
    *,
    batch_size: int = 128,
    exact: bool = False,
    merged: SiteStatistics | None = None,
) -> SiteStatistics:
    """What this site tells of its images; the model stays as it is.

    In one pass the statistics of every layer, each behind layers that normalise by the statistics of their batch, as
    calibrator ``pooled`` has them: merged, they are exact for the first layer, and depend on the batches for deeper
    ones. ``exact`` gives one layer per round, the first that ``merged`` lacks, behind layers that use the merged
    statistics: after as many rounds as layers the result is that of ``layer_by_layer`` on all sites' images.

    Args:
        model: the network that all sites have.
        images: of this site, normalised floats ``(N, C, H, W)``, labels are not needed.
        site: name of the site.
        batch_size: images per batch, at most.
        exact: one layer per round.
        merged: of the rounds before.

    Raises:
        DataError: there is no image, or no batch-norm; images are no finite floats, or of a shape that the network does
            not take; all layers are merged already; statistics are not finite.
    """
    if not named_batch_norms(model):
        msg = "`model` has no batch-norm with running statistics: there is nothing to collect"
        raise DataError(msg)
    images = require_images(images)
    private, batches = copy.deepcopy(model), list(even_batches(images, batch_size))
    seen: dict[nn.Module, Moments] = {}

    def keep(stacked: StackedStatistics) -> tuple[Tensor, Tensor]:
        sizes = [len(entry.means[0]) for entry in stacked.records]
        pieces = zip(stacked.records, *(torch.split(part, sizes) for part in pooled(stacked)), strict=True)
        seen.update({entry.layer: Moments(mean, variance, sum(entry.counts)) for entry, mean, variance in pieces})
        return stacked.source

    with refusing_what_does_not_fit(images):
        if exact:
            keep(_next_layer(private, batches, merged))
        else:
            update_bn_stats(private, batches, keep)
    moments = {name: seen[layer] for name, layer in named_batch_norms(private).items() if layer in seen}
    behind = merged.digest if exact and merged else None
    statistics = SiteStatistics(network_digest(model), site, len(images), moments, behind=behind)
    return SiteStatistics.decode(statistics.encode(), model)  # a site refuses its own as a coordinator would


@contextmanager
def refusing_what_does_not_fit(images: Tensor) -> Iterator[None]:
    """Tell in a line that images ``(N, C, H, W)`` do not go through a network.

    Raises:
        DataError: they do not.
    """
    try:
        yield
    except EyasError:  # which says another thing in a line
        raise
    except (RuntimeError, ValueError) as error:
        msg = f"`images` of shape {tuple(images.shape)} do not go through the network: {one_line(error)}"
        raise DataError(msg) from error


def unmerged_layers(model: nn.Module, images: Tensor, merged: SiteStatistics | None) -> list[str]:
    """Names of the layers that run and that ``merged`` lacks, the first to run first."""
    private, known = copy.deepcopy(model), merged.layers if merged else {}
    names = {layer: name for name, layer in named_batch_norms(private).items()}
    with track_statistics(private, momentum=1.0) as layers:
        order = call_order(private, layers, [images])[1]
    return [names[layer] for layer in order if names[layer] not in known]


def _next_layer(model: nn.Module, batches: list[Tensor], merged: SiteStatistics | None) -> StackedStatistics:
    """What the first layer sees that ``merged`` lacks, behind layers that use the merged statistics."""
    missing, layers = unmerged_layers(model, batches[0], merged), named_batch_norms(model)
    if not missing:
        msg = f"all {len(layers)} layers are merged already: judge with them, or begin anew in another exchange"
        raise DataError(msg)
    if merged:
        merged.write_to(model)
    with track_statistics(model, momentum=1.0):
        for name in merged.layers if merged else ():
            layers[name].training = False
        return record_layer(model, layers[missing[0]], batches)
