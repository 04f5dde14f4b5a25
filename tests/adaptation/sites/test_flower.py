"""Sites under Flower, in one process: messages go through its own encoding, only the network is left out."""

import dataclasses
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from eyas.adaptation.sites.collection import collect
from eyas.adaptation.sites.flower_client import Site, client_app
from eyas.adaptation.sites.flower_records import MESSAGES
from eyas.adaptation.sites.flower_strategy import site_strategy
from eyas.adaptation.sites.merging import merge
from eyas.adaptation.sites.site_images import read_images
from eyas.adaptation.sites.site_losses import judge, rank
from eyas.calibration import Calibrator
from eyas.errors import DataError, MissingExtraError
from tests.adaptation.sites.conftest import network

SIZES = [7, 53]
NAMES = ["north", "south"]


class OneProcess:
    """Flower's grid with a client app per node."""

    def __init__(self, apps: list[Any], tampered: Callable[[int, Any], Any] = lambda node, reply: reply) -> None:
        self.apps, self.tampered = dict(enumerate(apps, 11)), tampered

    def get_node_ids(self) -> Iterable[int]:
        return list(self.apps)

    def send_and_receive(self, messages: Iterable[Any], *, timeout: float | None = None) -> list[Any]:
        from flwr.common.serde import message_from_proto, message_to_proto

        def sent(message: Any) -> Any:
            return message_from_proto(message_to_proto(message))

        replies = [self._reply(sent(message)) for message in messages]
        return [sent(reply) for reply in replies if reply is not None]

    def _reply(self, message: Any) -> Any:
        from flwr.app import Context, RecordDict

        node = message.metadata.dst_node_id
        reply = self.apps[node](message, Context(1, node, {}, RecordDict(), {}))
        return self.tampered(node, reply)


def start(strategy: Any, grid: OneProcess, rounds: int | None = None) -> Any:
    from flwr.app import ArrayRecord

    return strategy.start(grid, ArrayRecord(), num_rounds=rounds or strategy.rounds)


def apps(models: dict[str, nn.Module], images: Tensor, labels: Tensor | None = None, **options: int) -> list[Any]:
    """Two clients, of 7 and 53 images."""
    parts = zip(NAMES, images.split(SIZES), labels.split(SIZES) if labels is not None else (None, None), strict=True)
    sites = [Site(*part) for part in parts]
    return [client_app(models, lambda _, site=site: site, **options) for site in sites]


@pytest.fixture
def flower(monkeypatch: pytest.MonkeyPatch) -> None:
    """Flower, in a process that counts as the server's."""
    pytest.importorskip("flwr", reason="Flower is an extra with an environment of its own (docs/sites.md)")
    from flwr.supercore.task_identity import TaskIdentity

    for name in ("_task_id", "_run_id", "_node_id"):
        monkeypatch.setattr(TaskIdentity, name, 1)


