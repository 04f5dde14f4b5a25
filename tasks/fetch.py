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
from eyas.data.make_dataset import DatasetOptions, make_dataset
from eyas.data.manifest import FILES
from eyas.data.sources import BUILTIN, check_all_used, fetch_files
from eyas.data.subset import fetch_subset
from eyas.errors import StorageError
from eyas.parallel import cores
from eyas.progress import Progress
from eyas.storage import Store, redact
from tasks import stage
from tasks.field_names import as_fields
from tasks.source_version import SOURCE, data_signatures, noted, require_same

FIELDS = {name: f"fetch.{name}" for name in FetchParams.model_fields} | {
    "size": "fetch.image_size",
    "channels": "one for each number in fetch.mean and fetch.std",
    "image_column": "fetch.format's image_column",
    "label_column": "fetch.format's label_column",
}
"""The parameter behind each argument of the library's functions that this stage calls."""


@as_fields(FIELDS)
def fetch(params: PipelineParams, artifacts: Path, progress: Progress) -> stage.Metrics:
    """Bring, verify, split and record the data that ``params.fetch`` names."""
    section = params.fetch
    options = _options(section, params.runtime.threads or cores())
    source = {"train": section.train} | ({"test": section.test} if section.test else {})
    store = Store(params.runtime.storage, Path(params.runtime.state) / "downloads", progress)
    before = noted(lambda: data_signatures(section, store))
    with _building(artifacts / "fetch") as folder:
        checked: set[str] = set()
        for name, address in source.items():
            checked |= _bring(section, name, expand(address), folder / FILES / name, store)
        check_all_used(section.sha256, checked)
        require_same(before, noted(lambda: data_signatures(section, store)))
        stage.write_json(folder / SOURCE, dict(before))
        addresses = {name: redact(address) for name, address in source.items()}
        return make_dataset(folder, options, addresses, progress)


def _bring(section: FetchParams, name: str, address: str, folder: Path, store: Store) -> set[str]:
    """Bring one source: all of it, or in passing the few images that are asked for; returns checked names."""
    few = section.max_images if name == "train" and not section.sha256 and not address.startswith(BUILTIN) else None
    if few and fetch_subset(address, folder, store, max_images=few, format=section.format):
        return set()
    return fetch_files(address, folder, store.bring, section.sha256)


def _options(section: FetchParams, threads: int) -> DatasetOptions:
    names = {name for name in DatasetOptions.__dataclass_fields__ if name in FetchParams.model_fields}
    return DatasetOptions(
        preprocessing=Preprocessing(len(section.mean), section.image_size, section.resize),
        threads=threads,
        **{name: getattr(section, name) for name in names},
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
    stage.main("fetch", fetch)
