"""A pruning plan: which channels of which group are kept. Plain data with a JSON form and a digest."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from eyas.errors import PlanError, one_line
from eyas.storage.json_text import parse_json


class PruningPlan(BaseModel):
    """Kept channel indices per group of one search space; immutable."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    space: str
    """Fingerprint of the search space the plan was made for."""
    channels: dict[str, int]
    """Dense channels per group, in the space's order."""
    kept: dict[str, tuple[int, ...]]
    """Kept channels per group, ascending, in the space's order; none where a residual block is left out."""

    @field_validator("kept")
    @classmethod
    def _ascending(cls, kept: dict[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
        for name, channels in kept.items():
            if list(channels) != sorted(set(channels)):
                msg = f"group {name!r}: kept channels must be ascending and distinct"
                raise ValueError(msg)
        return kept

    @property
    def widths(self) -> dict[str, int]:
        """Number of kept channels per group."""
        return {name: len(channels) for name, channels in self.kept.items()}

    @property
    def digest(self) -> str:
        """sha256 of the canonical JSON form."""
        return hashlib.sha256(canonical_json(self.model_dump(mode="json")).encode()).hexdigest()

    def to_json(self) -> str:
        """JSON with the digest of the content."""
        return json.dumps({**self.model_dump(mode="json"), "digest": self.digest}, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Read what :meth:`to_json` wrote.

        Raises:
            PlanError: no JSON, a field is missing or wrong, or the content does not have the recorded digest.
        """
        try:
            content = parse_json(text)
        except ValueError as error:
            msg = f"a pruning plan is not JSON: {error}; write it with PruningPlan.to_json()"
            raise PlanError(msg) from error
        if not isinstance(content, Mapping):
            msg = f"a pruning plan is a JSON object, not {type(content).__name__}"
            raise PlanError(msg)
        fields = dict(content)
        recorded = fields.pop("digest", None)
        try:
            plan = cls.model_validate(fields)
        except ValidationError as error:
            msg = f"not a pruning plan: {one_line(error)}"
            raise PlanError(msg) from error
        if recorded != plan.digest:
            msg = f"the plan was changed after it was written: digest {plan.digest}, recorded {recorded}"
            raise PlanError(msg)
        return plan


def canonical_json(content: Any) -> str:
    """One text per content: sorted keys, no spaces."""
    return json.dumps(content, sort_keys=True, separators=(",", ":"))
