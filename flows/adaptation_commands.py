"""What ``eyas adapt`` does in a project."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from eyas.cli.run_view import RunView
from flows.commands import checked_or_told
from flows.named_profile import log_file, relative
from flows.prefect_server import explained, is_news


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
    workspace = checked_or_told("adapt", params, overrides, name)
    from flows.adapt import adapt as flow
    from tasks.next_command import next_command

    with RunView(log_file(f"adapt-{workspace.name}")) as view, explained():
        view.take_log(is_news)
        how = {"labelled": labelled, "force": force, "reason": reason}
        decision = flow(relative(params), overrides, name, images, version, **how)
    if as_json:
        print(json.dumps(asdict(decision), indent=2))
        return 0
    print("\n".join(decision.lines))
    if decision.outcome == "proposed":
        print(f"next   {next_command(workspace, 'promote', '--version', decision.version)}")
    return 0
