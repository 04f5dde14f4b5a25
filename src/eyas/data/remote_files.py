"""The files at an address, read where they are."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, Protocol

from eyas.data.left_out import visible


class Named(Protocol):
    """A file of a listing."""

    @property
    def name(self) -> str:
        """Relative to what was listed."""


class Remote(Protocol):
    """What reads files at addresses (``eyas.storage.Store`` does)."""

    def entries(self, address: str) -> Iterable[Named]:
        """All files below an address."""

    def open(self, address: str) -> BinaryIO:
        """A seekable file."""

    def stream(self, address: str) -> Iterator[tuple[Named, bytes]]:
        """The content of all files below an address."""


@dataclass(frozen=True)
class RemoteFiles:
    """The listed files of a source."""

    address: str
    remote: Remote
    names: tuple[str, ...]
    """Sorted, relative to the address; hidden files are absent."""

    @classmethod
    def at(cls, address: str, remote: Remote) -> "RemoteFiles":
        """List what is at an address."""
        return cls(address, remote, tuple(sorted(visible(entry.name for entry in remote.entries(address)))))

    def contents(self) -> Iterator[tuple[str, bytes]]:
        """(name, bytes) of every file."""
        for entry, data in self.remote.stream(self.address):
            yield entry.name, data

    def open(self, name: str) -> BinaryIO:
        """One file, seekable."""
        return self.remote.open(_address_of(self.address, name))


def _address_of(listed: str, name: str) -> str:
    """The address of a listed file: below a prefix, beside a pattern, or the address itself."""
    last = listed.rstrip("/").rsplit("/", 1)[-1].split("?", 1)[0]
    if last == name:
        return listed
    if "*" in last:
        return f"{listed.rsplit('/', 1)[0]}/{name}" if "/" in listed else name
    return f"{listed.rstrip('/')}/{name}"
