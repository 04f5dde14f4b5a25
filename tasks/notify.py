"""Tell people what a flow came to; a receiver that fails never fails the flow."""

import logging

from eyas.config import NotifyParams
from eyas.errors import EyasError
from eyas.notify import Notice, send

logger = logging.getLogger(__name__)


def tell(params: NotifyParams, notice: Notice) -> bool:
    """Send a notice if its event is asked for and an address is set; True when it was taken."""
    if notice.event not in params.events:
        return False
    try:
        return send(notice, variable=params.variable, style=params.style)
    except EyasError as error:
        logger.error("nobody was told that the %s run %s: %s", notice.flow, notice.event, error)
        return False
