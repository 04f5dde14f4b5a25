"""While a flow runs: a server it needs that is gone ends the command within a minute, in one line with its name."""

import threading
import time
from collections.abc import Mapping

import httpx

from eyas.cli.interruption import Interruption
from eyas.storage import redact

PATIENCE_SECONDS = 40.0
"""A server that is being restarted comes back within."""
POLL_SECONDS = 2.0
ANSWER_SECONDS = 10.0


def watch_servers(addresses: Mapping[str, str], patience: float = PATIENCE_SECONDS) -> None:
    """End the command where a server that was well is not for longer than ``patience``; ends with the process.

    Args:
        addresses: for the name of each server what it answers as long as it, and its database, are well.
        patience: in seconds.
    """
    command = Interruption.current()
    if command and addresses:
        thread = threading.Thread(target=_watch, args=(command, addresses, patience), name="servers", daemon=True)
        thread.start()


def _watch(command: Interruption, addresses: Mapping[str, str], patience: float) -> None:
    """One that never was well, such as behind a certificate that only its own client knows, is left to its client."""
    last_well: dict[str, float] = {}
    while command.stopped is None:
        for name, address in addresses.items():
            wrong = fault(address)
            if wrong is None:
                last_well[name] = time.monotonic()
            elif time.monotonic() - last_well.get(name, time.monotonic()) > patience:
                command.lose(f"{name} is lost: {wrong} at {redact(address)}; what the stages made is kept")
                return
        time.sleep(POLL_SECONDS)


def fault(address: str) -> str | None:
    """What is wrong with a server; None where it answers, with whatever but a fault of its own."""
    try:
        status = httpx.get(address, timeout=ANSWER_SECONDS).status_code
    except httpx.HTTPError as error:
        return f"it does not answer ({str(error) or type(error).__name__})"
    return f"it answers with status {status}, as without its database" if status >= 500 else None
