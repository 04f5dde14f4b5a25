"""Images of the field, window by window: whether they drifted from what a version, or the last run, knows."""

import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn

from eyas.adaptation.detectors import Detector
from eyas.adaptation.drift import DriftReference, DriftReport, detect_drift
from eyas.adaptation.fewest_images import FEWEST_IMAGES, FEWEST_IN_WINDOW
from eyas.data import open_dataset
from eyas.data.date_range import DateRange
from eyas.data.decoding import Preprocessing
from eyas.deploy.exported_model import ExportedModel
from eyas.errors import BadInputError, DataError
from eyas.operations.notify import Notice
from eyas.storage.digests import file_sha256
from tasks.dated_images import files_within
from tasks.field_copies import first_copies
from tasks.field_look import refuse_few, require_readable
from tasks.notify import tell
from tasks.predict import LAST_RUN, asked_version, exported_files, list_images, require_version_name
from tasks.registered_network import load_as_named
from tasks.tracking_store import open_store
from tasks.version_profile import in_profile_of
from tasks.workspace import Workspace

log = logging.getLogger(__name__)
REFERENCE = "drift_reference.safetensors"
"""Beside a version's files, where it has one of its own."""
ALWAYS = DateRange()
REFERENCE_IMAGES = 4096
"""Of the score split, at most."""
SETTLED_SECONDS = 2.0
"""A file that was written later may not be whole yet."""


@dataclass(frozen=True)
class WatchedWindow:
    """What became of one window of images."""

    number: int
    files: tuple[Path, ...]
    report: DriftReport
    unreadable: dict[Path, str] = field(default_factory=dict)
    folder: Path = Path()
    """That is watched: names of files are told as they are below it."""
    first: int = 1
    """Number of the window's first image among all that were seen, from 1."""

    def line(self) -> str:
        """All that a person needs to know: what was seen, and the advice."""
        return f"{self.seen}; {self.report.advice}" if self.report.drift else self.seen

    @property
    def seen(self) -> str:
        """Which images these are, and whether they drifted."""
        ends = " to ".join(name_below(self.folder, file) for file in (self.files[0], self.files[-1]))
        last = self.first + len(self.files) + len(self.unreadable) - 1
        return f"window {self.number}, images {self.first} to {last} ({ends}): {self.report.sentence}"


def name_below(folder: Path, file: Path) -> str:
    """As a person finds it again: the path below the folder that is watched."""
    return file.relative_to(folder).as_posix() if file.is_relative_to(folder) else str(file)


@dataclass(frozen=True)
class Watcher:
    """A network, what its images are compared with, and how they are read."""

    name: str
    model: nn.Module
    exported: ExportedModel
    reference: DriftReference
    false_alarm_rate: float
    detector: Detector
    folder: Path = Path()
    """Of the images."""

    def look(self, number: int, files: Sequence[Path], first: int = 1) -> WatchedWindow:
        """Compare a window, whose first image has such a number; images that cannot be read are left out and named.

        Raises:
            DataError: too few can be read.
        """
        channels, size, _ = self.exported.shape
        read = Preprocessing(channels, size, self.exported.resize)
        pixels: dict[Path, Tensor] = {}
        unreadable = {}
        for file in files:
            try:
                pixels[file] = torch.from_numpy(read(file.read_bytes(), name_below(self.folder, file)).copy())
            except (DataError, OSError) as error:
                unreadable[file] = str(error)
        different = len({image.numpy().tobytes() for image in pixels.values()})
        if different < FEWEST_IN_WINDOW:
            copies = len(pixels) - different
            refuse_few(different, len(files) - copies, next(iter(unreadable.values()), ""), copies)
        images = self.exported.normalise(torch.stack([*pixels.values()]))
        report = detect_drift(
            self.model, images, self.reference, detector=self.detector, false_alarm_rate=self.false_alarm_rate
        )
        return WatchedWindow(number, tuple(pixels), report, unreadable, self.folder, first)


def open_made_in(workspace: Workspace, version: str | None, overrides: Sequence[str], name: str | None) -> Workspace:
    """The profile in which the version was made, see :func:`tasks.version_profile.in_profile_of`.

    Raises:
        BadInputError: there is no such version.
    """
    require_version_name(version)
    if version == LAST_RUN:
        return workspace
    made = asked_version(open_store(workspace), workspace.params.register_.model, version)
    return in_profile_of(made, workspace, overrides, name)


@contextmanager
def open_watcher(
    workspace: Workspace,
    version: str | None,
    reference: Path | None,
    *,
    window: int,
    false_alarm_rate: float,
    folder: Path = Path(),
) -> Iterator[Watcher]:
    """The network that a version names, and what its images are compared with.

    That is the reference that was named, else the version's own, else one made of the score split and kept under
    ``.eyas``.

    Args:
        workspace: names the registered model, its store, the last run, and the detector (``adapt.detector``).
        version: as for ``eyas predict``.
        reference: a file that :meth:`DriftReference.save` wrote.
        window: images per window.
        false_alarm_rate: how often a clean window may be called drift.
        folder: of the images.

    Raises:
        BadInputError: there is no such version, or nothing to compare with.
        CheckpointError: the version is of another architecture than the profile.
    """
    with exported_files(workspace, version) as (name, files):
        exported, model = ExportedModel.open(files), load_as_named(files, workspace.params, name).model
        known = _reference(workspace, files, model, reference, window)
        if known.image_shape != exported.shape:
            msg = f"{name} takes images of {exported.shape} (C, H, W), the reference is of {known.image_shape}"
            raise DataError(msg)
        yield Watcher(name, model, exported, known, false_alarm_rate, workspace.params.adapt.detector, folder)


