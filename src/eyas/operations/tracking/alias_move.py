"""What a move of the champion is, and the run of MLflow that records the decision for it."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from eyas.operations.tracking import lease
from eyas.operations.tracking.mlflow_store import MlflowStore, attempt, retry
from eyas.operations.tracking.model_registry import Version
from eyas.operations.tracking.runs import NOTE, fail_run, finish_run, log_numbers, tag_run

BEFORE = "eyas.previous_champion"
ROLLED_BACK = "eyas.rolled_back"
DECISION = "eyas.decision"
OUTCOME = "eyas.outcome"
REASON = "eyas.reason"
MOVE = "eyas.move"
PENDING = "pending"
MAX_REASON = 5000
NO_REASON = "no reason was given"


@dataclass(frozen=True)
class AliasMove:
    """What moves, as the run of the move keeps it."""

    kind: Literal["promotion", "rollback"]
    model: str
    champion: str
    """Number of the version that becomes champion."""
    before: str
    """Number of the champion it takes over from; empty where there is none."""
    previous: str
    """Number that ``previous`` names afterwards; empty takes the alias away."""
    outcome: str
    """What the record says once it is done."""
    reason: str = ""
    decision: str = ""
    """The gates in short, as JSON."""
    time: int = 0
    """Seconds since 1970."""

    @property
    def words(self) -> str:
        """From which version to which, and why."""
        return f"from version {self.before or 'none'} to version {self.champion}: {self.reason or NO_REASON}"

    def tags(self) -> dict[str, str]:
        """As tags of the run."""
        content = {name: value for name, value in asdict(self).items() if name != "reason"}
        return {MOVE: json.dumps(content), REASON: self.reason}

    @classmethod
    def from_tags(cls, tags: Mapping[str, str]) -> "AliasMove":
        """What :meth:`tags` wrote."""
        return cls(**json.loads(tags[MOVE]), reason=tags[REASON])


def open_record(
    store: MlflowStore,
    kind: str,
    version: Version,
    tags: Mapping[str, str],
    *,
    numbers: Mapping[str, float] | None = None,
    decision: Mapping[str, Any] | None = None,
) -> str:
    """Open the ``pending`` run of a decision about a version and return its id."""
    known = {"eyas.kind": kind, "eyas.model": version.name, "eyas.version": version.number, OUTCOME: PENDING}
    known[NOTE] = tags.get(REASON, "")
    name = f"{kind}-{version.name}-{version.number}"
    run = retry(store.client.create_run, store.promotions, run_name=name, tags={**known, **tags})
    run_id = str(run.info.run_id)
    try:
        log_numbers(store, run_id, {f"promote.{number}": value for number, value in (numbers or {}).items()})
        if decision is not None:
            retry(store.client.log_dict, run_id, dict(decision), "decision.json")
    except BaseException as error:
        with attempt(f"closing the record of the {kind}"):
            abort_record(store, version.name, run_id, f"not recorded: {error}")
        raise
    return run_id


def close_record(store: MlflowStore, run_id: str, outcome: str) -> None:
    """Close the run of a decision with what came of it."""
    tag_run(store, run_id, {OUTCOME: outcome})
    finish_run(store, run_id)


def abort_record(store: MlflowStore, model: str, run_id: str, message: str) -> None:
    """Close the run of a decision that did not come about, and let go of the lease."""
    tag_run(store, run_id, {OUTCOME: "failed"})
    fail_run(store, run_id, message)
    lease.release(store, model, run_id)
