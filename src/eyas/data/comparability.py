"""Whether accuracies on the test images may be compared: not where the first weights may have come from these images.

The stage ``baseline`` decides and leaves ``comparable.json``; the report, MLflow and the gates read it.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

COMPARABLE = "comparable.json"
FROM_TRAIN, INCLUDED = "from_train", "included"
WORDS = frozenset({FROM_TRAIN, INCLUDED})
"""What ``fetch.test`` may say instead of an address: a part of ``fetch.train``, or the test set that it brings."""
TAG, REASON_TAG = "eyas.comparable", "eyas.not_comparable.because"


@dataclass(frozen=True)
class Comparability:
    """Whether dense and pruned network can be compared on the test images, and why not."""

    comparable: bool = True
    reason: str = ""
    """In words, where they cannot."""

    @property
    def note(self) -> str:
        """What stands behind an accuracy on the test images."""
        return "" if self.comparable else " (not comparable)"

    def tags(self) -> dict[str, str]:
        """As tags of a run or a registered version."""
        reason = {REASON_TAG: self.reason} if self.reason else {}
        return {TAG: str(self.comparable).lower(), **reason}

    @classmethod
    def from_tags(cls, tags: Mapping[str, str]) -> "Comparability | None":
        """What ``tags`` wrote; None where nothing was."""
        return cls(tags[TAG] == "true", tags.get(REASON_TAG, "")) if TAG in tags else None

    def write(self, folder: Path) -> None:
        """Leave it beside the dense network; equal values are equal bytes."""
        (folder / COMPARABLE).write_text(json.dumps(asdict(self), indent=2) + "\n")


def read_comparability(folder: Path) -> Comparability:
    """What ``baseline`` left in its folder; comparable where nothing is said."""
    path = folder / COMPARABLE
    return Comparability(**json.loads(path.read_text())) if path.exists() else Comparability()