def even_windows(folder: Path, window: int, dates: DateRange = ALWAYS) -> list[list[Path]]:
    """Images of the dates, each once, in the order of their names, as evenly as can be in windows of at least so many.

    Raises:
        BadInputError: there is none.
        DataError: too few can be images; this is looked at before anything is loaded.
    """
    files = files_within(dates, list_images([folder]), folder)
    files = [files[position] for position in first_copies([file_sha256(file) for file in files])]
    require_readable((name_below(folder, file), file.read_bytes()) for file in files)
    count = max(1, len(files) // window)
    ends = [len(files) * at // count for at in range(count + 1)]
    return [files[start:end] for start, end in pairwise(ends)]


def look_once(watcher: Watcher, windows: Sequence[Sequence[Path]]) -> Iterator[WatchedWindow]:
    """Each of the windows.

    Raises:
        DataError: too few of its images can be read.
    """
    first = 1
    for number, files in enumerate(windows, 1):
        yield watcher.look(number, files, first)
        first += len(files)


def look_on(
    watcher: Watcher,
    folder: Path,
    window: int,
    seconds: float,
    sleep: Callable[[float], None] = time.sleep,
    *,
    dates: DateRange = ALWAYS,
) -> Iterator[WatchedWindow]:
    """Whatever is in a folder and comes into it, as soon as a window is full, in the order it came; without an end.

    Of the ``dates`` alone; what comes with others is passed over.
    """
    seen: set[Path] = set()
    waiting: list[Path] = []
    number, gone = 0, False
    while True:
        if gone == folder.is_dir():
            gone = not gone
            log.warning("%s %s", folder, "is not there: waiting for it" if gone else "is there again")
        fresh = [file for file in _settled(folder, dates) if file not in seen]
        seen.update(fresh)
        waiting += fresh
        while len(waiting) >= window:
            number, files, waiting = number + 1, waiting[:window], waiting[window:]
            try:
                yield watcher.look(number, files, (number - 1) * window + 1)
            except DataError as error:  # one bad delivery does not end the watch
                log.error("window %d: %s", number, error)
        sleep(seconds)


def raise_alarm(workspace: Workspace, window: WatchedWindow, before: DriftReport | None) -> bool:
    """Tell people where drift begins, and not again as long as it stays; True where somebody took the notice."""
    if not window.report.drift or (before is not None and before.drift):
        return False
    return tell(workspace.params.notify, Notice("drift", "watch", window.line(), workspace.name))


def _settled(folder: Path, dates: DateRange = ALWAYS) -> list[Path]:
    """Images whose files are whole by now, the oldest first."""
    try:
        files = list_images([folder])
    except BadInputError:  # none yet
        return []
    times = {}
    for file in files:
        with suppress(FileNotFoundError):  # taken away since it was listed
            times[file] = file.stat().st_mtime
    settled = (file for file in times if time.time() - times[file] >= SETTLED_SECONDS)
    within = (file for file in settled if datetime.fromtimestamp(times[file], UTC) in dates)
    return sorted(within, key=lambda one: times[one])


def require_enough_to_compare(count: int, workspace: Workspace) -> None:
    """Refuse too few images of the score split: they do not tell what is usual.

    Raises:
        BadInputError: names the field.
    """
    if count < FEWEST_IMAGES:
        params = workspace.params
        way = f"raise fetch.score_fraction ({params.fetch.score_fraction:g}) and run again"
        if count == params.adapt.source_images:
            way = f"raise adapt.source_images ({count})"
        msg = f"{count} images of the score split are too few to compare others with, {FEWEST_IMAGES} the fewest: {way}"
        raise BadInputError(msg)


def _reference(workspace: Workspace, folder: Path, model: nn.Module, named: Path | None, window: int) -> DriftReference:
    own = named or folder / REFERENCE
    if own.exists():
        return DriftReference.load(own)
    fetched = workspace.artifacts / "fetch"
    if not (fetched / "manifest.json").exists():
        msg = (
            f"{workspace.name} has no images to compare with: name a reference (--reference), or `{workspace.command}`"
        )
        raise BadInputError(msg)
    digests = [file_sha256(folder / "manifest.json"), file_sha256(fetched / "manifest.json")]
    kept = workspace.state / "drift" / f"{'-'.join(digest[:16] for digest in digests)}-{window}-codes.safetensors"
    if kept.exists():
        return DriftReference.load(kept)
    dataset = open_dataset(fetched)
    split = dataset.split("score")
    images, labelled = dataset.normalise(split.images(REFERENCE_IMAGES)), dataset.task_of("score").labelled
    one_each = labelled and not dataset.task.answer_shape(dataset.image_shape)
    labels = split.first_labels(len(images)) if one_each else None
    require_enough_to_compare(len(images), workspace)
    reference = DriftReference.of(model, images, labels, window=window)
    kept.parent.mkdir(parents=True, exist_ok=True)
    unfinished = kept.with_suffix(f".{os.getpid()}")
    reference.save(unfinished).replace(kept)
    log.info("%d images of the score split are the reference, kept in %s", len(images), kept)
    return reference
