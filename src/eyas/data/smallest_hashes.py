"""Which images of a stream have the smallest content hashes, known at its end without keeping the rest."""

import heapq
from dataclasses import dataclass, field
from typing import Any

from eyas.data.payload import content_hash


@dataclass
class SmallestHashes:
    """Keeps the ``count`` items whose images have the smallest hashes; of equal images the earlier."""

    count: int
    _heap: list[tuple[int, int, Any]] = field(default_factory=list)
    _offered: int = 0

    def offer(self, data: bytes, item: Any) -> None:
        """Consider one image; ``item`` is what to remember of it."""
        self._offered += 1
        key = -int(content_hash(data), 16), -self._offered, item
        if len(self._heap) < self.count:
            heapq.heappush(self._heap, key)
        elif key[:2] > self._heap[0][:2]:
            heapq.heapreplace(self._heap, key)

    def items(self) -> list[Any]:
        """What was kept, in the order it came."""
        return [item for _, _, item in sorted(self._heap, key=lambda entry: -entry[1])]
