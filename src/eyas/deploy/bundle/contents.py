"""What a bundle holds, held against its ``manifest.json``; and its tar. Equal files give equal bytes of both."""

import gzip
import json
import tarfile
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from eyas.errors import ChecksumError, DataError
from eyas.storage.digests import file_sha256, json_sha256
from eyas.storage.json_text import parse_json
from eyas.storage.local_files import appearing, walk

MODULES = ("classifier", "image_answers", "pixels")
MASKING = ("mask_pictures",)
"""Programs of a bundle that answers each pixel."""
ADAPTING = {
    "adapt": "device_adaptation",
    "adapted_classifier": "adapted_classifier",
    "class_permutations": "class_permutations",
    "device_images": "device_images",
    "label_free_rule": "label_free_rule",
}
"""Programs of a bundle whose statistics may be replaced, and what they are called here."""
BUNDLE, TAR, LIST = "bundle", "bundle.tar.gz", "manifest.json"
LEFT = (
    *("masks/*.png", "statistics.safetensors"),
    *(f"__pycache__/{name}.*.pyc" for name in (*MODULES, *MASKING, *ADAPTING)),
)
"""What ``predict.py`` and ``adapt.py`` leave beside themselves when they run there, and Python."""


def write_list(folder: Path) -> Path:
    """Write ``manifest.json``: sha256 and bytes of every other file, and the digest of that list itself."""
    files = {name: _facts(path) for name, path in walk(folder) if name != LIST}
    path = folder / LIST
    path.write_bytes(_text({"version": 1, "files": files}))
    return path


def check_contents(folder: Path) -> str:
    """Hold every file against ``manifest.json``; returns the sha256 of that.

    Raises:
        DataError: it is no bundle.
        ChecksumError: files are missing, changed or not listed; names all of them.
    """
    path = folder / LIST
    if not path.is_file():
        msg = f"{folder} is no bundle: it holds no {LIST}"
        raise DataError(msg)
    listed = _read_list(path)
    present = {name: file for name, file in walk(folder) if name != LIST and not _left(name)}
    faults = [f"{name} is missing" for name in sorted(listed.keys() - present)]
    faults += [f"{name} is not listed" for name in sorted(present.keys() - listed)]
    faults += [
        f"{name} was changed" for name in sorted(listed.keys() & present) if _facts(present[name]) != listed[name]
    ]
    if faults:
        msg = f"{folder} is not as it was made: {'; '.join(faults)}; fetch it again"
        raise ChecksumError(msg)
    return file_sha256(path)


def pack(folder: Path, path: Path) -> Path:
    """Write a folder as ``.tar.gz`` below the name ``bundle/``, without times, owners or modes of this machine."""
    with (
        appearing(path) as partial,
        partial.open("wb") as raw,
        gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        for name, file in walk(folder):
            member = tarfile.TarInfo(f"{BUNDLE}/{name}")
            member.size = file.stat().st_size
            with file.open("rb") as content:
                tar.addfile(member, content)
    return path


def _left(name: str) -> bool:
    return any(fnmatch(name, pattern) for pattern in LEFT)


def _facts(path: Path) -> dict[str, Any]:
    return {"sha256": file_sha256(path), "bytes": path.stat().st_size}


def _text(content: dict[str, Any]) -> bytes:
    """The one form that ``manifest.json`` has."""
    return (json.dumps({**content, "digest": json_sha256(content)}, indent=1, sort_keys=True) + "\n").encode()


def _read_list(path: Path) -> dict[str, Any]:
    """The files that ``manifest.json`` lists, if it is as it was written."""
    try:
        content = parse_json(path.read_bytes())
        written = _text({name: value for name, value in content.items() if name != "digest"})
        files: dict[str, Any] = dict(content["files"])
    except (ValueError, AttributeError, KeyError, TypeError):
        written = None
    if written != path.read_bytes():
        msg = f"{path} was changed: fetch the bundle again"
        raise ChecksumError(msg)
    return files
