"""Names of profiles, which are those of their workspaces' folders: short, the same everywhere, safe on any file system.

``cifar10_resnet20``, ``params+score.seed=3``; where that would be long, or would need other letters than a name may
have, as much as can be read of it, the budget first, and a hash of all: ``mine+sample.budget.macs=0.5-5d41402a``.
"""

import hashlib
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from unicodedata import normalize

from eyas.errors import ParameterError

DEFAULT = "default"
"""The checkout's own profile; no workspace has this name."""
OPERATING = ("runtime.", "promote.", "adapt.", "schedule.", "notify.", "register.alias=")
"""Overrides that begin so say how a profile is worked on, judged, told of, named: no stage reads them, none is made."""
MAX_LENGTH = 64
MAX_TITLE = 48
_NAME = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._+=-]{{0,{MAX_LENGTH - 1}}}")
_STEM = re.compile(r"[a-z0-9][a-z0-9._-]*")
_OVERRIDE = re.compile(r"[a-z0-9_.]+=[a-z0-9._-]+")
_BUDGET = "sample.budget"
_HASH_DIGITS = 8
_SHORT_STEM = 16
"""So many letters of a file's name stay where overrides need the room."""


def profile_overrides(overrides: Sequence[str]) -> list[str]:
    """The overrides that make another profile."""
    return [item for item in overrides if not item.startswith(OPERATING)]


def profile_of(root: Path, params_file: Path, overrides: Sequence[str], name: str | None = None) -> str:
    """What a profile is called: ``name``, else made of the file and the overrides; :data:`DEFAULT` is the checkout's.

    Args:
        root: the checkout.
        params_file: whose parameters they are.
        overrides: ``section.field=value`` each.
        name: the one that the user chose.
    """
    overrides = profile_overrides(overrides)
    own = os.path.realpath(params_file) == os.path.realpath(root / "params.yaml")
    return name or (DEFAULT if own and not overrides else profile_name(params_file, overrides))


def profile_name(params_file: Path, overrides: Sequence[str]) -> str:
    """A name that tells parameter files and overrides apart, whatever letters they have; always one that is allowed.

    Capitals count as other letters: two names must not be one folder where the file system does not tell them apart.
    """
    stem, *items = (normalize("NFC", part) for part in (params_file.stem, *sorted(overrides, key=_field)))
    plain = "+".join([stem, *items])
    fields = {_field(item) for item in items}
    readable = _STEM.fullmatch(stem) and all(map(_OVERRIDE.fullmatch, items)) and len(fields) == len(items)
    if readable and len(plain) <= MAX_LENGTH and plain != DEFAULT:
        return plain
    start = _letters(stem)
    room = MAX_LENGTH - _HASH_DIGITS - 1
    shown = _fitting(items, room - min(len(start), _SHORT_STEM))
    return f"{start[: room - len(shown)]}{shown}-{_digest(stem, items)}"


def _fitting(items: Sequence[str], room: int) -> str:
    """Overrides that can be read and fit, the budget first; of one field the last, which counts."""
    last = {item.partition("=")[0]: item for item in items}
    shown = ""
    for item in sorted(filter(_OVERRIDE.fullmatch, last.values()), key=_budget_first):
        if len(shown) + 1 + len(item) <= room:
            shown += f"+{item}"
    return shown


def _letters(stem: str) -> str:
    """What a name may have of a file's, and never nothing."""
    return re.sub(r"[^a-z0-9._-]+", "-", stem.lower()).strip("._-") or "profile"


def _digest(stem: str, items: Sequence[str]) -> str:
    return hashlib.sha256(json.dumps([stem, *items]).encode()).hexdigest()[:_HASH_DIGITS]


def profile_title(name: str, arguments: Sequence[str], *, short: bool = True) -> str:
    """The name of a profile for people: no hash, but the file and what is set; ``--name`` is said as it is.

    Args:
        name: of the workspace.
        arguments: what the profile is opened by: ``--params``, the file, ``--set`` with each override, ``--name``.
        short: fields by their last names, at a length that fits a column.
    """
    if not arguments or "--name" in arguments:
        return name
    stem, items = Path(arguments[1]).stem, sorted(arguments[3::2], key=_field)
    if not short:
        return "+".join([stem, *items])
    items.sort(key=_budget_first)
    title = ", ".join([stem, *(item.partition("=")[0].rpartition(".")[2] + item[item.index("=") :] for item in items)])
    return title if len(title) <= MAX_TITLE else f"{title[: MAX_TITLE - 1]}…"


def former_folder(root: Path, params_file: Path, overrides: Sequence[str]) -> Path | None:
    """The workspace that a profile had before names were short, or said their budget, where that is there.

    It is used no more: two profiles could have the same.
    """
    now = profile_name(params_file, overrides)
    whole = re.sub(r"[^A-Za-z0-9._+=-]+", "-", "+".join([params_file.stem, *sorted(overrides)]))
    stem, *items = (normalize("NFC", part) for part in (params_file.stem, *sorted(overrides, key=_field)))
    hashed = f"{_letters(stem)[: MAX_LENGTH - _HASH_DIGITS - 1]}-{_digest(stem, items)}"
    folders = (root / "workspaces" / name for name in (hashed, whole) if name != now and not name.startswith("."))
    return next(filter(os.path.isdir, folders), None)


def check_name(name: str) -> None:
    """Refuse what is no name of a workspace.

    Raises:
        ParameterError: says what is allowed.
    """
    if not _NAME.fullmatch(name):
        msg = (
            f"--name {name!r}: letters, digits and . _ + = - only, at most {MAX_LENGTH} of them, beginning with a "
            "letter or digit"
        )
        raise ParameterError(msg)
    if name.lower() == DEFAULT:
        msg = f"--name {name}: {DEFAULT!r} is the checkout's own profile, which runs in the checkout: choose another"
        raise ParameterError(msg)


def workspace_folder(root: Path, name: str) -> Path:
    """The folder of that name under ``workspaces/``, made sure to be one of its own inside the checkout.

    Raises:
        ParameterError: a link leads elsewhere, no folder can be there, or only capitals tell it from another.
    """
    folder = root / "workspaces" / name
    real = os.path.realpath(folder)
    if real != os.path.join(os.path.realpath(root), "workspaces", name):
        msg = (
            f"{folder} is, or lies behind, a link to {real}: a workspace is a folder of its own in the checkout; "
            "remove the link, or give another --name"
        )
        raise ParameterError(msg)
    blocked = next((place for place in (folder.parent, folder) if os.path.lexists(place) and not place.is_dir()), None)
    if blocked:
        msg = f"{blocked} is no folder: remove it, or give another --name"
        raise ParameterError(msg)
    names = os.listdir(folder.parent) if folder.parent.exists() else []
    twin = next((other for other in names if other != name and other.lower() == name.lower()), None)
    if twin:
        msg = f"the workspace {name!r} differs from {twin!r}, which is there, only in capitals: give another --name"
        raise ParameterError(msg)
    return folder


def _budget_first(override: str) -> bool:
    """By which overrides are sorted for people."""
    return not override.startswith(_BUDGET)


def _field(override: str) -> str:
    """``section.field``: overrides of one field keep their order, for the last one counts."""
    return ".".join(override.partition("=")[0].split(".")[:2])
