"""What ``eyas adapt`` does in a project."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from eyas.cli.options import require_folder_per_class
from eyas.cli.run_view import RunView
from eyas.cli.terminal import terminal_width
from eyas.config.parameter_file import read_sections
from flows.commands import checked_or_told
from flows.named_profile import log_file, parameter_file, relative
from flows.prefect_server import explained, is_news

if TYPE_CHECKING:
    from tasks.workspace import Workspace


def adapt(
    params: Path | None,
    overrides: Sequence[str],
    name: str | None,
    images: str | None,
    *,
    version: str | None,
    labelled: bool,
    force: bool,
    reason: str,
    as_json: bool,
) -> int:
    """Let a version follow images of the field, and print what came of it."""
    if labelled and images and not _has_own_format(params, overrides):
        require_folder_per_class(Path(images))

    def look(named: "Workspace") -> "Workspace":
        from tasks.adapt import look_before, open_made_in

        own = open_made_in(named, version, overrides, name)
        look_before(own, images, version, labelled=labelled)
        return own

    workspace = checked_or_told("adapt", params, overrides, name, look)
    from flows.adapt import adapt as flow
    from tasks.next_command import next_command, text_with_steps

    with RunView(log_file(f"adapt-{workspace.name}")) as view, explained():
        view.take_log(is_news)
        how = {"labelled": labelled, "force": force, "reason": reason}
        decision = flow(relative(params), overrides, name, images, version, **how)
    if as_json:
        print(json.dumps(asdict(decision), indent=2))
        return 0
    status = next_command(workspace, "status")
    promote = next_command(workspace, "promote", "--version", decision.version)
    steps = [promote, status] if decision.outcome == "proposed" else [status]
    print(text_with_steps(decision.lines, steps, terminal_width()))
    return 0


def _has_own_format(params: Path | None, overrides: Sequence[str]) -> bool:
    """Whether the files' format is named, which may know labels in other places than folders."""
    section = read_sections(parameter_file(params)).get("adapt")
    return any(item.startswith("adapt.format") for item in overrides) or "format" in (section or {})
