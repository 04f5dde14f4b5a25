"""``s3://``: listing, downloads in parts that resume, ranged reads.

The parts of a download are requested here, because boto3's managed transfer begins a broken one again from its first
byte and takes a short answer for a whole one.
"""

import base64
import os
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from eyas.errors import ChecksumError, DataError
from eyas.parallel import ordered_map
from eyas.progress import Progress, silent
from eyas.storage.addresses import Address, Entry
from eyas.storage.retry import TransientError
from eyas.storage.s3_client import S3Access
from eyas.storage.s3_failures import code_of
from eyas.storage.s3_integrity import Content, ObjectInfo, disagreement
from eyas.storage.settings import StorageSettings
from eyas.storage.transfer_journal import Journal

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client


class S3Remote:
    """Reads objects of an S3 service.

    Every method raises ``DataError`` for a bucket or an object that does not exist, and ``StorageError`` where access
    is refused, the object changed meanwhile, or the service failed after all tries.
    """

    page_size = 1000
    """Objects per page of a listing; S3 gives no more."""

    def __init__(self, settings: StorageSettings) -> None:
        self._settings = settings
        self.access = S3Access(settings)

    def is_object(self, address: Address) -> bool:
        """Whether an address names one object, not a prefix."""
        if not address.key or address.key.endswith("/"):
            return False
        with suppress(DataError):
            self.stat(address)
            return True
        return False

    def entries(self, address: Address) -> Iterator[Entry]:
        """All objects below a prefix, page by page, in the order of their keys; folder markers are left out."""
        prefix = address.key if not address.key or address.key.endswith("/") else address.key + "/"
        request: dict[str, Any] = {"Bucket": address.bucket, "Prefix": prefix, "MaxKeys": self.page_size}
        while True:
            page = self.access.call(lambda client: client.list_objects_v2(**request), str(address))
            for item in page.get("Contents", []):
                name = item["Key"][len(prefix) :]
                if name and not name.endswith("/"):
                    yield Entry(name, item["Size"], item["ETag"], item["LastModified"].timestamp())
            if not page.get("NextContinuationToken"):
                return
            request["ContinuationToken"] = page["NextContinuationToken"]

    def stat(self, address: Address) -> tuple[int, str]:
        """Size and version of an object."""
        info = self._info(address)
        return info.size, info.etag

    def read(self, address: Address, entry: Entry) -> bytes:
        """All bytes of a listed object, compared with the checksum that the object has.

        Raises:
            ChecksumError: they differ, twice.
        """

        def bring() -> bytes:
            data, answer = self._get(address, entry.size, IfMatch=entry.version, ChecksumMode="ENABLED")
            _require_same(data, self._described(address, answer), address)
            return data

        with suppress(ChecksumError):  # the line may have damaged them
            return bring()
        return bring()

    def read_range(self, address: Address, start: int, stop: int, version: str | None) -> bytes:
        """The bytes ``start`` to ``stop`` (exclusive) of an object that must still be ``version``.

        Their number is checked, not their content: an object's checksum says nothing of a range.
        """
        condition = {"IfMatch": version} if version else {}
        return self._get(address, stop - start, Range=f"bytes={start}-{stop - 1}", **condition)[0]

    def download(self, address: Address, target: Path, journal: Journal, progress: Progress = silent) -> None:
        """Bring an object to ``target``: in parts, several at a time, continuing what an earlier try left.

        A ``target`` that is there already and fits the object is kept.

        Raises:
            ChecksumError: the bytes differ from the object's own checksum, twice.
        """
        info = self._info(address)
        if target.exists() and info.can_tell and disagreement(target, info) is None:
            return None
        part = target.with_name(target.name + ".part")

        def bring() -> None:
            self._download_parts(address, info, part, journal, progress)
            try:
                _require_same(part, info, address)
            except ChecksumError:
                part.unlink()
                journal.clear()
                raise
            part.replace(target)

        with suppress(ChecksumError):  # the line may have damaged them
            return bring()
        return bring()

    def _info(self, address: Address) -> ObjectInfo:
        answer = self.access.call(lambda client: _head(client, address, ChecksumMode="ENABLED"), str(address))
        return self._described(address, answer)

    def _described(self, address: Address, answer: Any) -> ObjectInfo:
        """What an answer says of its object, with the size of its parts where nothing else can tell its bytes."""
        info = ObjectInfo.of(answer, etag_is_md5=self._settings.etag_is_md5)
        if "-" not in info.etag or info.sha256 is not None or not info.etag_is_md5:
            return info
        part = self.access.call(lambda client: _head(client, address, PartNumber=1), str(address))
        return replace(info, part_size=part["ContentLength"])

    def _get(self, address: Address, size: int, **options: Any) -> tuple[bytes, Any]:
        """``size`` bytes in one answer, and that answer; boto3 compares a checksum that comes with it."""

        def once(client: "S3Client") -> tuple[bytes, Any]:
            answer = client.get_object(**_place(address), **options)
            with closing(answer["Body"]) as body:  # the body as its own context manager would leave the checksum out
                data = body.read()
            if len(data) != size:
                msg = f"{len(data)} bytes came instead of {size}"
                raise TransientError(msg)
            return data, answer

        return self.access.call(once, str(address))

    def _download_parts(
        self, address: Address, info: ObjectInfo, part: Path, journal: Journal, progress: Progress
    ) -> None:
        """Write the missing parts of an object into ``part``."""
        size, threads = self._settings.part_size, self._settings.concurrency
        written = self._written(info, part, journal)
        missing = [start for start in range(0, info.size, size) if start not in written]
        part.parent.mkdir(parents=True, exist_ok=True)
        with part.open("r+b" if written else "wb") as file:
            file.truncate(info.size)

            def bring(start: int) -> None:
                stop = min(start + size, info.size)
                os.pwrite(file.fileno(), self.read_range(address, start, stop, info.etag), start)
                journal.append(part=start)

            for count, _ in enumerate(ordered_map(bring, missing, threads=threads, ahead=threads), len(written) + 1):
                progress(min(count * size, info.size), info.size, address.name)

    def _written(self, info: ObjectInfo, part: Path, journal: Journal) -> set[int]:
        """Starts of the parts that an earlier try has written, if it was the same object."""
        head = {"etag": info.etag, "size": info.size, "part_size": self._settings.part_size}
        steps = journal.read()
        if part.exists() and steps[:1] == [head]:
            return {step["part"] for step in steps[1:]}
        journal.restart(**head)
        return set()


def _require_same(content: Content, info: ObjectInfo, address: Address) -> None:
    """Refuse bytes that are not what their object says."""
    reason = disagreement(content, info)
    if reason:
        msg = f"{address}: {reason}; downloaded twice: the object is damaged, upload it again"
        raise ChecksumError(msg)


def _head(client: "S3Client", address: Address, **options: Any) -> Any:
    """A HEAD request; where it is refused, a GET says why (an answer to HEAD has no body to tell it)."""
    try:
        return client.head_object(**_place(address), **options)
    except ClientError as error:
        if code_of(error) in {"400", "403"}:
            client.get_object(**_place(address), Range="bytes=0-0")["Body"].close()
        raise


def _place(address: Address) -> dict[str, Any]:
    """Bucket and key as boto3 wants them, and the customer's own encryption key (SSE-C), if there is one.

    The key stands, in base64, in ``EYAS_S3_SSE_CUSTOMER_KEY``.
    """
    place = {"Bucket": address.bucket, "Key": address.key}
    key = os.environ.get("EYAS_S3_SSE_CUSTOMER_KEY")
    return {**place, "SSECustomerAlgorithm": "AES256", "SSECustomerKey": base64.b64decode(key)} if key else place
