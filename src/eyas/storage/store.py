"""One object that reads files anywhere: paths, ``https://``, ``s3://``."""

import hashlib
import shutil
from collections.abc import Callable, Container, Iterator
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TypeVar, cast

from eyas.errors import ChecksumError, DataError
from eyas.parallel import ordered_map
from eyas.progress import Progress, silent
from eyas.storage import local_files
from eyas.storage.addresses import Address, Entry, parse
from eyas.storage.ranged_file import RangedFile
from eyas.storage.settings import StorageSettings
from eyas.storage.transfer_journal import Journal, key_of

if TYPE_CHECKING:
    from eyas.storage.http import HttpRemote
    from eyas.storage.s3 import S3Remote


Item = TypeVar("Item")
Result = TypeVar("Result")


class Store:
    """Reads files at addresses.

    Args:
        settings: how remotes are reached; completed by the environment.
        state: where downloads wait, finished or not, until the remote says that they changed. May be deleted at any
            time; costs another download.
        progress: told of bytes or files as they come.

    Every method raises ``ParameterError`` for an address it cannot read, ``DataError`` for one that holds nothing, and
    ``StorageError`` where a remote refuses or fails after all tries. No message shows a secret.
    """

    def __init__(
        self,
        settings: StorageSettings | None = None,
        state: Path | str = ".eyas/downloads",
        progress: Progress = silent,
    ) -> None:
        self.settings = StorageSettings.from_environment(settings)
        self._state = Path(state)
        self._progress = progress

    def download(self, address: str, target: Path | str, sha256: str | None = None) -> str:
        """Bring one file to ``target``, which appears complete or not at all; returns its SHA-256.

        Raises:
            ChecksumError: the bytes differ from ``sha256`` (or from its first digits).
        """
        parsed = parse(address)
        if parsed.scheme == "file":
            source = local_files.one_file(parsed.key)
            digest = local_files.check(source, str(parsed), sha256)
        else:
            source, digest = self._verified(parsed, sha256)
        with local_files.appearing(Path(target)) as partial:
            shutil.copyfile(source, partial)
        return digest

    def bring(self, address: str, folder: Path | str, names: Container[str] | None = None) -> None:
        """Put the file at an address, or all files below a folder or prefix, into ``folder``.

        With ``names``, as :meth:`entries` gives them, those alone.
        """
        parsed, folder = parse(address), Path(folder)
        if parsed.scheme == "file":
            local_files.copy_into(parsed.key, folder, names)
        elif self._is_prefix(parsed):
            self._bring_tree(parsed, folder, names)
        else:
            local_files.link(self._cached(parsed), folder / (parsed.name or "file"))

    def entries(self, address: str) -> Iterator[Entry]:
        """Name, size and version of all files below a folder or prefix, or of the one file."""
        parsed = parse(address)
        if parsed.scheme == "file":
            yield from local_files.entries(parsed.key)
        elif self._is_prefix(parsed):
            yield from self._s3.entries(parsed)
        else:
            size, version = self._remote(parsed).stat(parsed)
            yield Entry(parsed.name, size, version or "")

    def fingerprint(self, address: str) -> str:
        """A hash of names, sizes and versions: changes when the files do, without reading them."""
        digest = hashlib.sha256()
        for entry in sorted(self.entries(address)):
            digest.update(f"{entry.name}\0{entry.size}\0{entry.version}\n".encode())
        return digest.hexdigest()

    def open(self, address: str) -> BinaryIO:
        """A seekable file that fetches what is read from it, and nothing more than about a mebibyte ahead.

        Every read has its full length and comes from the version that was opened, or raises. The content of a range
        is not compared with anything, beyond what the connection does: remotes keep checksums of whole files.
        """
        parsed = parse(address)
        if parsed.scheme == "file":
            return local_files.one_file(parsed.key).open("rb")
        remote = self._remote(parsed)
        size, version = remote.stat(parsed)
        file = RangedFile(lambda start, stop: remote.read_range(parsed, start, stop, version), size)
        return cast("BinaryIO", file)

    def stream(self, address: str) -> Iterator[tuple[Entry, bytes]]:
        """The content of every file below a folder or prefix, a few files ahead, none of them stored.

        Each file is whole and of the version that was listed. From ``s3://`` it is also compared with the checksum
        that the object has (see ``s3_integrity``; none where a key encrypts what others uploaded), and read once more
        where it differs. Web servers give no checksum.

        Raises:
            ChecksumError: the bytes differ twice.
        """
        parsed = parse(address)
        in_folder = Path(parsed.key).is_dir() if parsed.scheme == "file" else self._is_prefix(parsed)

        def read(entry: Entry) -> tuple[Entry, bytes]:
            if parsed.scheme == "file":
                path = Path(parsed.key)
                return entry, (path / entry.name if in_folder else path.parent / entry.name).read_bytes()
            return entry, self._remote(parsed).read(parsed.child(entry.name) if in_folder else parsed, entry)

        yield from self._each(read, list(self.entries(address)))

    @cached_property
    def _s3(self) -> "S3Remote":
        from eyas.storage.s3 import S3Remote

        return S3Remote(self.settings)

    @cached_property
    def _http(self) -> "HttpRemote":
        from eyas.storage.http import HttpRemote

        return HttpRemote(self.settings)

    def _remote(self, address: Address) -> "S3Remote | HttpRemote":
        return self._s3 if address.scheme == "s3" else self._http

    def _is_prefix(self, address: Address) -> bool:
        return address.scheme == "s3" and not self._s3.is_object(address)

    def _folder(self, address: Address) -> Path:
        """State of one address."""
        return self._state / key_of(f"{self.settings.endpoint_url} {address.text}")

    def _verified(self, address: Address, sha256: str | None) -> tuple[Path, str]:
        """The local copy of one remote file and its SHA-256; once more from the start where they do not fit."""

        def bring() -> tuple[Path, str]:
            source = self._cached(address)
            try:
                return source, local_files.check(source, str(address), sha256)
            except ChecksumError:
                shutil.rmtree(self._folder(address))  # damaged on the way, or on this disk
                raise

        with suppress(ChecksumError):
            return bring()
        return bring()

    def _cached(self, address: Address) -> Path:
        """The local copy of one remote file, brought up to date."""
        folder = self._folder(address)
        target, journal = folder / "data" / (address.name or "file"), Journal(folder / "download.jsonl")
        self._remote(address).download(address, target, journal, self._progress)
        return target

    def _bring_tree(self, address: Address, folder: Path, names: Container[str] | None) -> None:
        """All objects below a prefix; those that are there from an earlier try are not brought again."""
        state = self._folder(address)
        journal = Journal(state / "tree.jsonl")
        versions = {step["name"]: step["version"] for step in journal.read()}
        entries = [entry for entry in self._s3.entries(address) if names is None or entry.name in names]
        if not entries:
            msg = f"{address} holds no object: check bucket and prefix"
            raise DataError(msg)

        def one(entry: Entry) -> None:
            target = state / "data" / local_files.safe_name(entry.name, address)
            whole = target.exists() and target.stat().st_size == entry.size
            if not (whole and versions.get(entry.name) == entry.version):
                self._bring_entry(address.child(entry.name), target, entry, state)
                journal.append(name=entry.name, version=entry.version)
            local_files.link(target, folder / entry.name)

        for done, _ in enumerate(self._each(one, entries), 1):
            if done % 100 == 0 or done == len(entries):
                self._progress(done, len(entries), "files")

    def _bring_entry(self, address: Address, target: Path, entry: Entry, state: Path) -> None:
        """One object of a tree; a small one with a single request."""
        if entry.size <= self.settings.part_size:
            data = self._s3.read(address, entry)
            with local_files.appearing(target) as partial:
                partial.write_bytes(data)
        else:
            self._s3.download(address, target, Journal(state / f"{key_of(entry.name)}.jsonl"), self._progress)

    def _each(self, work: Callable[[Item], Result], items: list[Item]) -> Iterator[Result]:
        threads = self.settings.concurrency
        return ordered_map(work, items, threads=threads, ahead=2 * threads)
