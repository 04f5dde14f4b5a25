"""Tell people what a flow came to; a receiver that fails never fails the flow."""

import logging
from dataclasses import replace

from eyas.config import NotifyParams
from eyas.errors import EyasError
from eyas.operations.notify import Notice, send
from eyas.storage import redact

logger = logging.getLogger(__name__)


def tell(params: NotifyParams, notice: Notice) -> bool:
    """Send a notice, without secrets, if its event is asked for and an address is set; True when it was taken."""
    if notice.event not in params.events:
        return False
    try:
        return send(replace(notice, message=redact(notice.message)), variable=params.variable, style=params.style)
    except EyasError as error:
        logger.error("nobody was told that the %s run %s: %s", notice.flow, notice.event, error)
        return False
