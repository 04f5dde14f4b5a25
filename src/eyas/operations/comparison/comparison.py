"""Several networks side by side: who differs from whom by how much, and what does not compare."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from eyas.operations.comparison.compared_network import ComparedNetwork
from eyas.operations.comparison.differing_fields import differing_fields
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
    date: str = ""
    """Day on which they were compared, as ``2026-11-27``."""

    @property
    def groups(self) -> list[list[ComparedNetwork]]:
        """The networks by test images, in their order; those whose images are not known stand alone."""
        groups: dict[str, list[ComparedNetwork]] = {}
        for place, network in enumerate(self.networks):
            groups.setdefault(network.test_set or f"unknown {place}", []).append(network)
        return list(groups.values())

    @property
    def dense(self) -> list[tuple[ComparedNetwork, list[ComparedNetwork]]]:
        """Each dense network once, called after those that were pruned from it where there are several; and these."""
        by_dense: dict[tuple[str, str, str], tuple[ComparedNetwork, list[ComparedNetwork]]] = {}
        for place, network in enumerate(self.networks):
            dense = network.dense
            if dense is not None:
                images = network.test_set or f"unknown {place}"
                same = (images, repr(dense.accuracy), repr(dense.macs))  # a NaN equals nothing, its words do
                if math.isfinite(dense.accuracy + dense.macs):
                    equal = (known for known in by_dense if known[1:] == same[1:])
                    same = next((one for one in equal if not network.test_set or one[0].startswith("unknown ")), same)
                by_dense.setdefault(same, (dense, []))[1].append(network)
        several = len(by_dense) > 1
        return [
            (replace(dense, name=f"dense of {', '.join(one.name for one in own)}") if several else dense, own)
            for dense, own in by_dense.values()
        ]

    @property
    def about(self) -> str:
        """Networks and data in words, as in ``resnet8 on digits``; empty where that is not known."""
        origins = [network.origin for network in self.networks]
        words = [
            " and ".join(dict.fromkeys(filter(None, known)))
            for known in ([one.architecture for one in origins], [one.data for one in origins])
        ]
        return " on ".join(filter(None, words))

    @property
    def title(self) -> str:
        """What is compared, in a line: networks and data, then each by its name."""
        return ": ".join(filter(None, (self.about, ", ".join(network.name for network in self.networks))))

    @property
    def choice(self) -> tuple[ComparedNetwork, str] | None:
        """Which one to go on with, and why; None where none succeeded and they do not compare, or one is adapted."""
        if any(one.adaptation for one in self.networks):
            return None
        succeeded = [one for one in self.networks if one.verdict == "success" and math.isfinite(one.macs)]
        if succeeded:
            return min(succeeded, key=lambda one: one.macs), "the smallest that succeeded"
        known = [one for one in self.networks if math.isfinite(one.macs + one.accuracy)]
        if not known or len(self.groups) > 1:
            return None
        return max(known, key=lambda one: (one.accuracy, -one.macs)), "the most accurate; none is a success"

    @property
    def conclusion(self) -> str:
        """The choice in words; empty of one alone."""
        adapted = [one.name for one in self.networks if one.adaptation]
        if len(self.networks) > 1 and adapted:
            others = [one.name for one in self.networks if not one.adaptation]
            whose = f", {' and '.join(others)} for images as in training" if others else ""
            return (
                f"they are for different images: {' and '.join(adapted)} for images of the field{whose}; accuracy on "
                "these test images, which are not of the field, does not say which is better there"
            )
        if len(self.networks) < 2 or self.choice is None:
            return ""
        network, why = self.choice
        return f"{network.name} is {why}"

    @property
    def timed_differently(self) -> bool:
        """Whether latencies were timed on several machines, or by several threads, runtimes, batches."""
        return len({network.timed_as for network in self.networks if network.latency}) > 1

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
            if network.adaptation:
                yield f"{network.name} is {network.adaptation}"
        if self.timed_differently:
            yield "latencies were timed in different ways: " + "; ".join(
                f"{network.name}: {network.timed_as}" for network in self.networks if network.latency
            )

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain data."""
        pairs, fields = zip(self.networks, self.differences, strict=True), differing_fields(self.networks)
        return {
            "title": self.title,
            "date": self.date,
            "dense": [_numbers(dense) | {"of": [one.name for one in own]} for dense, own in self.dense],
            "networks": [_as_dict(network, difference) for network, difference in pairs],
            "fields": {field: dict(zip(fields.names, values, strict=True)) for field, values in fields.rows},
            "conclusion": self.conclusion or None,
            "notes": self.notes,
        }


def compare_networks(networks: Sequence[ComparedNetwork], pairing: Pairing, date: str = "") -> Comparison:
    """Hold each network against the first one that has its test images.

    Args:
        networks: in the order in which they are shown.
        pairing: asked where two networks compare.
        date: day on which they are compared.
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
    return Comparison(tuple(networks), tuple(differences), date)


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
    return "" if difference.paired is None else paired_words(difference.paired)


def paired_words(paired: PairedDifference) -> str:
    """A difference and its interval in points."""
    low, high = (points(end) for end in paired.interval())
    return f"{points(paired.difference)} ({low} to {high})"


def _as_dict(network: ComparedNetwork, difference: Difference | None) -> dict[str, Any]:
    content: dict[str, Any] = {name: getattr(network, name) for name in ("name", "kind", "address", "detail")}
    content |= _numbers(network) | {"score": _plain(network.score)}
    content |= {"dense_accuracy": _plain(network.dense_accuracy), "dense_macs": _plain(network.dense_macs)}
    content |= {"verdict": network.verdict, "verdict_lines": list(network.verdict_lines)}
    content |= {"test_images": network.images, "test_set": network.test_set or None}
    content |= {"adaptation": network.adaptation or None}
    content |= {"change_from_dense": None if network.change is None else _paired_as_dict(network.change)}
    return content | {"difference": _difference_as_dict(difference), "origin": network.origin.as_dict()}


def _numbers(network: ComparedNetwork) -> dict[str, Any]:
    """Name, what decides, and cost."""
    low, high = network.interval
    numbers = {name: _plain(getattr(network, name)) for name in ("accuracy", "macs", "params", "file_bytes")}
    numbers |= {"latency_ms": _plain(network.latency_ms)}
    interval = [_plain(low), _plain(high)]
    return {"name": network.name, **numbers, "measure": network.measure, "accuracy_interval": interval}


def _difference_as_dict(difference: Difference | None) -> dict[str, Any] | None:
    if difference is None:
        return None
    content: dict[str, Any] = {"against": difference.against}
    if difference.paired is None:
        return content | {"why_not": difference.why_not}
    return content | _paired_as_dict(difference.paired)


def _paired_as_dict(paired: PairedDifference) -> dict[str, Any]:
    ends = list(paired.interval())
    return {"difference": paired.difference, "interval": ends, "images": paired.images, **paired.metrics()}


def _plain(value: float) -> float | None:
    """JSON knows no NaN."""
    return value if math.isfinite(value) else None
