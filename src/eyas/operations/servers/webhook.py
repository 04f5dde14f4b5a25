"""``POST /retrain`` and ``/adapt`` for systems that send webhooks: signed, replay-protected, small.

The body is JSON: ``{"reason": "...", "params": "configs/x.yaml"}``; ``params`` must be one of the files the server was
started for. What ``/adapt`` is sent says ``"command": "adapt"`` as well: paths are not signed, bodies are. Answers: 202
started, 400 no JSON or unknown field, 401 not signed as it must be, 403 a file that is not served, 404, 405, 409 one
still runs (the same call may be sent again), 413 too large, 503 it could not be started, or not be remembered: nothing
runs. Whoever sends half a call is cut off (``bounded_http``).

``python -m eyas.operations.servers.webhook PORT PARAMS_FILE`` answers in a process of its own, in the checkout, so that
neither descriptors nor a crash are shared with the schedules.
"""

import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from eyas.operations.servers.bounded_http import serve_bounded
from eyas.operations.servers.signed_calls import CallRefusedError, SignedCalls
from eyas.operations.signing import ReplayGuard, Signature

MAX_BODY_BYTES = 16 * 1024
SECRET_VARIABLE = "EYAS_WEBHOOK_SECRET"  # noqa: S105
logger = logging.getLogger("eyas.webhook")


WORDS = {"retrain": "a retraining", "adapt": "an adaptation"}
"""By command of ``eyas`` that a call may start."""
Start = Callable[[str, str], int | None]
"""``(params_file, reason) -> process id``, or None while one still runs."""


@dataclass
class Retrainer:
    """Starts ``eyas retrain``, or another command, as a process of its own, one at a time."""

    checkout: Path
    command: str = "retrain"
    running: "subprocess.Popen[bytes] | None" = field(default=None, init=False)

    def __call__(self, params_file: str, reason: str) -> int | None:
        """Process id of what was started, or None while one still runs."""
        if self.running is not None and self.running.poll() is None:
            return None
        command = [sys.executable, "-m", "eyas.cli", self.command, "--params", params_file, f"--reason={reason}"]
        self.running = subprocess.Popen(command, cwd=self.checkout, start_new_session=True)
        return self.running.pid


def create_app(
    secret: bytes,
    allowed: Sequence[str],
    start: Start,
    guard: ReplayGuard,
    clock: Callable[[], float] = time.time,
    *,
    adapt: Start | None = None,
) -> Starlette:
    """The endpoint as an ASGI application.

    Args:
        secret: shared with the senders.
        allowed: parameter files that may be asked for; the first is the default.
        start: what ``/retrain`` does.
        guard: remembers which calls started something.
        clock: Unix seconds.
        adapt: what ``/adapt`` does; without it there is no such path.
    """

    def route(command: str, begin: Start) -> Route:
        @SignedCalls(secret, MAX_BODY_BYTES, logger, clock)
        def answer(body: bytes, signature: Signature) -> Response:
            params_file, reason = _parse(body, allowed, command)
            with guard.spending(signature, clock()):
                pid = begin(params_file, reason)
                if pid is None:
                    raise CallRefusedError(409, f"{WORDS[command]} still runs: call again when it has ended")
            logger.info("%s started (process %d): %s, %s", WORDS[command], pid, params_file, reason)
            return JSONResponse({"started": pid, "params": params_file}, status_code=202)

        return Route(f"/{command}", answer, methods=["POST"])

    async def health(_: Request) -> Response:
        return JSONResponse({"status": "ok"})

    adaptation = [route("adapt", adapt)] if adapt else []
    return Starlette(routes=[route("retrain", start), *adaptation, Route("/health", health)])


def _parse(body: bytes, allowed: Sequence[str], command: str) -> tuple[str, str]:
    """Parameter file and reason of a request whose signature was right."""
    try:
        content = json.loads(body or b"{}")
    except (ValueError, RecursionError) as error:
        raise CallRefusedError(400, "the body is not JSON") from error
    if not isinstance(content, dict) or set(content) - {"reason", "params", "command"}:
        raise CallRefusedError(400, 'expected {"command": "...", "reason": "...", "params": "..."} and no other field')
    if content.get("command", "retrain") != command:
        raise CallRefusedError(400, f'this path starts `{command}`, and the body does not say "command": "{command}"')
    params_file, reason = content.get("params", allowed[0]), content.get("reason", "webhook")
    if not (isinstance(params_file, str) and isinstance(reason, str)):
        raise CallRefusedError(400, "params and reason are texts; leave out what you do not name")
    if params_file not in allowed:
        raise CallRefusedError(403, f"{params_file!r} is not served here; served: {', '.join(allowed)}")
    # Nothing that a process cannot be given, such as a NUL, and nothing that starts a line in a log.
    readable = "".join(letter if letter.isprintable() else " " for letter in reason)
    return params_file, " ".join(readable.split())[:200]


def main(port: str, *params_files: str) -> None:
    """Answer on this machine alone, for the checkout that the process stands in."""
    guard = ReplayGuard(Path(".eyas", "webhook", "accepted.json"))
    retrain, adapt = (Retrainer(Path.cwd(), command) for command in WORDS)
    app = create_app(os.environ[SECRET_VARIABLE].encode(), params_files, retrain, guard, adapt=adapt)
    serve_bounded(app, "127.0.0.1", int(port))


if __name__ == "__main__":
    main(*sys.argv[1:])
