"""Several networks side by side: who differs from whom by how much, and what does not compare."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from eyas.operations.comparison.compared_network import ComparedNetwork
from eyas.operations.paired_difference import PairedDifference
from eyas.operations.verdict import points

Pairing = Callable[[ComparedNetwork, ComparedNetwork], "PairedDifference | str"]
"""From the first network to the second on the same test images; or why that cannot be measured."""


@dataclass(frozen=True)
class Difference:
    """From one network to another, image by image."""

    against: str
    """Name of the one."""
    paired: PairedDifference | None = None
    why_not: str = ""
    """Why there is none."""


@dataclass(frozen=True)
class Comparison:
    """Networks, and how each differs from the first one that was tested on the same images."""

    networks: tuple[ComparedNetwork, ...]
    differences: tuple[Difference | None, ...]
    """One for each network; None for the one that others are held against."""

    @property
    def groups(self) -> list[list[ComparedNetwork]]:
        """The networks by test images, in their order; those whose images are not known stand alone."""
        groups: dict[str, list[ComparedNetwork]] = {}
        for place, network in enumerate(self.networks):
            groups.setdefault(network.test_set or f"unknown {place}", []).append(network)
        return list(groups.values())

    @property
    def notes(self) -> list[str]:
        """What must be said beside the table, each once."""
        return list(dict.fromkeys(self._notes()))

    def _notes(self) -> Iterator[str]:
        for difference in filter(None, self.differences):
            if difference.why_not:
                yield difference.why_not
        for network in self.networks:
            if not network.comparability.comparable:
                yield f"{network.name}: its accuracy says little, because {network.comparability.reason}"
        if len({network.timed_as for network in self.networks if network.latency}) > 1:
            yield "latencies were timed in different ways: " + "; ".join(
                f"{network.name}: {network.timed_as}" for network in self.networks if network.latency
            )

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain data."""
        pairs = zip(self.networks, self.differences, strict=True)
        return {"networks": [_as_dict(network, difference) for network, difference in pairs], "notes": self.notes}


def compare_networks(networks: Sequence[ComparedNetwork], pairing: Pairing) -> Comparison:
    """Hold each network against the first one that has its test images.

    Args:
        networks: in the order in which they are shown.
        pairing: asked where two networks compare.
    """
    differences: list[Difference | None] = []
    for place, network in enumerate(networks):
        same = (other for other in networks[:place] if network.test_set and other.test_set == network.test_set)
        reference = next(same, None)
        if reference is not None:
            differences.append(_difference(reference, network, pairing))
        elif place:
            differences.append(Difference(networks[0].name, why_not=_other_images(networks[0], network)))
        else:
            differences.append(None)
    return Comparison(tuple(networks), tuple(differences))


def _difference(reference: ComparedNetwork, network: ComparedNetwork, pairing: Pairing) -> Difference:
    for one in (reference, network):
        if not one.comparability.comparable:
            why = f"{network.name} is not held against {reference.name}: {one.comparability.reason}"
            return Difference(reference.name, why_not=why)
    paired = pairing(reference, network)
    if isinstance(paired, str):
        why = f"{network.name} is not held against {reference.name}: {paired}"
        return Difference(reference.name, why_not=why)
    return Difference(reference.name, paired)


def _other_images(first: ComparedNetwork, network: ComparedNetwork) -> str:
    unknown = [one.name for one in (first, network) if not one.test_set]
    if unknown:
        return f"which images {' and '.join(unknown)} had for the test is not known any more: no difference to tell"
    counts = f"{first.images:,} and {network.images:,}"
    return (
        f"{first.name} and {network.name} were tested on different images ({counts}): their accuracies stand side by "
        "side and do not compare"
    )


def difference_words(difference: Difference) -> str:
    """The difference and its interval in points; empty where there is none."""
    if difference.paired is None:
        return ""
    low, high = (points(end) for end in difference.paired.interval())
    return f"{points(difference.paired.difference)} ({low} to {high})"


def _as_dict(network: ComparedNetwork, difference: Difference | None) -> dict[str, Any]:
    numbers = {
        "accuracy": network.accuracy,
        "macs": network.macs,
        "params": network.params,
        "file_bytes": network.file_bytes,
        "latency_ms": network.latency_ms,
        "score": network.score,
    }
    low, high = network.interval
    content: dict[str, Any] = {name: getattr(network, name) for name in ("name", "kind", "address", "detail")}
    content |= {name: _plain(value) for name, value in numbers.items()}
    content |= {"measure": network.measure, "accuracy_interval": [_plain(low), _plain(high)]}
    content |= {"dense_accuracy": _plain(network.dense_accuracy), "dense_macs": _plain(network.dense_macs)}
    content |= {"verdict": network.verdict, "test_images": network.images, "test_set": network.test_set or None}
    return content | {"difference": _difference_as_dict(difference)}


def _difference_as_dict(difference: Difference | None) -> dict[str, Any] | None:
    if difference is None:
        return None
    content: dict[str, Any] = {"against": difference.against}
    if difference.paired is None:
        return content | {"why_not": difference.why_not}
    paired = difference.paired
    return content | {
        "difference": paired.difference,
        "interval": list(paired.interval()),
        "images": paired.images,
        **paired.metrics(),
    }


def _plain(value: float) -> float | None:
    """JSON knows no NaN."""
    return value if math.isfinite(value) else None
