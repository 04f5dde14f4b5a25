"""``https://`` and ``http://``: downloads that continue where a broken connection left them."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests
import urllib3

from eyas.errors import DataError, StorageError
from eyas.progress import Progress, silent
from eyas.storage.addresses import Address
from eyas.storage.retry import Retry, TransientError
from eyas.storage.settings import StorageSettings
from eyas.storage.transfer_journal import Journal

_CHUNK = 1 << 18
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")


class HttpRemote:
    """Brings files from web servers."""

    def __init__(self, settings: StorageSettings) -> None:
        self._settings = settings
        self._retry = Retry.of(settings)
        self._session = requests.Session()
        if settings.ca_bundle:
            self._session.verify = settings.ca_bundle

    def download(self, address: Address, target: Path, journal: Journal, progress: Progress = silent) -> None:
        """Bring a file to ``target``, continuing ``target.part`` where the server can prove it is the same file.

        A ``target`` that is there already is kept when the server says it is unchanged.

        Raises:
            DataError: the server says there is no such file.
            StorageError: access is refused, or the server failed after all tries.
        """
        download = _Download(self, address, target, journal, progress)
        self._retry(download.once, str(address))

    def read_range(self, address: Address, start: int, stop: int, version: str | None) -> bytes:
        """The bytes ``start`` to ``stop`` (exclusive) of a file that must still be ``version``.

        Raises:
            StorageError: the server cannot give ranges, or the file changed.
        """

        def once() -> bytes:
            headers = {"Range": f"bytes={start}-{stop - 1}"}
            if version and not version.startswith("W/"):
                headers["If-Match" if version.startswith('"') else "If-Unmodified-Since"] = version
            with self.get(address, headers) as response:
                if response.status_code == 412:
                    msg = f"{address} changed while it was read: start again"
                    raise StorageError(msg)
                if response.status_code != 206:
                    msg = f"{address}: the server does not give ranges (status {response.status_code})"
                    raise StorageError(msg)
                data = b"".join(self.body(response))
            if len(data) != stop - start:
                msg = f"{len(data)} bytes came instead of {stop - start}"
                raise TransientError(msg)
            return data

        return self._retry(once, str(address))

    def stat(self, address: Address) -> tuple[int, str | None]:
        """Size and version (ETag or date of change) of a file.

        Raises:
            DataError: there is no such file.
            StorageError: the server does not tell the size, or failed after all tries.
        """

        def once() -> tuple[int, str | None]:
            with self.get(address, {"Range": "bytes=0-0"}) as response:
                match = _RANGE.match(response.headers.get("Content-Range", ""))
                size = match[3] if match else response.headers.get("Content-Length")
                if size is None or size == "*":
                    msg = f"{address}: the server does not tell the file's size"
                    raise StorageError(msg)
                return int(size), version_of(response)

        return self._retry(once, str(address))

    @contextmanager
    def get(self, address: Address, headers: dict[str, str]) -> Iterator[requests.Response]:
        """A response whose body has not been read; failures become ours, without the query of the address."""
        times = (self._settings.connect_timeout, self._settings.read_timeout)
        headers = {"Accept-Encoding": "identity", **headers}
        try:
            with self._session.get(address.text, headers=headers, stream=True, timeout=times) as response:
                _check_status(response, address)
                yield response
        except requests.exceptions.SSLError:
            msg = f"{address}: the server's certificate is not trusted (see runtime.storage.ca_bundle)"
            raise StorageError(msg) from None
        except (requests.ConnectionError, requests.Timeout) as error:
            raise TransientError(_reason(error)) from None
        except requests.RequestException as error:
            msg = f"{address}: {type(error).__name__}"
            raise StorageError(msg) from None

    @staticmethod
    def body(response: requests.Response) -> Iterator[bytes]:
        """The body as it was stored, in pieces as they come: what came before a cut is kept."""
        try:
            while chunk := response.raw.read1(_CHUNK, decode_content=False):
                yield chunk
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise TransientError(_reason(error)) from None


class _Download:
    """One file on its way; ``once`` is one try."""

    def __init__(
        self, remote: HttpRemote, address: Address, target: Path, journal: Journal, progress: Progress
    ) -> None:
        self._remote, self._address, self._target = remote, address, target
        self._journal, self._progress = journal, progress
        self._part = target.with_name(target.name + ".part")

    def once(self) -> None:
        """Ask for what is missing and append it."""
        version = next((step["version"] for step in self._journal.read() if "version" in step), None)
        headers, offset = self._condition(version)
        with self._remote.get(self._address, headers) as response:
            if response.status_code == 304:
                return
            if response.status_code == 416 or (response.status_code == 206 and not self._continues(response, offset)):
                self._part.unlink(missing_ok=True)
                msg = "the server's range does not continue the file"
                raise TransientError(msg)
            if response.status_code == 200:
                offset = 0
                self._journal.restart(version=version_of(response))
            total = _total(response, offset)
            self._append(response, offset, total)
        self._part.replace(self._target)

    def _condition(self, version: str | None) -> tuple[dict[str, str], int]:
        """Headers that ask for the rest of the same file, or for news of a file that is complete."""
        strong = version is not None and not version.startswith("W/")
        if self._target.exists() and version is not None:
            return {"If-None-Match" if '"' in version else "If-Modified-Since": version}, 0
        offset = self._part.stat().st_size if self._part.exists() else 0
        if offset and strong:
            assert version is not None
            return {"Range": f"bytes={offset}-", "If-Range": version}, offset
        return {}, 0

    @staticmethod
    def _continues(response: requests.Response, offset: int) -> bool:
        match = _RANGE.match(response.headers.get("Content-Range", ""))
        return match is not None and int(match[1]) == offset

    def _append(self, response: requests.Response, offset: int, total: int | None) -> None:
        """Write the body behind the first ``offset`` bytes."""
        self._part.parent.mkdir(parents=True, exist_ok=True)
        done = offset
        with self._part.open("r+b" if offset else "wb") as file:
            file.seek(offset)
            file.truncate()
            try:
                for chunk in HttpRemote.body(response):
                    file.write(chunk)
                    done += len(chunk)
                    self._progress(done, total or done, self._address.name)
            except TransientError as error:
                error.progressed = done > offset and self._resumable(response)
                raise
        if total is not None and done != total:
            if done > total:
                self._part.unlink()
            msg = f"{done} bytes came instead of {total}"
            raise TransientError(msg, progressed=offset < done < total and self._resumable(response))

    @staticmethod
    def _resumable(response: requests.Response) -> bool:
        return (version_of(response) or "W/").startswith("W/") is False


def version_of(response: requests.Response) -> str | None:
    """What tells one version of a file from another: its ETag, else the date of its change."""
    return response.headers.get("ETag") or response.headers.get("Last-Modified")


def _total(response: requests.Response, offset: int) -> int | None:
    """The size of the whole file, where the server tells it."""
    match = _RANGE.match(response.headers.get("Content-Range", ""))
    if match and match[3] != "*":
        return int(match[3])
    length = response.headers.get("Content-Length")
    return offset + int(length) if length is not None else None


def _check_status(response: requests.Response, address: Address) -> None:
    """Turn a status that is no success into the error that fits it."""
    status = response.status_code
    if address.scheme == "https" and any(step.url.startswith("http://") for step in [*response.history, response]):
        msg = f"{address} leads to an address without https: refused"
        raise StorageError(msg)
    if status in _PASSING:
        msg = f"the server answered {status} {response.reason}"
        raise TransientError(msg, retry_after=_retry_after(response.headers.get("Retry-After")))
    if status in {404, 410}:
        msg = f"{address} does not exist (status {status}): check the address"
        raise DataError(msg)
    if status in {401, 403}:
        msg = f"{address}: access refused (status {status}): check the credentials, or ask for a fresh signed address"
        raise StorageError(msg)
    if status >= 400 and status not in {412, 416}:
        msg = f"{address}: the server answered {status} {response.reason}"
        raise StorageError(msg)


def _retry_after(value: str | None) -> float:
    return float(value) if value is not None and value.isdigit() else 0.0


def _reason(error: Any) -> str:
    """A failure in words; the library's own text holds the whole address."""
    if isinstance(error, (requests.Timeout, urllib3.exceptions.TimeoutError, TimeoutError)):
        return "no answer in time"
    if "NameResolutionError" in repr(error):
        return "the host's name is unknown"
    if "refused" in repr(error):
        return "the connection was refused"
    return "the connection was cut"
