"""Uploads to ``s3://``: in one request, or in parts that continue where a broken connection left them.

An object appears when its last byte has been accepted, never before. Every part carries a checksum that the service
compares; what the service answers is compared with what was sent; the whole file's SHA-256 stands in the metadata.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eyas.errors import DataError, StorageError
from eyas.parallel import ordered_map
from eyas.progress import Progress, silent
from eyas.storage.addresses import Address
from eyas.storage.journal import Journal
from eyas.storage.retry import TransientError
from eyas.storage.s3 import S3Remote
from eyas.storage.s3_checks import base64_md5, base64_sha256, receipt_agrees, sha256_of

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

_MAX_PARTS = 10_000


@dataclass(frozen=True)
class _Parts:
    """A file cut into parts."""

    path: Path
    size: int
    part_size: int

    @property
    def numbers(self) -> range:
        """1 to the number of parts, as S3 counts."""
        return range(1, -(-self.size // self.part_size) + 1)

    def read(self, number: int) -> bytes:
        """The bytes of one part."""
        with self.path.open("rb") as file:
            file.seek((number - 1) * self.part_size)
            return file.read(self.part_size)


class S3Upload:
    """Writes one file to one object; calling it again continues what an earlier try left."""

    def __init__(self, remote: S3Remote, source: Path, address: Address, journal: Journal) -> None:
        self._remote, self._address, self._journal = remote, address, journal
        self._what = str(address)
        self._place: dict[str, Any] = {"Bucket": address.bucket, "Key": address.key}
        settings = remote.settings
        size = source.stat().st_size
        self._parts = _Parts(source, size, max(settings.part_size, -(-size // _MAX_PARTS)))
        self._sha256 = sha256_of(source)

    def run(self, progress: Progress = silent) -> str:
        """Upload, and return the file's SHA-256.

        An object that holds these very bytes already is left alone.

        Raises:
            DataError: the bucket does not exist.
            StorageError: access is refused, or the service failed after all tries; what was accepted so far waits on
                the service for the next call.
        """
        if self._is_there():
            return self._sha256
        if self._parts.size <= self._parts.part_size:
            self._put()
        else:
            self._put_parts(progress)
        if not self._is_there():
            msg = f"{self._what}: the service accepted the upload but shows another object: start again"
            raise StorageError(msg)
        self._journal.clear()
        return self._sha256

    def _is_there(self) -> bool:
        """Whether the object holds the file's bytes, by its size and the SHA-256 in its metadata."""
        try:
            info = self._remote.stat(self._address)
        except DataError:
            return False
        return info.size == self._parts.size and info.sha256 == self._sha256

    def _put(self) -> None:
        data = self._parts.read(1)

        def once(client: "S3Client") -> None:
            answer = client.put_object(**self._place, Body=data, **self._new_object(), **self._checksum(data))
            self._check_receipt(answer, data)

        self._remote.access.call(once, self._what)

    def _put_parts(self, progress: Progress) -> None:
        upload, accepted = self._resumed()
        missing = [number for number in self._parts.numbers if number not in accepted]
        try:
            threads = self._remote.settings.concurrency
            sent = ordered_map(lambda number: self._put_part(upload, number), missing, threads=threads, ahead=threads)
            for number, part in zip(missing, sent, strict=True):
                accepted[number] = part
                done = min(len(accepted) * self._parts.part_size, self._parts.size)
                progress(done, self._parts.size, self._address.name)
            self._complete(upload, [accepted[number] for number in self._parts.numbers])
        except DataError:
            self._abort(upload)
            raise

    def _resumed(self) -> tuple[str, dict[int, dict[str, Any]]]:
        """The upload to continue with the parts it holds, or a new one."""
        head = {"sha256": self._sha256, "part_size": self._parts.part_size}
        for step in self._journal.read():
            if step.get("upload") and {name: step.get(name) for name in head} == head:
                try:
                    return step["upload"], self._accepted(step["upload"])
                except (DataError, StorageError):
                    break  # it was ended, or never was: begin anew
        request = {**self._place, **self._new_object()}
        if self._remote.settings.checksums:
            request["ChecksumAlgorithm"] = "SHA256"
        answer = self._remote.access.call(lambda client: client.create_multipart_upload(**request), self._what)
        self._journal.restart(upload=answer["UploadId"], **head)
        return answer["UploadId"], {}

    def _accepted(self, upload: str) -> dict[int, dict[str, Any]]:
        """Parts that the service holds, where they fit the file."""
        found: dict[int, dict[str, Any]] = {}
        marker = 0
        while True:
            request = {**self._place, "UploadId": upload, "PartNumberMarker": marker}
            page = self._remote.access.call(lambda client, r=request: client.list_parts(**r), self._what)  # type: ignore[misc]
            for part in page.get("Parts", []):
                data = self._parts.read(part["PartNumber"])
                if part["Size"] == len(data) and self._agrees(part, data):
                    found[part["PartNumber"]] = _listed(part["PartNumber"], part)
            if not page.get("IsTruncated"):
                return found
            marker = page["NextPartNumberMarker"]

    def _put_part(self, upload: str, number: int) -> dict[str, Any]:
        data = self._parts.read(number)
        place = {**self._place, "UploadId": upload, "PartNumber": number, **self._remote.secret_args}

        def once(client: "S3Client") -> dict[str, Any]:
            answer = client.upload_part(**place, Body=data, **self._checksum(data))
            self._check_receipt(answer, data)
            return _listed(number, answer)

        return self._remote.access.call(once, self._what)

    def _complete(self, upload: str, parts: list[Any]) -> None:
        def once(client: "S3Client") -> None:
            client.complete_multipart_upload(**self._place, UploadId=upload, MultipartUpload={"Parts": parts})

        try:
            self._remote.access.call(once, self._what)
        except StorageError:
            if not self._is_there():  # else the answer to an earlier try was lost on the way
                raise

    def _abort(self, upload: str) -> None:
        """Free what the service holds; best effort."""
        try:
            self._remote.access.call(
                lambda client: client.abort_multipart_upload(**self._place, UploadId=upload), self._what
            )
        except (DataError, StorageError):
            return
        self._journal.clear()

    def _new_object(self) -> dict[str, Any]:
        """What every new object is given: its hash, and the encryption that the settings ask for."""
        settings = self._remote.settings
        extra: dict[str, Any] = {"Metadata": {"sha256": self._sha256}, **self._remote.secret_args}
        if settings.sse:
            extra["ServerSideEncryption"] = settings.sse
        if settings.sse_kms_key:
            extra["SSEKMSKeyId"] = settings.sse_kms_key
        return extra

    def _checksum(self, data: bytes) -> dict[str, Any]:
        if self._remote.settings.checksums:
            return {"ChecksumSHA256": base64_sha256(data)}
        return {"ContentMD5": base64_md5(data)}

    def _agrees(self, answer: Any, data: bytes) -> bool:
        return receipt_agrees(answer, data, etag_is_md5=self._remote.settings.etag_is_md5)

    def _check_receipt(self, answer: Any, data: bytes) -> None:
        if not self._agrees(answer, data):
            msg = "the service received other bytes than were sent"
            raise TransientError(msg)


def _listed(number: int, answer: Any) -> dict[str, Any]:
    """A part as the completing request names it."""
    part = {"PartNumber": number, "ETag": answer["ETag"]}
    if answer.get("ChecksumSHA256"):
        part["ChecksumSHA256"] = answer["ChecksumSHA256"]
    return part
