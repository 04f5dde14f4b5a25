"""Which files of a source are no data at all, and how what is left out is counted."""

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath

HIDDEN = "hidden or system"
# Folders that systems and network stores put beside the user's own, in lower case.
_SYSTEM = frozenset(
    {
        "__macosx", "__pycache__", "@eadir", "@tmp", "#recycle", "#snapshot", "$recycle.bin", "recycler",
        "system volume information", "lost+found",
    }
)  # fmt: skip


def is_hidden(name: str) -> bool:
    """Whether a file, or a folder above it, belongs to a system or an editor (``.git``, ``@eaDir``, ``._1.png``)."""
    return any(part.startswith(".") or part.casefold() in _SYSTEM for part in PurePosixPath(name).parts)


def visible(names: Iterable[str]) -> list[str]:
    """The names that are not hidden."""
    return [name for name in names if not is_hidden(name)]


def by_suffix(names: Iterable[str]) -> dict[str, int]:
    """How many files end in what."""
    return dict(Counter(PurePosixPath(name).suffix.lower() or "no suffix" for name in names))


def left_out_in_words(counts: Mapping[str, int]) -> str:
    """How many files are left out, and of what kinds."""
    count = sum(counts.values())
    return f"{count:,} {'file is' if count == 1 else 'files are'} left out: {in_words(counts)}"


def in_words(counts: Mapping[str, int]) -> str:
    """Counts by kind, in words, the largest first."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{count:,} {kind}" for kind, count in ordered)
