"""Where messages lie: a folder that sites and coordinator share, by whatever means files travel between them."""

from pathlib import Path
from typing import Protocol

from eyas.adaptation.sites.site_message import COORDINATOR, MAX_BYTES, Kind, SiteMessage
from eyas.errors import DataError
from eyas.storage.local_files import appearing


class Exchange(Protocol):
    """What a site needs of one."""

    def put(self, content: bytes) -> None:
        """Leave a message for the coordinator; a site's newer one takes the place of the older."""

    def merged(self, network: str) -> bytes | None:
        """The merged statistics of the network of that digest; None while there are none."""


class FolderExchange:
    """An exchange that is a folder; one file per kind of message, network and site."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def put(self, content: bytes) -> None:
        """Leave a message; its file is whole or absent."""
        header = SiteMessage.decode(content).header
        with appearing(self._path(header.kind, header.network, header.site)) as partial:
            partial.write_bytes(content)

    def merged(self, network: str) -> bytes | None:
        """The merged statistics, if there are some."""
        path = self._path("merged", network, COORDINATOR)
        return _read(path) if path.is_file() else None

    def messages(self, kind: Kind, network: str) -> dict[str, Path]:
        """Files of all sites about a network, by the site that the file's name tells."""
        before, _, after = self._path(kind, network, "*").name.partition("*")
        paths = sorted(self.folder.glob(f"{before}*{after}"))
        return {path.name.removeprefix(before).removesuffix(after): path for path in paths}

    def read(self, path: Path) -> bytes:
        """A message.

        Raises:
            DataError: it is larger than one can be.
        """
        return _read(path)

    def _path(self, kind: Kind, network: str, site: str) -> Path:
        return self.folder / f"{network[:16]}.{kind}.{site}.safetensors"


def _read(path: Path) -> bytes:
    """A file, if it is no larger than a message can be.

    Raises:
        DataError: it is; it is not read.
    """
    if (size := path.stat().st_size) > MAX_BYTES:
        msg = f"{path} has {size:,} bytes: a message has at most {MAX_BYTES:,}"
        raise DataError(msg)
    return path.read_bytes()
