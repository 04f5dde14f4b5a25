"""Which images a registered version was made with: no accuracy on them is one on new images."""

import json
import tempfile
from pathlib import Path

from eyas.data.comparability import Comparability
from eyas.data.held_out import HeldOutImages
from eyas.data.index import read_index
from eyas.data.manifest import INDEX, MANIFEST, read_manifest
from eyas.errors import BadInputError
from eyas.operations.tracking import MlflowStore, Version, download_stage_file, model_registry
from eyas.operations.tracking.adaptation_run import parent_of
from tasks.registered_checkpoint import MADE_FROM

DATA_SET = "eyas.dataset_hash"


def unseen_by(store: MlflowStore, version: Version, files: Path, test: HeldOutImages) -> Comparability:
    """Whether a registered version, whose files lie in ``files``, has seen none of the test images."""
    made, data_set = own_comparability(version, files), version.tags.get(DATA_SET, "")
    seen = None if data_set == test.data_set else images_seen(store, version)
    return test.unseen_by(str(version), made, data_set, seen)


def own_comparability(version: Version, files: Path) -> Comparability:
    """What was found when a version was made; of one from before this was looked at, what its parameters say."""
    recorded = Comparability.from_tags(version.tags)
    if recorded is not None:
        return recorded
    params = json.loads((files / "params.json").read_text())
    baseline, test = params.get("baseline", {}), params.get("fetch", {}).get("test")
    if not baseline.get("checkpoint") or test:
        return Comparability()
    reason = f"the test images of {version} were cut from images that its checkpoint may have been trained on"
    return Comparability(False, reason)


def images_seen(store: MlflowStore, version: Version) -> set[str] | None:
    """All images that were not set aside for the test when the version, or one it was made from, was made.

    The sha256 of each, and the key of its pixels where the data set knows them; None where the run that made it is
    gone, or was not ours. An adapted version was trained on what its parent was.
    """
    parent = parent_of(version)
    if parent is not None:
        return _images_of(store, *parent)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        index, manifest = (
            download_stage_file(store, version.run_id, "fetch", name, folder) for name in (INDEX, MANIFEST)
        )
        rows = [row for row in read_index(index) if row.split != "test"] if index else []
        seen = {row.sha256 for row in rows} if index else None
        if seen is not None and manifest and (data_set := read_manifest(folder)).knows_pixels:
            seen |= {data_set.image.pixel_key(row.pixel_hash) for row in rows}
    before = version.tags.get(MADE_FROM)
    if seen is None or before is None:
        return seen
    name, _, number = before.rpartition("/")
    inherited = _images_of(store, name, number)
    return None if inherited is None else seen | inherited


def _images_of(store: MlflowStore, name: str, number: str) -> set[str] | None:
    """:func:`images_seen` of a version by its number; None of one that was deleted."""
    try:
        return images_seen(store, model_registry.get_version(store, name, number))
    except BadInputError:
        return None
