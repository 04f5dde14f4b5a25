"""``s3://``: listing, downloads in parts that resume, ranged reads."""

import base64
import os
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from botocore.exceptions import ClientError, FlexibleChecksumError

from eyas.errors import ChecksumError
from eyas.parallel import ordered_map
from eyas.progress import Progress, silent
from eyas.storage.addresses import Address
from eyas.storage.entry import Entry
from eyas.storage.retry import TransientError
from eyas.storage.s3_checks import Content, ObjectInfo, disagreement
from eyas.storage.s3_client import S3Access, code_of
from eyas.storage.settings import StorageSettings
from eyas.storage.transfer_journal import Journal

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

Arrived = TypeVar("Arrived", bound=Content)


class S3Remote:
    """Reads objects of an S3 service."""

    page_size = 1000
    """Objects per page of a listing; S3 gives no more."""

    def __init__(self, settings: StorageSettings) -> None:
        self.settings = settings
        self.access = S3Access(settings)
        self.secret_args = customer_key_args()

    def entries(self, address: Address) -> Iterator[Entry]:
        """All objects below a prefix, page by page, in the order of their keys; folder markers are left out.

        Raises:
            DataError: the bucket does not exist.
            StorageError: access is refused, or the service failed after all tries.
        """
        prefix = address.key if not address.key or address.key.endswith("/") else address.key + "/"
        token: str | None = None
        while True:
            request: dict[str, Any] = {"Bucket": address.bucket, "Prefix": prefix, "MaxKeys": self.page_size}
            if token:
                request["ContinuationToken"] = token
            page = self.access.call(lambda client, r=request: client.list_objects_v2(**r), str(address))  # type: ignore[misc]
            for item in page.get("Contents", []):
                name = item["Key"][len(prefix) :]
                if name and not name.endswith("/"):
                    yield Entry(name, item["Size"], item["ETag"])
            token = page.get("NextContinuationToken")
            if not token:
                return

    def stat(self, address: Address) -> ObjectInfo:
        """Size, version and checksums of an object.

        Raises:
            DataError: it does not exist.
            StorageError: access is refused, or the service failed after all tries.
        """
        answer = self.access.call(lambda client: self._head(client, address, ChecksumMode="ENABLED"), str(address))
        return self._with_part_size(address, ObjectInfo.of(answer, etag_is_md5=self.settings.etag_is_md5))

    def _with_part_size(self, address: Address, info: ObjectInfo) -> ObjectInfo:
        """The same with the size of its parts, where its bytes can be told from nothing else."""
        if "-" not in info.etag or info.sha256 is not None or not info.etag_is_md5:
            return info
        part = self.access.call(lambda client: self._head(client, address, PartNumber=1), str(address))
        return replace(info, part_size=part["ContentLength"])

    def _head(self, client: "S3Client", address: Address, **options: Any) -> Any:
        """A HEAD request; where it is refused, a GET says why (an answer to HEAD has no body to tell it)."""
        request: dict[str, Any] = {"Bucket": address.bucket, "Key": address.key, **self.secret_args}
        try:
            return client.head_object(**request, **options)
        except ClientError as error:
            if code_of(error) in {"400", "403"}:
                client.get_object(**request, Range="bytes=0-0")["Body"].close()
            raise

    def read(self, address: Address, entry: Entry) -> bytes:
        """All bytes of a listed object that must still be the same, compared with the checksum that the object has.

        Raises:
            ChecksumError: they differ, twice.
            DataError: it does not exist.
            StorageError: it changed, access is refused, or the service failed after all tries.
        """

        def bring() -> tuple[bytes, ObjectInfo]:
            data, info = self.access.call(lambda client: self._get(client, address, entry), str(address))
            return data, self._with_part_size(address, info)

        return self._checked(address, bring)

    def _get(self, client: "S3Client", address: Address, entry: Entry) -> tuple[bytes, ObjectInfo]:
        """The whole object in one answer, and what that says of it; boto3 compares the service's own checksum."""
        request: dict[str, Any] = {"Bucket": address.bucket, "Key": address.key, **self.secret_args}
        answer = client.get_object(**request, IfMatch=entry.version, ChecksumMode="ENABLED")
        with closing(answer["Body"]) as body:  # the body as its own context manager would leave the checksum out
            try:
                data = body.read()
            except FlexibleChecksumError as error:
                raise ChecksumError(str(error)) from None
        if len(data) != entry.size:
            msg = f"{len(data)} bytes came instead of {entry.size}"
            raise TransientError(msg)
        return data, ObjectInfo.of(answer, etag_is_md5=self.settings.etag_is_md5)

    def read_range(self, address: Address, start: int, stop: int, version: str | None) -> bytes:
        """The bytes ``start`` to ``stop`` (exclusive) of an object that must still be ``version``.

        Their number is checked, not their content: an object's checksum says nothing of a range.

        Raises:
            StorageError: it changed, access is refused, or the service failed after all tries.
        """
        return self.access.call(lambda client: self._range(client, address, start, stop, version), str(address))

    def _range(self, client: "S3Client", address: Address, start: int, stop: int, version: str | None) -> bytes:
        if stop <= start:
            return b""
        request: dict[str, Any] = {"Bucket": address.bucket, "Key": address.key, **self.secret_args}
        if version:
            request["IfMatch"] = version
        answer = client.get_object(**request, Range=f"bytes={start}-{stop - 1}")
        with answer["Body"] as body:
            data = body.read()
        if len(data) != stop - start:
            msg = f"{len(data)} bytes came instead of {stop - start}"
            raise TransientError(msg)
        return data

    def download(self, address: Address, target: Path, journal: Journal, progress: Progress = silent) -> None:
        """Bring an object to ``target``: in parts, several at a time, continuing what an earlier try left.

        A ``target`` that is there already and fits the object is kept.

        Raises:
            ChecksumError: the bytes differ from the object's own checksum, twice.
            DataError: it does not exist.
            StorageError: access is refused, or the service failed after all tries.
        """
        info = self.stat(address)
        if target.exists() and info.can_tell and disagreement(target, info) is None:
            return
        part = target.with_name(target.name + ".part")

        def bring() -> tuple[Path, ObjectInfo]:
            self._download_parts(address, info, part, journal, progress)
            return part, info

        def forget() -> None:
            part.unlink()
            journal.clear()

        self._checked(address, bring, forget).replace(target)

    def download_small(self, address: Address, target: Path, entry: Entry) -> None:
        """Bring a listed object of at most ``part_size`` bytes to ``target`` with a single request.

        Raises:
            As ``download``.
        """
        data = self.read(address, entry)
        part = target.with_name(target.name + ".part")
        part.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(data)
        part.replace(target)

    @staticmethod
    def _checked(
        address: Address, bring: Callable[[], tuple[Arrived, ObjectInfo]], forget: Callable[[], None] = lambda: None
    ) -> Arrived:
        """What ``bring`` gives, compared with what the object says; once more, after ``forget``, when they differ."""
        reason: str | None = None
        for _ in range(2):
            try:
                content, info = bring()
                reason = disagreement(content, info)
            except ChecksumError as error:
                reason = str(error)
            if reason is None:
                return content
            forget()
        msg = f"{address}: {reason}; downloaded twice: the object is damaged, upload it again"
        raise ChecksumError(msg)

    def _download_parts(
        self, address: Address, info: ObjectInfo, part: Path, journal: Journal, progress: Progress
    ) -> None:
        """Write the missing parts of an object into ``part``."""
        size = self.settings.part_size
        done = self._resumed(info, part, journal)
        starts = range(0, info.size, size)
        missing = [start for start in starts if start not in done]
        part.parent.mkdir(parents=True, exist_ok=True)
        with part.open("r+b" if done else "wb") as file:
            file.truncate(info.size)

            def bring(start: int) -> None:
                stop = min(start + size, info.size)
                os.pwrite(file.fileno(), self.read_range(address, start, stop, info.etag), start)
                journal.append(part=start)

            for count, _ in enumerate(
                ordered_map(bring, missing, threads=self.settings.concurrency, ahead=self.settings.concurrency),
                len(starts) - len(missing) + 1,
            ):
                progress(min(count * size, info.size), info.size, address.name)

    def _resumed(self, info: ObjectInfo, part: Path, journal: Journal) -> set[int]:
        """Starts of the parts that an earlier try has written, if it was the same object."""
        head = {"etag": info.etag, "size": info.size, "part_size": self.settings.part_size}
        steps = journal.read()
        if part.exists() and steps and steps[0] == head:
            return {step["part"] for step in steps[1:] if "part" in step}
        journal.restart(**head)
        return set()


def customer_key_args() -> dict[str, Any]:
    """The customer's own encryption key (SSE-C), from ``EYAS_S3_SSE_CUSTOMER_KEY`` (base64), as boto3 wants it."""
    key = os.environ.get("EYAS_S3_SSE_CUSTOMER_KEY")
    if not key:
        return {}
    return {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": base64.b64decode(key)}
