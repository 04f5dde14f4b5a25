"""Whether the files that stages exchange are still what their producers wrote, as ``dvc.lock`` has it.

DVC brings back an output that was altered before its stage was asked for; what happens between two stages is seen
here: before a stage runs, after it has run, before anything is registered, and before a version is judged.
"""

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from eyas.errors import ChecksumError

Entry = Mapping[str, Any]
"""A path in ``dvc.lock`` with its md5 and size; of a folder also the number of its files."""


def require_as_made(folder: Path, *, before: str | None = None) -> None:
    """The files on disk are those of ``dvc.lock``; of a folder, which may be large, number and size.

    Args:
        folder: of the workspace.
        before: look only at what this stage reads; without it, at what every stage wrote and read.

    Raises:
        ChecksumError: one is not, or a stage has read something else than another one wrote.
    """
    stages = _stages(folder)
    wanted = _reads(folder, before) if before else None
    for stage, lock in stages.items():
        for entry in _entries(lock, "outs"):
            if wanted is None or entry["path"] in wanted:
                _require_file(folder / entry["path"], entry, stage)
    for stage in stages if before is None else ():
        require_same_reading(folder, stage)


def require_as_written(folder: Path, stage: str) -> None:
    """What one stage wrote is on disk as ``dvc.lock`` has it; of a folder, number and size.

    Raises:
        ChecksumError: a file was altered since.
    """
    for entry in _entries(_stages(folder).get(stage, {}), "outs"):
        _require_file(folder / entry["path"], entry, stage)


def require_same_reading(folder: Path, stage: str) -> None:
    """What a stage has read is what other stages wrote, by the hashes that DVC took of both.

    Raises:
        ChecksumError: a file was altered in between.
    """
    stages = _stages(folder)
    written = {entry["path"]: (name, entry["md5"]) for name, lock in stages.items() for entry in _entries(lock, "outs")}
    for entry in _entries(stages.get(stage, {}), "deps"):
        producer, md5 = written.get(entry["path"], ("", entry["md5"]))
        if md5 != entry["md5"]:
            msg = (
                f"{entry['path']} was altered between the stages: {producer} wrote md5 {md5}, {stage} read "
                f"{entry['md5']}; what {stage} made of it is not used: run again, DVC brings back what {producer} wrote"
            )
            raise ChecksumError(msg)


def _require_file(path: Path, entry: Entry, stage: str) -> None:
    size = sum(inner.stat().st_size for inner in path.rglob("*") if inner.is_file()) if path.is_dir() else None
    if size is None and path.is_file():
        with path.open("rb") as file:
            here, there = hashlib.file_digest(file, "md5").hexdigest(), entry["md5"]  # DVC's own choice
    else:
        here, there = "nothing" if size is None else f"{size} bytes", f"{entry.get('size')} bytes"
    if here != there:
        msg = (
            f"{entry['path']} is not what {stage} wrote: dvc.lock has {there}, the disk {here}; it was altered since: "
            f"run again, DVC brings back what {stage} wrote; delete it first if the same is said then"
        )
        raise ChecksumError(msg)


def _reads(folder: Path, stage: str) -> set[str]:
    """Paths that a stage of ``dvc.yaml`` depends on."""
    return set(yaml.safe_load((folder / "dvc.yaml").read_text())["stages"][stage].get("deps", ()))


def _entries(lock: Entry, part: str) -> Iterator[Entry]:
    yield from (entry for entry in lock.get(part) or () if "md5" in entry)


def _stages(folder: Path) -> dict[str, Entry]:
    path = folder / "dvc.lock"
    stages: dict[str, Entry] = (yaml.safe_load(path.read_text()) if path.exists() else {}).get("stages", {})
    return stages
