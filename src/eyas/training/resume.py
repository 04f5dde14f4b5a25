"""Where a killed training continues: one file per run, replaced as a whole after each epoch."""

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

_log = logging.getLogger(__name__)


def derive_seed(*parts: int | str) -> int:
    """A seed of 63 bits from all ``parts``: equal for equal parts, unrelated otherwise."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def training_code() -> list[Path]:
    """The source files that decide how a training goes: loop, recipes, augmentation."""
    return sorted(Path(__file__).parent.rglob("*.py"))


def resume_key(params: Mapping[str, Any], files: Iterable[Path]) -> str:
    """A hash of parameters (JSON values), of the bytes of ``files``, and of the code that trains.

    Only a training of the same key continues from an epoch checkpoint.
    """
    key = hashlib.sha256(json.dumps([params, torch.__version__], sort_keys=True).encode())
    for path in [*training_code(), *files]:
        with path.open("rb") as file:
            key.update(hashlib.file_digest(file, "sha256").digest())
    return key.hexdigest()[:16]


class EpochStore:
    """The state after the last whole epoch, in ``folder``; holds tensors and plain values alone."""

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        self.path = self.folder / "epoch.pt"

    def save(self, state: Mapping[str, Any]) -> None:
        """Replace the file: a reader sees the old or the new one, never a part."""
        self.folder.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_suffix(f".{os.getpid()}.tmp")
        with temporary.open("wb") as file:
            torch.save(dict(state), file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self.path)

    def load(self, device: torch.device | str) -> dict[str, Any] | None:
        """What was saved last, or None; a file that cannot be read is put aside with a warning."""
        if not self.path.is_file():
            return None
        try:
            state: dict[str, Any] = torch.load(self.path, map_location=device, weights_only=True)
        except Exception as error:  # whatever it is, starting again is right
            _log.warning("epoch checkpoint %s cannot be read (%s): training starts again", self.path, error)
            self.path.replace(self.path.with_suffix(".unreadable"))
            return None
        return state

    def clear(self) -> None:
        """Remove the folder, once the stage has written its outputs."""
        shutil.rmtree(self.folder, ignore_errors=True)
