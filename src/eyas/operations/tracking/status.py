"""What a registered model's aliases point at, and what happened last and why."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from eyas.operations.tracking.alias_move import MOVE, OUTCOME, REASON, AliasMove
from eyas.operations.tracking.mlflow_store import MlflowStore, retry
from eyas.operations.tracking.model_registry import (
    CANDIDATE,
    CHAMPION,
    PREVIOUS,
    Version,
    get_alias,
    get_version,
    list_aliases,
)

_SHOWN = (CHAMPION, PREVIOUS, CANDIDATE)
_WORDS = {"KILLED": "stopped"}
"""A state of MLflow as people say it: whoever pressed Ctrl-C killed nothing."""


@dataclass(frozen=True)
class RunSummary:
    """One pipeline run, promotion or rollback."""

    run_id: str
    kind: str
    name: str
    status: str
    started: int
    """Milliseconds since 1970."""
    why: str
    """The error of a failed run, the reason of a decision; of a rollback also from which version to which."""


@dataclass(frozen=True)
class Status:
    """What a registered model's aliases point at, and what happened last."""

    name: str
    champion: Version | None = None
    previous: Version | None = None
    candidate: Version | None = None
    runs: tuple[RunSummary, ...] = ()
    models: tuple[str, ...] = ()
    """Names of all registered models."""
    others: Mapping[str, Version] = field(default_factory=dict)
    """By further aliases, such as the candidates of other budgets."""


def read_status(store: MlflowStore, name: str, runs: int = 10) -> Status:
    """Aliases and the last runs of this model, newest first."""
    champion, previous, candidate = (get_alias(store, name, alias) for alias in _SHOWN)
    further = sorted(list_aliases(store, name).items())
    others = {alias: get_version(store, name, number) for alias, number in further if alias not in _SHOWN}
    models = sorted(model.name for model in retry(store.client.search_registered_models))
    return Status(name, champion, previous, candidate, tuple(last_runs(store, name, runs)), tuple(models), others)


def last_runs(store: MlflowStore, name: str, count: int) -> list[RunSummary]:
    """Pipeline runs, promotions and rollbacks of a registered model, newest first; profiles share the experiments."""
    query = f"tags.`eyas.model` = '{name}'"
    order = ["attributes.start_time DESC"]
    search = store.client.search_runs
    entries = retry(search, store.experiments, query, max_results=count, order_by=order)
    return [
        RunSummary(
            run_id=run.info.run_id,
            kind=run.data.tags["eyas.kind"],
            name=run.info.run_name,
            status=run.data.tags.get(OUTCOME, _WORDS.get(run.info.status, run.info.status.lower())),
            started=run.info.start_time,
            why=_why(run.data.tags),
        )
        for run in entries
    ]


def _why(tags: Mapping[str, str]) -> str:
    if tags["eyas.kind"] == "rollback" and MOVE in tags and "eyas.error" not in tags:
        return AliasMove.from_tags(tags).words
    return tags.get("eyas.error") or tags.get(REASON, "")
