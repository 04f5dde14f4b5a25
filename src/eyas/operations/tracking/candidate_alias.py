"""The alias of a profile's newest version: ``candidate``, or one beside it where that stands for another budget.

Profiles may share a registered model. A version of one budget says nothing of another one, so a run moves ``candidate``
only if the version that has it was made by the same profile or to the same budget.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from eyas.operations.tracking.mlflow_store import MlflowStore
from eyas.operations.tracking.model_registry import CANDIDATE, Version, get_alias

BUDGET = "eyas.budget"
"""Tag of a version: what its network was allowed to cost, as JSON."""
_MILLISECONDS = "latency_ms"


@dataclass(frozen=True)
class CandidateAlias:
    """Whose candidate is meant."""

    profile: str
    limits: Mapping[str, float]
    """Of ``sample.budget``."""
    asked: str | None = None
    """``register.alias``: taken whatever it names now."""

    @property
    def beside(self) -> str:
        """The alias where ``candidate`` is another budget's: ``candidate-macs-25`` at a quarter of the MACs."""
        return "-".join([CANDIDATE, *(f"{name}-{_in_letters(name, value)}" for name, value in self.limits.items())])

    def name_in(self, store: MlflowStore, model: str) -> str:
        """Which alias a version gets that this profile registers; afterwards, which one it has."""
        if self.asked:
            return self.asked
        standing = get_alias(store, model, CANDIDATE)
        if standing is None:  # it is taken off a version that was rolled back
            return CANDIDATE if get_alias(store, model, self.beside) is None else self.beside
        return CANDIDATE if self.owns(standing) else self.beside

    def version_in(self, store: MlflowStore, model: str) -> Version | None:
        """The profile's candidate, if there is one."""
        return get_alias(store, model, self.name_in(store, model))

    def owns(self, version: Version) -> bool:
        """Whether the same profile has made a version, or another one to the same budget, or to none that it tells."""
        return (
            version.tags.get("eyas.profile") == self.profile or version.tags.get(BUDGET, self._budget) == self._budget
        )

    def tags(self) -> dict[str, str]:
        """Of a version that gets the alias."""
        return {BUDGET: self._budget}

    @property
    def _budget(self) -> str:
        return json.dumps(dict(self.limits), sort_keys=True)


def is_candidate_alias(alias: str) -> bool:
    """Whether an alias is ``candidate``, or one beside it; not so what ``register.alias`` names."""
    return alias == CANDIDATE or alias.startswith(f"{CANDIDATE}-")


def budget_words(version: Version) -> str:
    """What a version's network was allowed to cost, as in ``macs=0.25``; empty where it does not say."""
    limits = json.loads(version.tags.get(BUDGET, "{}"))
    return ", ".join(f"{name}={value:g}" for name, value in limits.items())


def _in_letters(name: str, value: float) -> str:
    """A limit in letters that an alias may have: percent of a share, else the number."""
    number = 100 * value if value < 1 and name != _MILLISECONDS else value
    text = f"{number:.0f}" if number == int(number) else f"{number:.6g}"
    return text.replace(".", "_")
