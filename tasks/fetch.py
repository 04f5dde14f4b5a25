"""Stage ``fetch``: a source becomes verified files, an index of images, and four disjoint splits.

Everything is built in a folder beside the stage's outputs and moved into place at the end, so that nothing
half-written is ever taken for a data set.
"""

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from eyas.config import FetchParams, PipelineParams, expand
from eyas.data.decoding import Preprocessing
from eyas.data.limits import Limits
from eyas.data.make_dataset import DatasetOptions, make_dataset
from eyas.data.manifest import FILES
from eyas.data.sources import BUILTIN, check_all_used, fetch_files
from eyas.data.subset import fetch_subset
from eyas.errors import StorageError
from eyas.parallel import cores, share_threads
from eyas.progress import Progress
from eyas.storage import Store, local_files, redact
from eyas.storage.addresses import parse
from tasks import stage
from tasks.given_places import naming_places
from tasks.source_version import SOURCE, data_versions, require_unchanged, versions_if_told

FIELDS = {name: f"fetch.{name}" for name in FetchParams.model_fields} | {
    "size": "fetch.image_size",
    "channels": "one for each number in fetch.mean and fetch.std",
    "image_column": "image_column of fetch.format",
    "label_column": "label_column of fetch.format",
    "class_level": "class_level of fetch.format",
    "ignore": "ignore of fetch.format",
    "class_names": "class_names of fetch.task",
    **{name: f"fetch.limits.{name}" for name in Limits.model_fields},
}
"""What the arguments of the library's functions that this stage calls are in ``params.yaml``."""


def fetch(params: PipelineParams, artifacts: Path, progress: Progress) -> stage.Metrics:
    """Bring, verify, split and record the data that ``params.fetch`` names."""
    settings = params.fetch
    options = dataset_options(settings, share_threads(cores(), wanted=params.runtime.threads))
    source = settings.addresses
    store = Store(params.runtime.storage, Path(params.runtime.state) / "downloads", progress)
    for address in filter(_is_local, map(expand, source.values())):
        local_files.require_apart(parse(address).key, artifacts)
    before = versions_if_told(lambda: data_versions(settings, store))
    with _building(artifacts / "fetch") as folder:
        met: set[str] = set()
        for part, address in source.items():
            met |= _bring(settings, part, expand(address), folder / FILES / part, store)
        check_all_used(settings.sha256, met)
        require_unchanged(before, versions_if_told(lambda: data_versions(settings, store)))
        stage.write_json(folder / SOURCE, dict(before))
        with naming_places(source):
            return make_dataset(folder, options, {part: redact(address) for part, address in source.items()}, progress)


def _is_local(address: str) -> bool:
    return not address.startswith(BUILTIN) and parse(address).scheme == "file"


def _bring(settings: FetchParams, part: str, address: str, folder: Path, store: Store) -> set[str]:
    """Bring one source: all of it, or in passing the few images that are asked for; returns checked names."""
    few = settings.max_images if part == "train" and not settings.sha256 and not address.startswith(BUILTIN) else None
    how = {"format": settings.format, "task": settings.task.kind, "limits": settings.limits}
    if few and fetch_subset(address, folder, store, max_images=few, **how):
        return set()
    return fetch_files(address, folder, store.bring, settings.sha256, settings.limits)


def dataset_options(settings: FetchParams, threads: int) -> DatasetOptions:
    """How ``params.fetch`` has its data read and split."""
    names = {name for name in DatasetOptions.__dataclass_fields__ if name in FetchParams.model_fields}
    return DatasetOptions(
        preprocessing=Preprocessing(len(settings.mean), settings.image_size, settings.resize, settings.limits),
        threads=threads,
        **{name: getattr(settings, name) for name in names},
    )


@contextmanager
def _building(target: Path) -> Iterator[Path]:
    """A new folder beside ``target`` that takes its place when all went well, and disappears otherwise."""
    folder, old = (target.with_name(f".{target.name}.{state}") for state in ("building", "replaced"))
    for leftover in (folder, old):
        shutil.rmtree(leftover, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
        _replace(target, folder, old)
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
            raise
        msg = f"no space left for the data in {target.parent.resolve()}: free some, then run again"
        raise StorageError(msg) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def _replace(target: Path, new: Path, old: Path) -> None:
    """Put ``new`` where ``target`` is; what was there comes back when that fails."""
    if target.exists():
        target.rename(old)
    try:
        new.rename(target)
    except OSError:
        if old.exists():
            old.rename(target)
        raise


if __name__ == "__main__":
    stage.main("fetch", fetch, FIELDS)
