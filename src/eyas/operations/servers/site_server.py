"""The coordinator's exchange over HTTP: sites send signed messages and fetch merged statistics.

``POST /messages`` takes a message (202; 400 faulty, 401 not signed as it must be or seen before, 404 a network that is
not coordinated here or has no merged statistics, 409 signed before the one that it would replace, 413 too large).
``POST /merged`` with ``{"network": "<digest>", "nonce": "<32 hex digits or more>"}`` gives the merged statistics,
signed by the same secret together with the request, so that a site knows whose they are and that they are those of now.
"""

import logging
import re
import time
from collections.abc import Callable, Iterable

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from torch import nn

from eyas.adaptation.sites.exchange import FolderExchange
from eyas.adaptation.sites.network_digest import network_digest
from eyas.adaptation.sites.site_losses import SiteLosses
from eyas.adaptation.sites.site_message import COORDINATOR, MAX_BYTES, SiteMessage
from eyas.adaptation.sites.site_statistics import SiteStatistics
from eyas.errors import DataError
from eyas.operations.servers.signed_calls import CallRefusedError, SignedCalls
from eyas.operations.signing import (
    SIGNATURE_HEADER,
    TIMESTAMP_HEADER,
    OvertakenError,
    ReplayGuard,
    Signature,
    as_answer,
    sign,
)
from eyas.storage.json_text import parse_json

SITES_SECRET = "EYAS_SITES_SECRET"  # noqa: S105
NONCE = re.compile("[0-9a-f]{32,128}")
"""What a site draws anew for each request for merged statistics."""
logger = logging.getLogger("eyas.sites")


def create_site_server(
    secret: bytes,
    exchange: FolderExchange,
    models: Iterable[nn.Module],
    guard: ReplayGuard,
    clock: Callable[[], float] = time.time,
) -> Starlette:
    """The exchange as an ASGI application.

    Args:
        secret: shared with the sites.
        exchange: where messages are left.
        models: the networks that are coordinated.
        guard: remembers which messages were taken.
        clock: Unix seconds.
    """
    by_digest = {network_digest(model): model for model in models}
    signed = SignedCalls(secret, MAX_BYTES, logger, clock)

    def merged_of(network: str) -> bytes:
        merged = exchange.merged(network) if network in by_digest else None
        if merged is None:
            raise CallRefusedError(404, f"no merged statistics of network {network[:12]} are here")
        return merged

    @signed
    def take(body: bytes, signature: Signature) -> Response:
        header = SiteMessage.decode(body).header
        if header.network not in by_digest:
            raise CallRefusedError(404, f"network {header.network[:12]} is not coordinated here")
        if header.site == COORDINATOR:
            raise CallRefusedError(400, f"{COORDINATOR} is no name for a site")
        model = by_digest[header.network]
        if header.kind == "losses":
            merged = SiteStatistics.decode(merged_of(header.network), model, "merged")
            SiteLosses.decode(body, header.network, merged.digest)
        else:
            SiteStatistics.decode(body, model)
        what = f"{header.kind} of {header.site}"
        try:
            with guard.spending(signature, clock(), f"{what} about {header.network}"):
                exchange.put(body)
        except OvertakenError as error:
            raise CallRefusedError(409, f"newer {what} are here: these were {error}") from error
        logger.info("%s of %s about network %s taken", header.kind, header.site, header.network[:12])
        return JSONResponse({"taken": header.kind}, status_code=202)

    @signed
    def give(body: bytes, _: Signature) -> Response:
        content, now = merged_of(_asked_for(body)), int(clock())
        headers = {TIMESTAMP_HEADER: str(now), SIGNATURE_HEADER: sign(secret, now, as_answer(body, content))}
        return Response(content, headers=headers, media_type="application/octet-stream")

    async def health(_: Request) -> Response:
        return JSONResponse({"status": "ok"})

    routes = [Route("/messages", take, methods=["POST"]), Route("/merged", give, methods=["POST"])]
    return Starlette(routes=[*routes, Route("/health", health)])


def _asked_for(body: bytes) -> str:
    """Digest of the network whose merged statistics a request asks for.

    Raises:
        DataError: it is no such request, or nothing in it tells it from others.
    """
    try:
        asked = parse_json(body)
        network, nonce = str(asked["network"]), str(asked.get("nonce"))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        msg = 'expected {"network": "<digest>", "nonce": "<32 hex digits or more>"}'
        raise DataError(msg) from error
    if not NONCE.fullmatch(nonce):
        msg = "the request has no nonce of 32 hex digits or more: is the site's eyas older than the coordinator's?"
        raise DataError(msg)
    return network
