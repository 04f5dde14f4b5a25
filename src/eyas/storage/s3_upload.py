"""Uploads to ``s3://``: in one request, or in parts that continue where a broken connection left them.

An object appears when its last byte has been accepted, never before. Every part carries a checksum that the service
compares; what the service answers is compared with what was sent; the whole file's SHA-256 stands in the metadata.
What is read to be sent must be what was hashed before: a file that changes meanwhile becomes no object.
"""

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eyas.errors import DataError, StorageError
from eyas.parallel import ordered_map
from eyas.progress import Progress, silent
from eyas.storage.addresses import Address
from eyas.storage.parts import ChangedError, Parts
from eyas.storage.retry import TransientError
from eyas.storage.s3 import S3Remote
from eyas.storage.s3_checks import base64_md5, base64_sha256, receipt_agrees
from eyas.storage.s3_client import UploadGoneError
from eyas.storage.transfer_journal import Journal, key_of

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

_LOG = logging.getLogger(__name__)


class S3Upload:
    """Writes one file to one object; calling it again continues what an earlier try left."""

    def __init__(self, remote: S3Remote, source: Path, address: Address, journal: Journal) -> None:
        self._remote, self._address, self._journal = remote, address, journal
        self._what = str(address)
        self._place: dict[str, Any] = {"Bucket": address.bucket, "Key": address.key}
        self._parts = Parts.of(source, remote.settings.part_size)
        self._sha256 = self._parts.sha256

    def run(self, progress: Progress = silent) -> str:
        """Upload, and return the file's SHA-256.

        An object that holds these very bytes already, encrypted as asked, is left alone.

        Raises:
            DataError: the bucket does not exist.
            StorageError: the file changed meanwhile; access is refused, or the service failed after all tries (what
                was accepted so far then waits on the service for the next call); the service ignored what was asked.
        """
        if self._difference() is None:
            return self._sha256
        if self._parts.size <= self._parts.part_size:
            self._put()
        else:
            self._put_parts(progress)
        difference = self._difference()
        if difference is not None:
            msg = f"{self._what}: the service accepted the upload but shows {difference}"
            raise StorageError(msg)
        self._journal.clear()
        return self._sha256

    def _difference(self) -> str | None:
        """What the place holds instead of the file: told by size, the SHA-256 in the metadata, and the encryption."""
        try:
            info = self._remote.stat(self._address)
        except DataError:
            return "no object: start again"
        if info.size != self._parts.size or info.sha256 != self._sha256:
            return "another object: start again"
        settings = self._remote.settings
        if settings.sse and info.sse != settings.sse:
            return f"encryption {info.sse or 'none'}, asked for {settings.sse} (runtime.storage.sse)"
        if not _same_key(settings.sse_kms_key, info.sse_key):
            return f"key {info.sse_key or 'none'}, asked for {settings.sse_kms_key} (runtime.storage.sse_kms_key)"
        return None

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
        except (DataError, ChangedError):
            self._abort(upload)
            raise

    def _resumed(self) -> tuple[str, dict[int, dict[str, Any]]]:
        """The upload to continue with the parts it holds, or a new one.

        Only one that was begun for the same bytes with the same settings is continued: the encryption is fixed when
        it begins.
        """
        request = {**self._place, **self._new_object()}
        if self._remote.settings.checksums:
            request["ChecksumAlgorithm"] = "SHA256"
        asked = {"part_size": self._parts.part_size, **request}
        begun = key_of(json.dumps(asked, sort_keys=True, default=repr))
        for step in self._journal.read():
            if step.get("begun") == begun:
                try:
                    return step["upload"], self._accepted(step["upload"])
                except UploadGoneError:
                    break
            elif step.get("upload"):
                self._abort(step["upload"])
        answer = self._remote.access.call(lambda client: client.create_multipart_upload(**request), self._what)
        self._journal.restart(upload=answer["UploadId"], begun=begun)
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
            if self._difference() is not None:  # else the answer to an earlier try was lost on the way
                raise

    def _abort(self, upload: str) -> None:
        """Free what the service holds; where it refuses, its own rule for unfinished uploads has to."""
        try:
            self._remote.access.call(
                lambda client: client.abort_multipart_upload(**self._place, UploadId=upload), self._what
            )
        except (DataError, StorageError) as error:
            _LOG.warning("an unfinished upload could not be ended: %s", error)
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


def _same_key(asked: str | None, found: str | None) -> bool:
    """Whether S3 answers with the key that was asked for: it gives an ARN, and does not tell what an alias names."""
    if asked is None or "alias/" in asked:
        return True
    return found is not None and found.rsplit("/", 1)[-1] == asked.rsplit("/", 1)[-1]


def _listed(number: int, answer: Any) -> dict[str, Any]:
    """A part as the completing request names it."""
    part = {"PartNumber": number, "ETag": answer["ETag"]}
    if answer.get("ChecksumSHA256"):
        part["ChecksumSHA256"] = answer["ChecksumSHA256"]
    return part
