"""A sweep: one profile after another, each by the pipeline's flow; one that fails does not lose the others."""

import json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from eyas.cli.run_view import RunView
from eyas.config.override import Override
from eyas.config.plugins import WORKSPACES
from eyas.errors import EyasError, ParameterError
from eyas.operations.comparison.comparison import Comparison
from eyas.operations.comparison.comparison_page import comparison_page
from eyas.operations.report import read_results
from eyas.operations.tracking import attempt
from flows.pipeline import Outcome, pipeline
from flows.prefect_server import explained
from tasks.compare import compare_profiles, log_comparison, print_comparison
from tasks.next_command import next_command, plain_command, shown_path
from tasks.report import json_result, next_steps, print_steps, print_verdict, print_wrapped, result_line
from tasks.workspace import Workspace

log = logging.getLogger(__name__)
PAGE = "comparison.html"
"""Of the last sweep, beside its workspaces."""


@dataclass
class Sweep:
    """The profiles of one sweep, and what became of them."""

    workspaces: tuple[Workspace, ...]
    labels: tuple[str, ...]
    """What each profile sets, in short."""
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    """By workspace's name."""
    failed: dict[str, str] = field(default_factory=dict)
    """Messages by workspace's name."""
    page: Path | None = None
    """Where the comparison lies as a page."""

    def run(self, params_file: str, overrides: Sequence[Sequence[str]], view: RunView, **how: bool) -> None:
        """Bring each profile up to date.

        Args:
            params_file: as the flow takes it.
            overrides: of each profile.
            view: shows the steps.
            how: ``wait`` and ``register`` of the flow.
        """
        profiles = zip(self.workspaces, self.labels, overrides, strict=True)
        start = time.monotonic()
        for number, (workspace, label, own) in enumerate(profiles, start=1):
            left = time_left(time.monotonic() - start, number - 1, len(self.workspaces))
            view.show(f"{label}  (profile {number} of {len(self.workspaces)}{left})", "bold")
            try:
                with explained():
                    self.outcomes[workspace.name] = pipeline(params_file, own, None, **how)
            except Exception as error:
                if not isinstance(error, EyasError):
                    log.exception("profile %s", workspace.name)  # the others go on; its traceback is in the log
                self.failed[workspace.name] = str(error) or type(error).__name__
                view.warn(f"{label} failed: {self.failed[workspace.name]}")

    def compare(self) -> Comparison | None:
        """The profiles that ended well beside each other, also as a page and a run of MLflow; None where none did."""
        done = {one.name: one.artifacts.parent for one in self.workspaces if one.name in self.outcomes}
        if not done:
            return None
        comparison = compare_profiles(self.workspaces[0], done)
        self.page = self.workspaces[0].root / WORKSPACES / PAGE
        steps = self._steps_with(comparison)
        self.page.write_text(comparison_page(comparison, self.page.parent, steps))
        with attempt("recording the comparison"):
            log_comparison(self.workspaces[0], comparison)
        return comparison

    @property
    def status(self) -> int:
        """With which the command leaves."""
        return EyasError.exit_status if self.failed else 0

    def print_summary(self, comparison: Comparison | None, log_file: Path) -> None:
        """Table, what each is worth and why, what failed, and what to type next."""
        from rich.console import Console

        if comparison is not None:
            print_comparison(comparison)
        console = Console(highlight=False)
        for workspace, label in self._done():
            report = shown_path(workspace.artifacts / "report" / "report.html")
            print_wrapped(console, f"{label}, {report}")
            print_verdict(console, read_results(workspace.artifacts), workspace)
        for workspace, label in zip(self.workspaces, self.labels, strict=True):
            if workspace.name in self.failed:
                message = f"{label} failed: {self.failed[workspace.name]}"
                print_wrapped(console, message, "bold red")
        if self.page is not None:
            print_wrapped(console, f"page   {shown_path(self.page)}")
        print_steps(console, self._next_steps(comparison))
        print_wrapped(console, f"log    {shown_path(log_file)}")

    def _next_steps(self, comparison: Comparison | None) -> list[str]:
        done = [workspace for workspace, _ in self._done()]
        steps = [next_command(workspace, "run") for workspace in self.workspaces if workspace.name in self.failed]
        steps += self._steps_with(comparison)
        if len(done) > 1:
            names = [workspace.name for workspace in done]
            steps.append(plain_command(done[0].root, "compare", *names, "--html", "comparison.html"))
        return [*steps, "make ui   (pages of MLflow and Prefect)"]

    def _steps_with(self, comparison: Comparison | None) -> list[str]:
        """About the profile to go on with; none where there is no telling which."""
        if comparison is None or comparison.choice is None:
            return []
        network, why = comparison.choice
        chosen = next(one for one in self.workspaces if one.name == network.address)
        return next_steps(chosen, self.outcomes[chosen.name].version, why)

    def headlines(self) -> list[str]:
        """A line for each profile that ended well."""
        return [f"{label}: {result_line(one)}" for one, label in self._done()]

    def _done(self) -> list[tuple[Workspace, str]]:
        """The profiles that ended well, with what each sets."""
        profiles = zip(self.workspaces, self.labels, strict=True)
        return [(workspace, label) for workspace, label in profiles if workspace.name in self.outcomes]

    def as_json(self, comparison: Comparison | None, log_file: Path) -> str:
        """One object: every profile as ``run --json`` has it, what failed, and the comparison."""
        results = [
            json_result(one, self.outcomes[one.name].version, self.outcomes[one.name].run_id, log_file)
            for one in self.workspaces
            if one.name in self.outcomes
        ]
        content: Mapping[str, Any] = {
            "profiles": results,
            "failed": self.failed,
            "comparison": comparison.as_dict() if comparison else None,
        }
        return json.dumps(content, indent=2)


def time_left(seconds: float, done: int, profiles: int) -> str:
    """What the other profiles will take if they take as long as those that are done; empty before the first is."""
    if not done:
        return ""
    minutes = seconds / done * (profiles - done) / 60
    return f", about {minutes:.0f} min left" if minutes >= 1 else ", less than a minute left"


def require_ready(workspaces: Sequence[Workspace], overrides: Sequence[Sequence[Override]], *, wait: bool) -> None:
    """Refuse the whole sweep where one of its profiles could not run: before anything has.

    Raises:
        ParameterError: with the faults of all.
        BusyError: another run holds one.
    """
    from tasks.preflight import look

    faults: list[str] = []
    for workspace, own in zip(workspaces, overrides, strict=True):
        try:
            look(workspace, own).require()
        except ParameterError as error:
            faults.append(str(error))
    if faults:
        raise ParameterError("\n".join(faults))
    for workspace in workspaces if not wait else ():
        workspace.refuse_if_busy()
