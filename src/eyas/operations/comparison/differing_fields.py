"""The fields of the parameters in which compared networks differ, as far as their runs are recorded."""

from collections.abc import Sequence
from dataclasses import dataclass

from eyas.operations.comparison.compared_network import ComparedNetwork

NOT_SET = "not set"
"""Of a field that a run's record leaves out: it has its default there."""
OPERATING = ("runtime.", "promote.", "adapt.", "schedule.", "notify.", "register.")
"""Fields that make no other network."""


@dataclass(frozen=True)
class DifferingFields:
    """A row for each field whose values differ."""

    names: tuple[str, ...]
    """Of the networks whose parameters are known."""
    rows: tuple[tuple[str, tuple[str, ...]], ...]
    """Field, and its value for each of these."""


def differing_fields(networks: Sequence[ComparedNetwork]) -> DifferingFields:
    """What tells the networks' runs apart; nothing of networks whose run is not known."""
    known = [network for network in networks if network.origin.settings]
    fields = dict.fromkeys(field for one in known for field in one.origin.settings if not field.startswith(OPERATING))
    values = {field: tuple(one.origin.settings.get(field, NOT_SET) for one in known) for field in sorted(fields)}
    rows = tuple((field, own) for field, own in values.items() if len(set(own)) > 1)
    return DifferingFields(tuple(one.name for one in known), rows)
