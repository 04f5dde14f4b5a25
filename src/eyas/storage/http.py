"""``https://`` and ``http://``: downloads that continue where a broken connection left them.

The tries are counted here, not by urllib3's own ``Retry`` on the session: that one does not see a body that breaks, and
two layers of patience multiply.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeGuard

import requests
import urllib3

from eyas.errors import DataError, StorageError
from eyas.progress import Progress, silent
from eyas.storage.addresses import Address, Entry
from eyas.storage.retry import TransientError
from eyas.storage.settings import StorageSettings
from eyas.storage.transfer_journal import Journal

_CHUNK = 1 << 18
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")


class HttpRemote:
    """Brings files from web servers.

    Every method raises ``DataError`` where the server says there is no such file, and ``StorageError`` where access is
    refused, the file changed meanwhile, or the server failed after all tries.
    """

    def __init__(self, settings: StorageSettings) -> None:
        self._settings = settings
        self._session = requests.Session()
        if settings.ca_bundle:
            self._session.verify = settings.ca_bundle

    def download(self, address: Address, target: Path, journal: Journal, progress: Progress = silent) -> None:
        """Bring a file to ``target``, continuing ``target.part`` where the server can prove it is the same file.

        A ``target`` that is there already is kept when the server says it is unchanged.
        """
        self._settings.retry(lambda: self._continue(address, target, journal, progress), str(address))

    def stat(self, address: Address) -> tuple[int, str | None]:
        """Size and version (ETag or date of change) of a file; ``StorageError`` where the server does not tell."""

        def once() -> tuple[int, str | None]:
            with self._get(address, {"Range": "bytes=0-0"}) as response:
                _, size = _extent(response)
                if size is None:
                    msg = f"{address}: the server does not tell the file's size"
                    raise StorageError(msg)
                return size, _version(response)

        return self._settings.retry(once, str(address))

    def read(self, address: Address, entry: Entry) -> bytes:
        """All bytes of a file that must still be as it was listed."""
        return self.read_range(address, 0, entry.size, entry.version or None) if entry.size else b""

    def read_range(self, address: Address, start: int, stop: int, version: str | None) -> bytes:
        """The bytes ``start`` to ``stop`` (exclusive) of a file that must still be ``version``."""
        headers = {"Range": f"bytes={start}-{stop - 1}"}
        if version and not version.startswith("W/"):
            headers["If-Match" if version.startswith('"') else "If-Unmodified-Since"] = version

        def once() -> bytes:
            with self._get(address, headers) as response:
                if response.status_code == 412:
                    msg = f"{address} changed while it was read: start again"
                    raise StorageError(msg)
                if response.status_code != 206:
                    msg = f"{address}: the server does not give ranges (status {response.status_code})"
                    raise StorageError(msg)
                data = b"".join(_body(response))
            if len(data) != stop - start:
                msg = f"{len(data)} bytes came instead of {stop - start}"
                raise TransientError(msg)
            return data

        return self._settings.retry(once, str(address))

    def _continue(self, address: Address, target: Path, journal: Journal, progress: Progress) -> None:
        """Ask for what is missing, append it, and give the file its name."""
        part = target.with_name(target.name + ".part")
        version = next((step["version"] for step in journal.read()), None)
        begun = part.stat().st_size if part.exists() else 0
        headers: dict[str, str] = {}
        if target.exists() and version is not None:
            headers["If-None-Match" if '"' in version else "If-Modified-Since"] = version
        elif begun and _is_strong(version):
            headers = {"Range": f"bytes={begun}-", "If-Range": version}
        with self._get(address, headers) as response:
            if response.status_code == 304:
                return
            start, total = _extent(response)
            if start not in {0, begun}:
                part.unlink(missing_ok=True)
                msg = "the server's range does not continue the file"
                raise TransientError(msg)
            if response.status_code == 200:
                journal.restart(version=_version(response))
            _append(response, part, (start, total), lambda done: progress(done, total or done, address.name))
        part.replace(target)

    @contextmanager
    def _get(self, address: Address, headers: dict[str, str]) -> Iterator[requests.Response]:
        """A response whose body has not been read; failures become ours, without the query of the address."""
        times = (self._settings.connect_timeout, self._settings.read_timeout)
        headers = {"Accept-Encoding": "identity", **headers}
        try:
            with self._session.get(address.text, headers=headers, stream=True, timeout=times) as response:
                _check_status(response, address)
                yield response
        except requests.exceptions.SSLError:
            msg = f"{address}: the server's certificate is not trusted (storage setting ca_bundle)"
            raise StorageError(msg) from None
        except (requests.ConnectionError, requests.Timeout) as error:
            raise TransientError(_reason(error)) from None
        except requests.RequestException as error:
            msg = f"{address}: {type(error).__name__}"
            raise StorageError(msg) from None


def _append(
    response: requests.Response, part: Path, extent: tuple[int, int | None], report: Callable[[int], None]
) -> None:
    """Write a body into ``part``, from where it belongs; what came before a cut is kept."""
    start, total = extent
    done = start
    part.parent.mkdir(parents=True, exist_ok=True)
    with part.open("r+b" if start else "wb") as file:
        file.seek(start)
        file.truncate()
        try:
            for chunk in _body(response):
                file.write(chunk)
                done += len(chunk)
                report(done)
            if total not in {None, done}:
                msg = f"{done} bytes came instead of {total}"
                raise TransientError(msg)
        except TransientError as error:
            surplus = total is not None and done > total
            if surplus:
                file.truncate(0)
            error.progressed = done > start and not surplus and _is_strong(_version(response))
            raise


def _body(response: requests.Response) -> Iterator[bytes]:
    """The body as it was stored, in pieces as they come."""
    try:
        while chunk := response.raw.read1(_CHUNK, decode_content=False):
            yield chunk
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise TransientError(_reason(error)) from None


def _version(response: requests.Response) -> str | None:
    """What tells one version of a file from another: its ETag, else the date of its change."""
    return response.headers.get("ETag") or response.headers.get("Last-Modified")


def _is_strong(version: str | None) -> TypeGuard[str]:
    """Whether equal versions mean equal bytes, so that a download may be continued."""
    return version is not None and not version.startswith("W/")


def _extent(response: requests.Response) -> tuple[int, int | None]:
    """Where in the file a body begins (-1 where it is no part of it), and the file's size, where the server tells."""
    match = _RANGE.match(response.headers.get("Content-Range", ""))
    if match:
        return int(match[1]), None if match[3] == "*" else int(match[3])
    if response.status_code in {206, 416}:
        return -1, None
    length = response.headers.get("Content-Length")
    return 0, None if length is None else int(length)


def _check_status(response: requests.Response, address: Address) -> None:
    """Turn a status that is no success into the error that fits it."""
    status = response.status_code
    if address.scheme == "https" and any(step.url.startswith("http://") for step in [*response.history, response]):
        msg = f"{address} leads to an address without https: refused"
        raise StorageError(msg)
    if status in _PASSING:
        msg = f"the server answered {status} {response.reason}"
        raise TransientError(msg, retry_after=response.headers.get("Retry-After"))
    if status in {404, 410}:
        msg = f"{address} does not exist (status {status}): check the address"
        raise DataError(msg)
    if status in {401, 403}:
        msg = f"{address}: access refused (status {status}): check the credentials, or ask for a fresh signed address"
        raise StorageError(msg)
    if status >= 400 and status not in {412, 416}:
        msg = f"{address}: the server answered {status} {response.reason}"
        raise StorageError(msg)


def _reason(error: Any) -> str:
    """A failure in words; the library's own text holds the whole address."""
    if isinstance(error, (requests.Timeout, urllib3.exceptions.TimeoutError, TimeoutError)):
        return "no answer in time"
    if "NameResolutionError" in repr(error):
        return "the host's name is unknown"
    if "refused" in repr(error):
        return "the connection was refused"
    return "the connection was cut"
