"""One object that brings files from anywhere."""

from dataclasses import dataclass
from pathlib import Path

from eyas.errors import StorageError
from eyas.progress import Progress, silent
from eyas.storage import local
from eyas.storage.addresses import parse


@dataclass(frozen=True)
class Store:
    """Brings files and folders from paths, ``https://`` and ``s3://``."""

    state: Path = Path(".eyas/downloads")
    """Where unfinished downloads wait to be resumed."""
    progress: Progress = silent

    def bring(self, address: str, folder: Path) -> None:
        """Put the file at an address, or all files below a prefix, into ``folder``."""
        parsed = parse(address)
        if parsed.scheme == "file":
            local.copy_into(parsed.key, folder)
            return
        msg = f"{parsed}: not yet"
        raise StorageError(msg)