@pytest.mark.usefixtures("flower")
def test_sites_of_different_size_merge_to_what_all_images_have_together(net, images):
    strategy = site_strategy({"net": net}, 2)
    result = start(strategy, OneProcess(apps({"net": net}, images, batch_size=7)))
    first, values = strategy.merged["net"].layers["1"], net[0](images).detach().permute(0, 2, 3, 1).flatten(0, 2)
    np.testing.assert_allclose(first.mean, values.numpy().mean(0), rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(first.variance, values.numpy().var(0), rtol=1e-10)
    assert first.count == len(values)
    told = [collect(net, part, name, batch_size=7) for name, part in zip(NAMES, images.split(SIZES), strict=True)]
    assert strategy.merged["net"].digest == merge(told).digest
    assert result.arrays["net"].data == merge(told).encode()
    assert result.train_metrics_clientapp[1]["net.images"] == 60
    assert not result.evaluate_metrics_clientapp


@pytest.mark.usefixtures("flower")
def test_by_rounds_every_layer_is_that_of_all_images_together(net, images):
    strategy = site_strategy({"net": net}, 2, exact=True)
    assert strategy.rounds == 2
    start(strategy, OneProcess(apps({"net": net}, images, batch_size=5)))
    Calibrator.parse("layer_by_layer")(net, images.split(13))
    for name, layer in (("1", net[1]), ("4", net[4])):
        merged = strategy.merged["net"].layers[name]
        torch.testing.assert_close(merged.mean, layer.running_mean, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(merged.variance, layer.running_var, rtol=1e-9, atol=1e-9)


@pytest.mark.usefixtures("flower")
@pytest.mark.parametrize("exact", [False, True])
def test_candidates_are_ranked_as_without_flower(images, labels, exact):
    models = {f"candidate{seed}": network(width, seed) for width, seed in [(6, 0), (3, 1), (12, 2)]}
    strategy = site_strategy(models, 2, exact=exact, ranked=True)
    result = start(strategy, OneProcess(apps(models, images, labels)), rounds=strategy.rounds + exact)
    losses = [
        [
            judge(models[name], part, classes, site, merged)
            for site, part, classes in zip(NAMES, images.split(SIZES), labels.split(SIZES), strict=True)
        ]
        for name, merged in strategy.merged.items()
    ]
    assert list(strategy.ranking.values()) == rank(losses)
    assert list(result.evaluate_metrics_clientapp) == ([2, 3] if exact else [1])
    best = next(iter(strategy.ranking))
    told = result.evaluate_metrics_clientapp[strategy.rounds]
    assert told[f"{best}.cross_entropy"] == min(told[f"{name}.cross_entropy"] for name in models)


def replaced(change: Callable[[bytes], bytes]) -> Callable[[int, Any], Any]:
    """Node 12, which is south, sends other bytes."""

    def tampered(node: int, reply: Any) -> Any:
        from flwr.app import Array, ArrayRecord

        if node == 12:
            content = change(reply.content[MESSAGES]["net"].data)
            reply.content[MESSAGES] = ArrayRecord(
                {"net": Array("uint8", (len(content),), "eyas.site_message", content)}
            )
        return reply

    return tampered


def without_messages(node: int, reply: Any) -> Any:
    """As of a client of another kind."""
    if node == 12:
        del reply.content[MESSAGES]
    return reply


@pytest.mark.usefixtures("flower")
@pytest.mark.parametrize(
    ("value", "message"),
    [
        (torch.nan, r"node 12: the statistics of south have values of 1.var that are not finite"),
        (-1.0, r"node 12: the statistics of south have a negative variance of 1"),
    ],
)
def test_a_site_with_impossible_numbers_is_refused_by_name(net, images, value, message):
    told = collect(net, images.split(SIZES)[1], "south")
    layers = {**told.layers, "1": dataclasses.replace(told.layers["1"], variance=told.layers["1"].variance * value)}
    forged = dataclasses.replace(told, layers=layers).encode()
    strategy = site_strategy({"net": net}, 2)
    with pytest.raises(DataError, match=message):
        start(strategy, OneProcess(apps({"net": net}, images), replaced(lambda _: forged)))
    assert not strategy.merged


@pytest.mark.usefixtures("flower")
def test_what_is_no_message_or_comes_twice_or_not_at_all_is_refused(net, images):
    north = collect(net, images, "north").encode()
    for tampered, message in [
        (replaced(lambda content: content[:100]), "node 12: this is no message of a site"),
        (replaced(lambda content: north), "a site stands twice among north, north"),
        (lambda node, reply: None if node == 12 else reply, "no answer of node 12"),
        (without_messages, "node 12: it tells of no network, asked was net"),
    ]:
        with pytest.raises(DataError, match=message):
            start(site_strategy({"net": net}, 2), OneProcess(apps({"net": net}, images), tampered))


@pytest.mark.usefixtures("flower")
def test_what_fails_at_a_site_is_told_with_its_name(net, images, labels):
    broken = images.clone()
    broken[30] = torch.nan
    for sites, options, message in [
        (apps({"net": net}, broken), {}, "^node 12: site south: .*finite"),
        (apps({"net": net}, images), {"ranked": True}, "^node 11: site north: there are no labels to judge by"),
        (apps({"other": net}, images), {}, "^node 11: site north: there is no network net"),
        (apps({"net": network(seed=5)}, images), {}, "node 11: the statistics of north are about another network"),
    ]:
        with pytest.raises(DataError, match=message):
            start(site_strategy({"net": net}, 2, **options), OneProcess(sites))
    unread = client_app({"net": net}, lambda _: read_images(Path("nowhere"), Path("bundle")))
    with pytest.raises(DataError, match="^node 11: a site: nowhere holds no image"):
        start(site_strategy({"net": net}, 1), OneProcess([unread]))
    with pytest.raises(DataError, match="two of a, b are the same network"):
        site_strategy({"a": net, "b": net}, 2)


@pytest.mark.usefixtures("flower")
def test_a_client_refuses_another_strategy(net, images):
    from flwr.app import Message, RecordDict

    reply = OneProcess(apps({"net": net}, images)).apps[11](Message(RecordDict(), 11, "train"), None)
    assert reply.error.reason == "site north: the coordinator has another strategy than that of eyas"


def test_without_flower_the_line_says_where_it_installs(net, images, monkeypatch):
    for name in ("flwr", "flwr.clientapp", "flwr.serverapp.strategy"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtraError, match=r"pip install 'eyas\[flower\]' in an environment of its own"):
        client_app({"net": net}, lambda _: Site("north", images))
    with pytest.raises(MissingExtraError, match="it does not install beside eyas"):
        site_strategy({"net": net}, 2)
