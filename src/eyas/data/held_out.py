"""The test images of a data set against those that a network was made with."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from eyas.data.comparability import Comparability
from eyas.data.index import read_index
from eyas.data.manifest import INDEX, read_manifest


@dataclass(frozen=True)
class HeldOutImages:
    """What a data set keeps for the test."""

    data_set: str
    """The data set's digest."""
    digests: frozenset[str]
    """sha256 of each image."""
    of_its_own: bool
    """They have an address of their own, so whoever gave it says that no network was trained on them."""

    @classmethod
    def of(cls, folder: Path) -> "HeldOutImages":
        """Those of what the fetch stage left in ``folder``."""
        manifest = read_manifest(folder)
        digests = frozenset(row.sha256 for row in read_index(folder / INDEX) if row.split == "test")
        return cls(manifest.digest, digests, "test" in manifest.source)

    def unseen_by(
        self, network: str, made: Comparability, data_set: str, seen: Collection[str] | None
    ) -> Comparability:
        """Whether a network of ours has seen none of them.

        Args:
            network: its name, in words.
            made: what was found of it and its own test images when it was made.
            data_set: digest of the data set that it was made with.
            seen: sha256 of the images of that data set that were not held out; None where nobody knows them.
        """
        if data_set == self.data_set or not (made.comparable or self.of_its_own):
            return made
        if seen is None:
            return Comparability(False, f"which images {network} was made with is not known any more")
        shared = len(self.digests.intersection(seen))
        if shared:
            return Comparability(False, f"{network} was made with {shared:,} of the {len(self.digests):,} test images")
        return Comparability()
