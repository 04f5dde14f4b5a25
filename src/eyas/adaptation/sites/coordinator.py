"""What the coordinator does with the messages that lie in an exchange; a faulty one is refused with its file's name."""

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

Told = TypeVar("Told", SiteStatistics, SiteLosses)


def merge_candidate(
    exchange: FolderExchange, model: nn.Module, *, exact: bool = False, leave_out: Collection[str] = ()
) -> dict[str, int]:
    """Merge what all sites but ``leave_out`` told of a network and leave it in the exchange; returns images by site.

    Raises:
        DataError: a message is faulty, or they do not belong together.
    """
    network = network_digest(model)
    told = _messages(exchange, "statistics", network, partial(SiteStatistics.decode, model=model), leave_out)
    before = exchange.merged(network) if exact else None
    known = None if before is None else SiteStatistics.decode(before, model, "merged")
    exchange.put(merge(told, known).encode())
    return {one.site: one.images for one in told}


def faulty_statistics(exchange: FolderExchange, models: Iterable[nn.Module]) -> dict[str, str]:
    """Sites with a message that cannot be statistics of one of the networks: file and reason, by site."""
    faulty: dict[str, str] = {}
    for model in models:
        faulty |= _faulty(exchange, "statistics", network_digest(model), partial(SiteStatistics.decode, model=model))
    return faulty


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
        told = ", ".join(f"{name} {one.images}" for name, one in merged.items())
        msg = (
            f"statistics are merged of other images for each network ({told}): let each site collect for all, and merge"
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
    read: Callable[[bytes], Told],
    leave_out: Collection[str] = (),
) -> list[Told]:
    paths = exchange.messages(kind, network)
    return [_message(exchange, path, site, read) for site, path in paths.items() if site not in leave_out]


def _faulty(exchange: FolderExchange, kind: Kind, network: str, read: Callable[[bytes], Told]) -> dict[str, str]:
    reasons = {}
    for site, path in exchange.messages(kind, network).items():
        try:
            _message(exchange, path, site, read)
        except DataError as error:
            reasons[site] = str(error)
    return reasons


def _message(exchange: FolderExchange, path: Path, site: str, read: Callable[[bytes], Told]) -> Told:
    """A message, if it is one and of the site that its file is named for."""
    try:
        told = read(exchange.read(path))
    except DataError as error:
        msg = str(error) if str(error).startswith(str(path)) else f"{path}: {error}"
        raise DataError(msg) from error
    if told.site != site:
        msg = f"{path}: holds a message of {told.site}: a site counts once, in a file of its own name"
        raise DataError(msg)
    return told
