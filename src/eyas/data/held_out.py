"""The test images of a data set against those that a network was made with."""

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from eyas.data.comparability import Comparability
from eyas.data.index import read_index
from eyas.data.manifest import INDEX, read_manifest

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class HeldOutImages:
    """What a data set keeps for the test."""

    data_set: str
    """The data set's digest."""
    digests: frozenset[str]
    """sha256 of each image."""
    of_its_own: bool
    """They have an address of their own, so whoever gave it says that no network was trained on them."""
    pixels: Mapping[str, str] = field(default_factory=dict)
    """By sha256, what stands for the image however it is stored: the key of its decoded pixels."""

    @classmethod
    def of(cls, folder: Path) -> "HeldOutImages":
        """Those of what the fetch stage left in ``folder``."""
        manifest = read_manifest(folder)
        test = [row for row in read_index(folder / INDEX) if row.split == "test"]
        pixels = {row.sha256: manifest.image.pixel_key(row.pixel_hash) for row in test if manifest.knows_pixels}
        return cls(manifest.digest, frozenset(row.sha256 for row in test), "test" in manifest.source, pixels)

    def unseen_by(
        self, network: str, made: Comparability, data_set: str, seen: Collection[str] | None
    ) -> Comparability:
        """Whether a network of ours has seen none of them.

        Args:
            network: its name, in words.
            made: what was found of it and its own test images when it was made.
            data_set: digest of the data set that it was made with.
            seen: sha256 of the images of that data set that were not held out, and the keys of their pixels, where
                these are known; None where nobody knows the images.
        """
        if data_set == self.data_set or not (made.comparable or self.of_its_own):
            return made
        if seen is None:
            return Comparability(False, f"which images {network} was made with is not known any more")
        shared = sum(digest in seen or self.pixels.get(digest) in seen for digest in self.digests)
        if not shared and not self._know_pixels_of(seen):
            words = "%s was made with images that were decoded in another way, or before their pixels were recorded"
            _LOG.warning(f"{words}: a test image that is among them in another file is not recognised", network)
        if shared:
            return Comparability(False, f"{network} was made with {shared:,} of the {len(self.digests):,} test images")
        return Comparability()

    def _know_pixels_of(self, seen: Collection[str]) -> bool:
        """Whether the pixels of these images were read as those of the test images were."""
        readings = {key.rpartition(" ")[0] for key in self.pixels.values()}
        return bool(readings) and any(key.rpartition(" ")[0] in readings for key in seen)
