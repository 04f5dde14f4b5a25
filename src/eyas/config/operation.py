"""The sections of what happens around the stages: registry, rhythm, notices, and how work is done."""

import re
import zoneinfo
from datetime import UTC, datetime
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from eyas.config.section import Count, Section
from eyas.operations.notify import Event
from eyas.storage.settings import StorageSettings

_TAKEN = frozenset({"champion", "previous", "latest"})


class RegisterParams(Section):
    """Under which name the model enters the registry."""

    model: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$")] = "eyas"
    """The registered model's name."""
    alias: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")] | None = None
    """Alias of the new version, whatever had it before. Without one ``candidate``; where that names another profile's
    version of another budget, ``candidate-macs-25`` (after the budget) beside it."""

    @field_validator("alias")
    @classmethod
    def _is_free(cls, alias: str | None) -> str | None:
        if alias and (alias.lower() in _TAKEN or re.fullmatch(r"[vV]?\d+", alias)):
            msg = f"alias {alias!r} has a meaning of its own: champion and previous are moved by `eyas promote` alone"
            raise ValueError(msg)
        return alias


class ScheduleParams(Section):
    """When retraining is looked at without being asked."""

    cron: str | None = None
    """Five fields: ``0 3 * * 1`` is Mondays at three."""
    interval_minutes: Count | None = None
    """Every so many minutes, instead of ``cron``."""
    timezone: str = "UTC"
    """Of ``cron``, as in ``Europe/Berlin``."""
    overlap: Literal["refuse", "queue"] = "refuse"
    """What a run does that starts while another of its profile still runs."""
    grace_minutes: Count = 30
    """A run that begins later than this is told as late. However late: of several that are due only the newest runs."""

    @property
    def has_rhythm(self) -> bool:
        """Whether anything happens without being asked."""
        return bool(self.cron or self.interval_minutes)

    @model_validator(mode="after")
    def _one_rhythm(self) -> Self:
        if self.cron and self.interval_minutes:
            msg = "cron and interval_minutes exclude each other: give one"
            raise ValueError(msg)
        if self.cron:
            _check_cron(self.cron)
        if self.timezone not in zoneinfo.available_timezones():
            msg = f"timezone {self.timezone!r} is unknown: give a name such as UTC or Europe/Berlin"
            raise ValueError(msg)
        return self


def _check_cron(cron: str) -> None:
    """Five fields, each in its range."""
    from cronsim import CronSim, CronSimError

    try:
        CronSim(cron, datetime.now(UTC))
    except CronSimError as error:
        msg = f"cron {cron!r} is not minute hour day month weekday (as in '0 3 * * 1'): {error}"
        raise ValueError(msg) from error


class NotifyParams(Section):
    """Who is told, and of what; the address itself is a secret and stands in the environment."""

    variable: Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]*$")] = "EYAS_NOTIFY_URL"
    """The environment variable that holds the webhook's address; not set, nobody is told."""
    style: Literal["json", "slack"] = "json"
    """Every field, or Slack's form."""
    events: tuple[Event, ...] = ("late", "failed", "refused", "cancelled", "drift")
    """What is worth telling."""


class RuntimeParams(Section):
    """How work is done. Nothing here changes a result beyond rounding; DVC does not look at it."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """``auto`` takes CUDA where there is one."""
    threads: Annotated[int, Field(ge=0)] = 0
    """Threads of torch; 0 takes all cores."""
    workers: Count = 1
    """Processes that score side by side."""
    processes: Count = 1
    """Processes that train one network together (`eyas[distributed]`), each on a GPU of its own or a part of the cores:
    every batch is divided among them. Dropout draws otherwise then."""
    nodes: Count = 1
    """Machines that train together, each with so many processes and the same files; `docs/operate.md` says how."""
    cluster: str | None = None
    """``ray``, or ``ray://host:port``: score on a Ray cluster."""
    state: str = ".eyas"
    """Where epoch checkpoints and journals live, outside of DVC's outputs."""
    experiment: str = "eyas"
    """MLflow's experiment."""
    tracking_uri: str | None = None
    """MLflow's server; without one ``MLFLOW_TRACKING_URI``, else SQLite in the checkout."""
    retries: Annotated[int, Field(ge=0)] = 2
    """How often a failed stage is tried again; bad input never is."""
    storage: StorageSettings = StorageSettings()
    """Endpoint, region, profile, timeouts and retries of remote storage; completed by the environment."""
