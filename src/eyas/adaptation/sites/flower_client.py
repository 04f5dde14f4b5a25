"""A site as a client of Flower."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from eyas.adaptation.sites.collection import collect
from eyas.adaptation.sites.coordinator import require_merged
from eyas.adaptation.sites.flower_records import ASKED, MESSAGES, contents_of, flower, record_of
from eyas.adaptation.sites.site_losses import judge
from eyas.errors import DataError, EyasError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Site:
    """What a client works with; no image leaves it."""

    name: str
    images: Tensor
    """(N, C, H, W), normalised floats."""
    labels: Tensor | None = None
    """(N,), class numbers, where candidates are ranked."""


def client_app(models: Mapping[str, nn.Module], site_of: Callable[[Any], Site], *, batch_size: int = 128) -> Any:
    """Flower's ``ClientApp`` of a site: it tells statistics where Flower trains, and losses where Flower evaluates.

    Args:
        models: networks by name, the same at all sites and at the coordinator.
        site_of: name, images and labels, from Flower's ``Context``.
        batch_size: images per batch when statistics are collected, at most.

    The app answers with Flower's ``Error``, and logs it, where ``site_of``,
    :func:`~eyas.adaptation.sites.collection.collect` or :func:`~eyas.adaptation.sites.site_losses.judge` refuse; it
    holds their line and the site's name.

    Raises:
        MissingExtraError: Flower is not installed.
    """

    def tell_statistics(name: str, site: Site, merged: bytes | None, exact: bool) -> bytes:
        before = None if merged is None else require_merged(merged, models[name], name)
        statistics = collect(models[name], site.images, site.name, batch_size=batch_size, exact=exact, merged=before)
        return statistics.encode()

    def tell_losses(name: str, site: Site, merged: bytes | None, exact: bool) -> bytes:
        statistics = require_merged(merged, models[name], name)
        if site.labels is None:
            msg = "there are no labels to judge by: give them, or let the coordinator merge alone"
            raise DataError(msg)
        return judge(models[name], site.images, site.labels, site.name, statistics).encode()

    def answering(tell: Callable[[str, Site, bytes | None, bool], bytes]) -> Callable[[Any, Any], Any]:
        def answer(message: Any, context: Any) -> Any:
            app, who = flower("app"), "a site"
            try:
                site, merged = site_of(context), contents_of(message)
                who = f"site {site.name}"
                names, exact = _asked(message, models)
                answers = {name: tell(name, site, merged.get(name), exact) for name in names}
            except EyasError as error:  # Flower would tell the coordinator a trace of calls
                log.error("%s: %s", who, error)
                code = flower("common.constant").ErrorCode.CLIENT_APP_RAISED_EXCEPTION
                return app.Message(app.Error(code, f"{who}: {error}"), reply_to=message)
            return app.Message(app.RecordDict({MESSAGES: record_of(answers)}), reply_to=message)

        return answer

    app = flower("clientapp").ClientApp()
    app.train()(answering(tell_statistics))
    app.evaluate()(answering(tell_losses))
    return app


def _asked(message: Any, models: Mapping[str, nn.Module]) -> tuple[list[str], bool]:
    """Names of the networks that the coordinator asks for, and whether a round gives one layer."""
    asked = message.content.config_records.get(ASKED)
    if asked is None:
        msg = "the coordinator has another strategy than that of eyas"
        raise DataError(msg)
    names = list(asked["networks"])
    if unknown := [name for name in names if name not in models]:
        msg = f"there is no network {unknown[0]}: all sites and the coordinator have the same"
        raise DataError(msg)
    return names, bool(asked["exact"])
