"""Endpoints that answer signed calls alone: bounded bodies, every refusal one line of JSON and of the log."""

import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from eyas.errors import BadInputError
from eyas.operations.signing import Signature, SignatureError, verify


class CallRefusedError(BadInputError):
    """A call that is answered with ``status``."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class SignedCalls:
    """Makes an endpoint of a function that gets the body of a call whose signature was right."""

    secret: bytes
    """Shared with the senders."""
    limit: int
    """Bytes of a body."""
    logger: logging.Logger
    clock: Callable[[], float] = time.time
    """Unix seconds."""

    def __call__(self, answer: Callable[[bytes, Signature], Response]) -> Callable[[Request], Awaitable[Response]]:
        """The endpoint; 400 bad input, 401 not signed as it must be, 413 too large, 503 what the system refused."""

        async def endpoint(request: Request) -> Response:
            try:
                body = await self._read(request)
                return answer(body, verify(self.secret, request.headers, body, now=self.clock()))
            except CallRefusedError as refusal:
                return self._refuse(request, refusal.status, str(refusal))
            except ClientDisconnect:
                return self._refuse(request, 400, "the call ended before its body")
            except SignatureError as error:
                return self._refuse(request, 401, str(error))
            except BadInputError as error:
                return self._refuse(request, 400, str(error))
            except OSError:
                self.logger.exception("nothing was started or taken")
                return self._refuse(request, 503, "it could not be done: see the server's log")

        return endpoint

    async def _read(self, request: Request) -> bytes:
        """The body, never more than the limit of it."""
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > self.limit:
                msg = f"the body is larger than {self.limit} bytes"
                raise CallRefusedError(413, msg)
        return body

    def _refuse(self, request: Request, status: int, message: str) -> Response:
        client = request.client.host if request.client else "unknown"
        self.logger.warning("refused (%d) a call from %s: %s", status, client, message)
        return JSONResponse({"error": message}, status_code=status)
