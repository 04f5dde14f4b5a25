"""``section.field=value`` as a user types it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from eyas.config.safe_yaml import load_yaml
from eyas.errors import ParameterError


@dataclass(frozen=True)
class Override:
    """One field with another value."""

    place: tuple[str, ...]
    value: Any
    typed: str
    """The option and its text, for messages."""

    @classmethod
    def parse(cls, item: str, typed: str = "") -> Self:
        """``score.seed=3`` in its parts.

        Args:
            item: the text.
            typed: what the user typed that holds it; without it ``--set`` with the text.

        Raises:
            ParameterError: it is not of that form.
        """
        typed = typed or f"--set {item}"
        place, sign, value = item.partition("=")
        if not sign or "." not in place:
            msg = f"{typed}: expected section.field=value, for instance score.seed=3"
            raise ParameterError(msg)
        return cls(tuple(place.split(".")), load_yaml(value, f"{typed}: the value"), typed)

    def sets(self, loc: tuple[str | int, ...]) -> bool:
        """Whether what stands at a place of the parameters comes from here, or holds it."""
        return all(one == str(other) for one, other in zip(self.place, loc, strict=False)) and bool(loc)


def parse_overrides(items: Sequence[str], typed: Mapping[str, str] | None = None) -> list[Override]:
    """Each in its parts; ``typed`` says what the user typed, by item, where that was not ``--set``.

    Raises:
        ParameterError: one is not of that form.
    """
    return [Override.parse(item, (typed or {}).get(item, "")) for item in items]
