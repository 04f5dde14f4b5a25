"""The coordinator as a strategy of Flower: it merges exactly, and averages nothing."""

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from torch import nn

from eyas.adaptation.sites.flower_records import ASKED, MESSAGES, contents_of, flower, record_of
from eyas.adaptation.sites.merging import merge
from eyas.adaptation.sites.network_digest import network_digest
from eyas.adaptation.sites.site_losses import RankedCandidate, SiteLosses, rank
from eyas.adaptation.sites.site_statistics import SiteStatistics
from eyas.calibration.batchnorm import named_batch_norms
from eyas.errors import DataError

Message = TypeVar("Message", SiteStatistics, SiteLosses)


def site_strategy(models: Mapping[str, nn.Module], sites: int, *, exact: bool = False, ranked: bool = False) -> Any:
    """Flower's ``Strategy`` with the methods of :class:`ExactMerge`.

    Start it by ``strategy.start(grid, ArrayRecord(), num_rounds=strategy.rounds)``.

    Args:
        models: networks by name, the same as at the sites.
        sites: nodes that must be there before the first round; all that are there then must answer in every round.
        exact: one layer per round, as ``exact`` of :func:`~eyas.adaptation.sites.collection.collect`.
        ranked: let the sites judge the networks with the merged statistics, by labels.

    Raises:
        MissingExtraError: Flower is not installed.
        DataError: two networks are the same; of the strategy: a node does not answer, or tells what is refused.
    """
    base = flower("serverapp.strategy").Strategy
    return type("SiteStrategy", (ExactMerge, base), {})(models, sites, exact=exact, ranked=ranked)


class ExactMerge:
    """What a strategy does between the rounds; ``merged`` and ``ranking`` (the best first) are by network."""

    def __init__(self, models: Mapping[str, nn.Module], sites: int, *, exact: bool, ranked: bool) -> None:
        self.models, self.sites, self.exact, self.ranked = dict(models), sites, exact, ranked
        self.names = {network_digest(model): name for name, model in self.models.items()}
        if len(self.names) < len(self.models):
            msg = f"two of {', '.join(self.models)} are the same network: name each once"
            raise DataError(msg)
        self.merged: dict[str, SiteStatistics] = {}
        self.ranking: dict[str, RankedCandidate] = {}
        self._nodes: list[int] = []
        self._asked: list[str] = []

    @property
    def rounds(self) -> int:
        """That it takes: one, or one per batch-norm layer."""
        return max(len(named_batch_norms(model)) for model in self.models.values()) if self.exact else 1

    def summary(self) -> None:
        """Nothing beside what Flower logs."""

    def configure_train(self, server_round: int, arrays: Any, config: Any, grid: Any) -> Iterable[Any]:
        """Ask each node for statistics; the first round waits for the nodes. ``arrays`` and ``config`` are not used."""
        if server_round == 1:
            self.merged, self.ranking = {}, {}
            while len(nodes := list(grid.get_node_ids())) < self.sites:
                time.sleep(1)
            self._nodes = nodes
        return self._ask("train", [name for name in self.models if not (self.exact and self._is_whole(name))])

    def aggregate_train(self, server_round: int, replies: Iterable[Any]) -> tuple[Any, Any]:
        """Merged statistics as messages in an ``ArrayRecord``, and the number of images."""
        messages = self._messages(replies, lambda name, content: SiteStatistics.decode(content, self.models[name]))
        new = {name: merge(some, self.merged.get(name) if self.exact else None) for name, some in messages.items()}
        self.merged |= {name: SiteStatistics.decode(new[name].encode(), self.models[name], "merged") for name in new}
        images = {f"{name}.images": merged.images for name, merged in self.merged.items()}
        return self._record(), flower("app").MetricRecord(images)

    def configure_evaluate(self, server_round: int, arrays: Any, config: Any, grid: Any) -> Iterable[Any]:
        """Ask each node for losses, once all layers are merged."""
        ready = self.ranked and all(self._is_whole(name) for name in self.models)
        return self._ask("evaluate", list(self.models) if ready else [])

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Any]) -> Any:
        """Cross-entropy (mean, nats) and accuracy over all sites' images, by network; None where none was asked."""
        if not self._asked:
            return None
        digests = {name: digest for digest, name in self.names.items()}
        messages = self._messages(
            replies, lambda name, content: SiteLosses.decode(content, digests[name], self.merged[name].digest)
        )
        self.ranking = {self.names[one.network]: one for one in rank([messages[name] for name in self.models])}
        numbers = {f"{name}.cross_entropy": one.cross_entropy for name, one in self.ranking.items()}
        numbers |= {f"{name}.accuracy": one.accuracy for name, one in self.ranking.items()}
        return flower("app").MetricRecord(numbers)

    def _is_whole(self, name: str) -> bool:
        """Whether all layers of a network are merged; one pass tells all at once."""
        if name not in self.merged or not self.exact:
            return name in self.merged
        return named_batch_norms(self.models[name]).keys() <= self.merged[name].layers.keys()

    def _record(self) -> Any:
        return record_of({name: merged.encode() for name, merged in self.merged.items()})

    def _ask(self, kind: str, names: list[str]) -> list[Any]:
        """A message for each node about these networks, with what is merged of them; none where there are none."""
        app, self._asked = flower("app"), names
        asked = app.ConfigRecord({"networks": names, "exact": self.exact})
        content = {MESSAGES: self._record(), ASKED: asked}
        return [app.Message(app.RecordDict(content), node, kind) for node in self._nodes if names]

    def _messages(self, replies: Iterable[Any], decode: Callable[[str, bytes], Message]) -> dict[str, list[Message]]:
        """The messages of all nodes by network, those that were asked for, in the order of the sites' names.

        Raises:
            DataError: a node's message is faulty, or it does not answer; with the node's number.
        """
        messages: dict[str, list[Message]] = {name: [] for name in self._asked}
        silent = {*self._nodes} if self._asked else set()
        for reply in replies:
            node = reply.metadata.src_node_id
            try:
                contents = contents_of(reply)
                if contents.keys() != messages.keys():
                    msg = f"it tells of {', '.join(contents) or 'no network'}, asked was {', '.join(messages)}"
                    raise DataError(msg)
                for name, content in contents.items():
                    messages[name].append(decode(name, content))
            except DataError as error:
                msg = f"node {node}: {error}"
                raise DataError(msg) from error
            silent.discard(node)
        if silent:
            msg = f"no answer of node {', '.join(map(str, sorted(silent)))}: begin anew, with the sites that stay"
            raise DataError(msg)
        return {name: sorted(of_network, key=lambda one: one.site) for name, of_network in messages.items()}
