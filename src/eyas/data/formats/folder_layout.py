"""What the folders above an image mean: its class, and the part of the data set (``train``, ``test``) it belongs to."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from eyas.data.part_names import Use, read_part_name
from eyas.errors import DataError

_WAY_OUT = (
    "rename them (train, val, test), give the two to use as `train` and `test`, or say with `class_level` how many "
    "folders lie above the class folders"
)


@dataclass(frozen=True)
class FolderLayout:
    """How the folders of a data set's images are read."""

    class_level: int
    """How many folders lie above the class folders."""
    uses: tuple[Use, ...]
    """By image."""


def read_layout(images: Sequence[str], class_level: int | None = None) -> FolderLayout:
    """Find the level of the class folders and that of the parts, by the names of all images.

    Classes stand where the names first differ, parts aside: a prefix that all images share is skipped. Parts are told
    by names alone, which must all be understood, and may stand above the classes or below them.

    Raises:
        DataError: an image lies outside of all class folders, or folders look like parts but are not understood.
    """
    folders = [tuple(name.split("/")[:-1]) for name in images]
    depth = min(map(len, folders), default=0)
    names = [{folder[level] for folder in folders} for level in range(depth)]
    parts = [level for level in range(depth) if level != class_level and _are_parts(names[level])]
    if class_level is None:
        class_level = _find_class_level(images, folders, names, parts)
    if not images or depth <= class_level:
        stray = next((name for name, folder in zip(images, folders, strict=True) if len(folder) <= class_level), None)
        fault = f"{stray} lies beside the class folders" if stray else "there is no image file"
        msg = f"a folder per class was expected (class/image.jpg): {fault}; no label is read with `task` unlabelled"
        raise DataError(msg)
    part_level = parts[0] if parts else 0
    uses: dict[str, Use] = {name: part.use for name in names[part_level] if parts and (part := read_part_name(name))}
    return FolderLayout(class_level, tuple(uses.get(folder[part_level], "train") for folder in folders))


def _are_parts(names: Collection[str]) -> bool:
    """Whether all names are those of parts, of at least two uses, and differ in nothing else."""
    parts = [part for name in names if (part := read_part_name(name)) is not None]
    return (
        len(parts) == len(names) and len({part.use for part in parts}) > 1 and len({part.rest for part in parts}) == 1
    )


def _find_class_level(
    images: Sequence[str], folders: Sequence[tuple[str, ...]], names: Sequence[set[str]], parts: Sequence[int]
) -> int:
    """Where the names first differ, else the last level.

    Raises:
        DataError: images lie in the folders of parts without a class, or folders there look like parts.
    """
    levels = [level for level in range(len(names)) if level not in parts]
    if parts and (not levels or (parts[-1] == len(names) - 1 and all(len(names[level]) == 1 for level in levels))):
        shallow = min(range(len(images)), key=lambda at: (len(folders[at]), images[at]))
        msg = (
            f"{images[shallow]} lies in no class folder: {', '.join(sorted(names[parts[-1]]))} are names of parts of a "
            f"data set. Unlabelled images cannot be used beside labelled ones: leave them out, or read no label at all "
            f"(`task` unlabelled); or {_WAY_OUT}"
        )
        raise DataError(msg)
    class_level = next((level for level in levels if len(names[level]) > 1), max(levels, default=0))
    for level in range(min(class_level + 1, len(names))):
        if level not in parts and _look_like_parts(names[level], _folders_below(folders, level)):
            shown = ", ".join(sorted(names[level])[:8])
            msg = f"the folders {shown} look like parts of a data set, but not all are understood: {_WAY_OUT}"
            raise DataError(msg)
    return class_level


def _look_like_parts(names: Collection[str], below: Sequence[set[str]]) -> bool:
    """Whether some names are those of parts, so that taking all for classes might be wrong."""
    parts = [part for name in names if (part := read_part_name(name))]
    plain = {part.use for part in parts if not part.rest}
    same_below = len(below) > 1 and len(below[0]) > 1 and all(inner == below[0] for inner in below)
    mostly = len({part.use for part in parts}) > 1 and 2 * len(parts) >= len(names)
    return len(plain) > 1 or mostly or bool(plain and same_below)


def _folders_below(folders: Sequence[tuple[str, ...]], level: int) -> list[set[str]]:
    """The folders inside each folder of a level."""
    inner: dict[tuple[str, ...], set[str]] = {}
    for folder in folders:
        inner.setdefault(folder[: level + 1], set()).update(folder[level + 1 : level + 2])
    return list(inner.values())
