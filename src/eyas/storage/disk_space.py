"""A full disk in one line, whoever met it: which folder, and what is free there."""

import errno
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
SIGNS = re.compile(
    r"no space left on device|database or disk is full|disk quota exceeded|file too large|no usable temporary directory"
    r"|unexpected pos \d+ vs \d+",
    re.IGNORECASE,
)
"""What DVC, SQLite, safetensors, pyarrow, torch and ``tempfile`` say of it in errors of their own kinds."""
NAMED = re.compile(r"(?:no space left on device|disk quota exceeded|file too large): '([^']+)'", re.IGNORECASE)


def describe_full_disk(error: BaseException) -> str | None:
    """What to tell of an error that a full disk (a quota, a limit on files) is behind; None for any other."""
    for cause in _causes(error):
        sign = SIGNS.search(str(cause))
        if not sign and not (isinstance(cause, OSError) and cause.errno in FULL):
            continue
        named = NAMED.search(str(cause))
        filename = named[1] if named else getattr(cause, "filename", None)
        folder = _existing(Path(os.fsdecode(filename))) if filename else fullest(places())
        free = shutil.disk_usage(folder).free
        reason = (sign[0] if sign else str(getattr(cause, "strerror", cause))).lower()
        return f"{folder}: {reason}, {free / 1e6:.1f} MB are free there: make room and repeat this"
    return None


def places() -> list[Path]:
    """Where a run writes: its folder and those in it, DVC's cache, what Prefect keeps, temporary files."""
    here = Path.cwd()
    caches = [folder / ".dvc" / "cache" for folder in (here, *here.parents)]
    others = [os.environ[name] for name in ("PREFECT_HOME", "DVC_SITE_CACHE_DIR", "TMPDIR") if os.environ.get(name)]
    folders = [here, *here.glob("*"), *here.glob("artifacts/*"), *caches, *map(Path, others), Path("/tmp")]  # noqa: S108
    return [folder for folder in folders if folder.is_dir()]


def fullest(folders: list[Path]) -> Path:
    """The folder with the least room."""
    return min(folders, key=lambda folder: shutil.disk_usage(folder).free)


def _existing(path: Path) -> Path:
    """The folder of a path, or the nearest one above it that is there."""
    return next(folder for folder in (path, *path.absolute().parents) if folder.is_dir())


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error and those it was made of."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
