"""What a format makes of a folder."""

from pathlib import Path

from eyas.data.formats import Format, Listing, choose_format
from eyas.data.manifest import list_files


def listed(root: Path, kind: str = "auto", **options: object) -> tuple[Format, Listing]:
    files = list(list_files(root))
    choice = "auto" if kind == "auto" else Format.parse({"kind": kind, **options})
    task = "classification" if choice == "auto" else choice.task
    member = choose_format(choice, files, root.name, task)
    return member.resolved(root, files), member.list_images(root, files)


def read_all(root: Path) -> list[object]:
    member, listing = listed(root)
    return list(member.read(root / listing.files[0], listing.rows.tolist()))
