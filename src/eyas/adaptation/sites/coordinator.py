"""What the coordinator does with the messages that lie in an exchange; a faulty one is refused with its file's name."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import TypeVar

from torch import nn

from eyas.adaptation.sites.exchange import FolderExchange
from eyas.adaptation.sites.merging import merge
from eyas.adaptation.sites.network_digest import network_digest
from eyas.adaptation.sites.site_losses import RankedCandidate, SiteLosses, rank
from eyas.adaptation.sites.site_message import Kind
from eyas.adaptation.sites.site_statistics import SiteStatistics
from eyas.errors import DataError

Message = TypeVar("Message", SiteStatistics, SiteLosses)


def merge_candidates(
    exchange: FolderExchange, models: Iterable[nn.Module], *, exact: bool = False, leave_out: Collection[str] = ()
) -> list[dict[str, int]]:
    """Merge what all sites but ``leave_out`` told of each network and leave it in the exchange, of all or of none.

    Returns:
        Of each network the images by site.

    Raises:
        DataError: a message is faulty, or they do not belong together.
    """
    merged, images = [], []
    for model in models:
        network = network_digest(model)
        messages = _messages(exchange, "statistics", network, partial(SiteStatistics.decode, model=model), leave_out)
        before = exchange.merged(network) if exact else None
        known = None if before is None else SiteStatistics.decode(before, model, "merged")
        merged.append(merge(messages, known).encode())
        SiteStatistics.decode(merged[-1], model, "merged")
        images.append({one.site: one.images for one in messages})
    for content in merged:
        exchange.put(content)
    return images


def faulty_statistics(exchange: FolderExchange, models: Iterable[nn.Module]) -> dict[str, str]:
    """Sites with a message that cannot be statistics of one of the networks: file and reason, by site.

    That images have another size at one site than at most sites is a fault, too.
    """
    faulty: dict[str, str] = {}
    for model in models:
        network, read = network_digest(model), partial(SiteStatistics.decode, model=model)
        broken = _faulty(exchange, "statistics", network, read)
        messages = _messages(exchange, "statistics", network, read, broken)
        paths = exchange.messages("statistics", network)
        faulty |= broken | {site: f"{paths[site]}: {reason}" for site, reason in _other_sizes(messages).items()}
    return faulty


def _other_sizes(statistics: list[SiteStatistics]) -> dict[str, str]:
    """Sites where an image gives a layer another number of values than at more than half of the sites."""
    other: dict[str, str] = {}
    for layer in {layer: None for one in statistics for layer in one.layers}:
        sizes = {one.site: one.values_per_image()[layer] for one in statistics if layer in one.layers}
        usual, sites = Counter(sizes.values()).most_common(1)[0]
        if 2 * sites > len(sizes):
            reason = "an image gives {} values of {}, and {} at most sites"
            other |= {site: reason.format(size, layer, usual) for site, size in sizes.items() if size != usual}
    return other


def faulty_losses(exchange: FolderExchange, models: Mapping[str, nn.Module]) -> dict[str, str]:
    """Sites with a message that cannot be losses of one of the networks: file and reason, by site."""
    faulty: dict[str, str] = {}
    for name, model in models.items():
        network = network_digest(model)
        merged = require_merged(exchange.merged(network), model, name)
        faulty |= _faulty(
            exchange, "losses", network, partial(SiteLosses.decode, network=network, merged=merged.digest)
        )
    return faulty


def collected_images(exchange: FolderExchange, models: Iterable[nn.Module]) -> dict[str, int]:
    """Images by site of those whose statistics of every network can be read; the fewest, where networks differ."""
    sites: list[dict[str, int]] = []
    for model in models:
        network, read = network_digest(model), partial(SiteStatistics.decode, model=model)
        messages = _messages(exchange, "statistics", network, read, _faulty(exchange, "statistics", network, read))
        sites.append({one.site: one.images for one in messages})
    return {site: min(one[site] for one in sites) for site in sites[0] if all(site in one for one in sites)}


def rank_candidates(
    exchange: FolderExchange, models: Mapping[str, nn.Module], *, leave_out: Collection[str] = ()
) -> dict[str, RankedCandidate]:
    """Networks by cross-entropy over all sites' images, the best first, under the names that they have in ``models``.

    Sites that ``leave_out`` names do not count.

    Raises:
        DataError: a message is faulty, two networks are the same, or sites have not judged all of them.
    """
    names = {network_digest(model): name for name, model in models.items()}
    if len(names) < len(models):
        msg = f"two of {', '.join(models)} are the same network: name each once"
        raise DataError(msg)
    merged = {name: require_merged(exchange.merged(network), models[name], name) for network, name in names.items()}
    if len({one.images for one in merged.values()}) > 1:
        counts = ", ".join(f"{name} {one.images}" for name, one in merged.items())
        msg = (
            f"statistics are merged of other images for each network ({counts}): let each site collect for all, and "
            "merge"
        )
        raise DataError(msg)
    losses = []
    for network, name in names.items():
        read = partial(SiteLosses.decode, network=network, merged=merged[name].digest)
        losses.append(_messages(exchange, "losses", network, read, leave_out))
    return {names[candidate.network]: candidate for candidate in rank(losses)}


def require_merged(content: bytes | None, model: nn.Module, name: str) -> SiteStatistics:
    """The merged statistics of a network.

    Raises:
        DataError: there are none yet, or they are faulty.
    """
    if content is None:
        msg = f"{name}: its statistics are not merged yet"
        raise DataError(msg)
    return SiteStatistics.decode(content, model, "merged")


def _messages(
    exchange: FolderExchange,
    kind: Kind,
    network: str,
    read: Callable[[bytes], Message],
    leave_out: Collection[str] = (),
) -> list[Message]:
    paths = exchange.messages(kind, network)
    return [_message(exchange, path, site, read) for site, path in paths.items() if site not in leave_out]


def _faulty(exchange: FolderExchange, kind: Kind, network: str, read: Callable[[bytes], Message]) -> dict[str, str]:
    reasons = {}
    for site, path in exchange.messages(kind, network).items():
        try:
            _message(exchange, path, site, read)
        except DataError as error:
            reasons[site] = str(error)
    return reasons


def _message(exchange: FolderExchange, path: Path, site: str, read: Callable[[bytes], Message]) -> Message:
    """A message, if it is one and of the site that its file is named for."""
    try:
        message = read(exchange.read(path))
    except DataError as error:
        msg = str(error) if str(error).startswith(str(path)) else f"{path}: {error}"
        raise DataError(msg) from error
    if message.site != site:
        msg = f"{path}: holds a message of {message.site}: a site counts once, in a file of its own name"
        raise DataError(msg)
    return message
