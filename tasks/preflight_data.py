"""Looking before a run at the data, as far as it lies on this machine: what fetching it would refuse."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from eyas.config import PipelineParams, expand
from eyas.data.archives import is_archive
from eyas.data.builtin import write_builtin
from eyas.data.make_dataset import arrange, read_partitions
from eyas.data.manifest import list_files
from eyas.data.partitions import left_out_untold
from eyas.data.sources import BUILTIN, check_all_used, check_digest
from eyas.errors import DataError
from eyas.parallel import cores, share_threads
from eyas.storage.addresses import parse
from tasks import fetch
from tasks.given_places import naming_places
from tasks.preflight_places import fetched

DECODED = 64 * 2**20
"""Bytes of data that are decoded to look; of more, the first images that are empty are told."""


def list_classes(params: PipelineParams, root: Path, artifacts: Path) -> tuple[str, ...] | None:
    """The classes of the data, none where nothing has a label; None where only fetching it can tell.

    Raises:
        DataError: fetching would refuse it.
    """
    with naming_places(params.fetch.addresses), _linked(params, root) as files:
        if files is None:
            known = fetched(params, root, artifacts)
            return tuple(known.classes) if known else None
        names = list(list_files_below(files, params))
        _check_digests(params, files, names)
        if any(map(is_archive, names)):
            return None
        return _read(params, files, names)


def count_training_images(params: PipelineParams, root: Path) -> int | None:
    """How many images the training data has before it is split; None where only fetching it can tell."""
    with left_out_untold(), _linked(params, root) as files:
        if files is None or any(map(is_archive, list_files_below(files, params))):
            return None
        options = fetch.dataset_options(params.fetch, 1)
        partitions, _ = read_partitions(files, options, tuple(params.fetch.addresses))
        return partitions["train"].is_test.count(False)


@contextmanager
def _linked(params: PipelineParams, root: Path) -> Iterator[Path | None]:
    """A folder that shows all parts of the data; None where one is not on this machine."""
    with tempfile.TemporaryDirectory() as scratch:
        files = Path(scratch)
        here = [_link(place, root, files / part) for part, place in params.fetch.addresses.items()]
        yield files if all(here) else None


def list_files_below(files: Path, params: PipelineParams) -> list[str]:
    """The files of all parts; their folders may be links, which a search from above does not follow."""
    return [f"{part}/{name}" for part in params.fetch.addresses for name in list_files(files / part)]


def _link(place: str, root: Path, target: Path) -> bool:
    """Put a source into a scratch folder, without copying it; False where it is not on this machine."""
    if place.startswith(BUILTIN):
        target.mkdir()
        write_builtin(place.removeprefix(BUILTIN), target)
        return True
    address = parse(expand(place))
    folder = (root / address.key).resolve()
    if address.scheme != "file" or not folder.is_dir():
        return False
    target.symlink_to(folder, target_is_directory=True)
    return True


def _check_digests(params: PipelineParams, files: Path, names: list[str]) -> None:
    """``fetch.sha256`` names files that are there, and what they hold."""
    digests = params.fetch.sha256
    met = {key for name in names for key in check_digest(files / name, name.partition("/")[2], digests)}
    check_all_used(digests, met)


def _read(params: PipelineParams, files: Path, names: list[str]) -> tuple[str, ...]:
    """List the images; where that takes no time, decode and split them as well."""
    options = fetch.dataset_options(params.fetch, share_threads(cores(), wanted=params.runtime.threads))
    partitions, classes = read_partitions(files, options, tuple(params.fetch.addresses))
    if sum((files / name).stat().st_size for name in names) <= DECODED:
        arrange(files, options, partitions, classes)
        return tuple(classes)
    images = {location.file for partition in partitions.values() for location in partition.locations}
    empty = sorted(name for name in images if not (files / name).stat().st_size)
    if len(empty) > options.skip_broken:
        told = "1 image is an empty file," if len(empty) == 1 else f"{len(empty)} images are empty files, the first is"
        msg = f"{told} {empty[0]}: repair or remove, or let `skip_broken` leave out {len(empty)}"
        raise DataError(msg)
    return tuple(classes)
