"""What a sampler measures of the dense network once, before it proposes: written down, and read again."""

from typing import Any, Protocol


class Measured(Protocol):
    """An error table, or widths that were learned; read again by :meth:`.Sampler.read_measured`."""

    @property
    def digest(self) -> str:
        """sha256 of all that proposals depend on."""
        ...

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        ...
