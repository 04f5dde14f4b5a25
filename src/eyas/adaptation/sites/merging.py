"""Statistics of several sites merged exactly, as if all their images were in one place."""

from collections.abc import Sequence
from functools import reduce

from eyas.adaptation.sites.site_message import COORDINATOR, MAX_IMAGES
from eyas.adaptation.sites.site_statistics import Moments, SiteStatistics
from eyas.errors import DataError


def merge(statistics: Sequence[SiteStatistics], before: SiteStatistics | None = None) -> SiteStatistics:
    """Those of all sites' images together, however they are spread.

    Args:
        statistics: of each site.
        before: where a round gives one layer, those merged in the rounds before.

    Raises:
        DataError: there are none, a site stands twice, sites have other networks, layers, sizes of images or rounds,
            are not those of the rounds before, or have more images together than a message can tell.
    """
    if not statistics:
        msg = "there are no statistics to merge: let each site collect them"
        raise DataError(msg)
    if len({one.site for one in statistics}) < len(statistics):
        msg = f"a site stands twice among {', '.join(sorted(one.site for one in statistics))}: a site counts once"
        raise DataError(msg)
    first, known = statistics[0], before.layers if before else {}
    for one in statistics:
        _require_alike(first, one)
        if one.behind != (before.digest if before else None):
            msg = f"the statistics of {one.site} are not those of this round: let it collect again"
            raise DataError(msg)
    layers = {name: reduce(Moments.__add__, (one.layers[name] for one in statistics)) for name in first.layers}
    images = sum(one.images for one in statistics)
    if images > MAX_IMAGES:
        most = max(statistics, key=lambda one: one.images)
        msg = f"all sites have {images:,} images, at most {MAX_IMAGES:,} can be: {most.site} tells {most.images:,}"
        raise DataError(msg)
    if before and images != before.images:
        msg = (
            f"the layers before are merged of {before.images} images, this one of {images}: the same sites must tell "
            "every layer; begin anew in another exchange, with the sites that stay"
        )
        raise DataError(msg)
    return SiteStatistics(first.network, COORDINATOR, images, {**known, **layers}, "merged")


def _require_alike(first: SiteStatistics, one: SiteStatistics) -> None:
    if one.network != first.network:
        msg = f"the statistics of {one.site} are about another network ({one.network[:12]}) than {first.network[:12]}"
        raise DataError(msg)
    if lone := one.layers.keys() ^ first.layers.keys():
        msg = f"sites {first.site} and {one.site} do not have the same layers: only one of them has {min(lone)}"
        raise DataError(msg)
    sizes, others = first.values_per_image(), one.values_per_image()
    other = next((name for name in sizes if sizes[name] != others[name]), None)
    if other is not None:
        counts = f"{sizes[other]} at {first.site}, {others[other]} at {one.site}"
        msg = f"an image does not give as many values of {other} at each site ({counts}): read images of one size"
        raise DataError(msg)
