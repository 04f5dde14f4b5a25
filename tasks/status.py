"""What the registry holds and what happened last, as lines for the terminal."""

import json
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from eyas.cli.terminal import wrapped
from eyas.data.comparability import Comparability
from eyas.data.tasks import deciding
from eyas.operations.tracking import Version
from eyas.operations.tracking.adaptation_run import parent_of
from eyas.operations.tracking.alias_move import DECISION, NO_REASON, REASON, ROLLED_BACK
from eyas.operations.tracking.candidate_alias import budget_words
from eyas.operations.tracking.status import RunSummary, Status, read_status
from tasks.adapted_gates import gain_words
from tasks.given_places import path_from_here
from tasks.next_command import complete, next_command
from tasks.profile_name import profile_title
from tasks.tracking_store import is_unused, open_store
from tasks.workspace import Workspace
from tasks.workspace_files import recorded_arguments

MOST_OTHERS = 8
"""Workspaces that are listed beside the one that is asked about."""


def status_lines(workspace: Workspace, runs: int = 8, *, verbose: bool = False, width: int | None = None) -> list[str]:
    """Champion, previous, candidate and the last runs of this model, a line each.

    Args:
        workspace: whose model is asked about.
        runs: how many of them.
        verbose: tell reasons whole, not in short.
        width: of a line, where a terminal has one.
    """
    name = workspace.params.register_.model
    status = Status(name) if is_unused(workspace) else read_status(open_store(workspace), name, runs)
    aliases = {"champion": status.champion, "previous": status.previous, "candidate": status.candidate}
    aliases |= status.others
    column = max(10, *map(len, aliases))
    described = {
        alias: complete(_describe(alias, version, whole=verbose), workspace) for alias, version in aliases.items()
    }
    lines = [f"{alias:{column}} {told}" for alias, told in described.items()]
    known = ", ".join(status.models) or "none"
    unknown = "" if status.name in status.models else f" (not registered yet; registered models: {known})"
    profile = f"{'profile':{column}} {workspace.title}, in {path_from_here(workspace.folder)}"
    kinds = max((len(run.kind) for run in status.runs), default=0)
    told = [*lines, "", *(_run_line(run, kinds) for run in status.runs)]
    shortened = any(version and _failed(version) for version in aliases.values())
    whole = (
        [f"{'reasons':{column}} {next_command(workspace, 'status', '--verbose')}"] if shortened and not verbose else []
    )
    lines = [f"{'model':{column}} {status.name}{unknown}", profile, *_others(workspace, column), *told, *whole]
    return [part for line in lines for part in wrapped(line, width, _hanging(line, column + 1)).split("\n")]


def _hanging(line: str, column: int) -> int:
    """What goes on stands below the words of its line, behind the column of the labels."""
    return max(column - (len(line) - len(line.lstrip())), 0)


def _others(workspace: Workspace, column: int) -> list[str]:
    """The other workspaces of this checkout, by what their profiles set, the one that was used last first."""
    folders = [path.parent for path in (workspace.root / "workspaces").glob("*/params.yaml")]
    others = sorted((one for one in folders if one != workspace.folder), key=_last_used, reverse=True)
    titles = [
        f"{profile_title(one.name, recorded_arguments(one))}, in {path_from_here(one)}" for one in others[:MOST_OTHERS]
    ]
    hidden = len(others) - len(titles)
    more = [f"{hidden} more in {path_from_here(workspace.root / 'workspaces')}"] if hidden else []
    return [f"{'' if number else 'others':<{column}} {line}" for number, line in enumerate([*titles, *more])]


def _last_used(folder: Path) -> float:
    return max(path.stat().st_mtime for path in (folder / "params.yaml", folder / "dvc.lock") if path.exists())


def _describe(alias: str, version: Version | None, *, whole: bool) -> str:
    if version is None:
        return "none: no version waits for promotion" if alias == "candidate" else "none"
    reason = _reason(version) if whole else in_short(version)
    return f"{', '.join([f'version {version.number}', *what_is_known(version)])}; {reason}"


def in_short(version: Version) -> str:
    """What became of a version in a few words: the gates that refused it by their names."""
    tags = version.tags
    if ROLLED_BACK in tags or DECISION not in tags:
        return _reason(version)
    decision = json.loads(tags[DECISION])
    against = f"against version {decision['champion']}" if decision["champion"] else "no champion before"
    failed = _failed(version)
    gates = f"not held: {', '.join(failed)}" if failed else "every gate held"
    limits = f" with {', '.join(decision['limits'])}" if decision.get("limits") else ""
    beside = f"; {decision['beside']}" if decision.get("beside") else ""
    return f"{decision['outcome']} ({against}), {gates}{limits}{beside}"


def _failed(version: Version) -> list[str]:
    """The gates that a version did not pass, whose numbers are told whole alone; none of one that was rolled back."""
    if ROLLED_BACK in version.tags or DECISION not in version.tags:
        return []
    return [name for name, (_, _, passed) in json.loads(version.tags[DECISION])["gates"].items() if not passed]


def what_is_known(version: Version) -> list[str]:
    """The budget of a version and what it is worth, as far as its tags say, in words."""
    seen = Comparability.from_tags(version.tags) or Comparability()
    caution = "" if seen.comparable else " on images that it may have seen"
    known = [budget_words(version)]
    with suppress(KeyError):
        measure, value = deciding(version.metrics, "finetune.test_")
        known.append(f"test {measure} {100 * value:.2f} %{caution}")
    parent = parent_of(version)
    known += [f"adapted from version {parent[1]} to images of the field, which test images are not"] if parent else []
    return [words for words in known if words]


def _reason(version: Version) -> str:
    mark = version.tags.get(ROLLED_BACK)
    if mark is not None:
        return f"rolled back: {json.loads(mark)['reason'] or NO_REASON}"
    return version.tags.get(REASON) or "; ".join(filter(None, ("not judged yet", gain_words(version))))


def _run_line(run: RunSummary, kinds: int) -> str:
    when = datetime.fromtimestamp(run.started / 1000, UTC).strftime("%Y-%m-%d %H:%M")
    why = run.why.split("\n", 1)[0]
    return f"{when}  {run.kind:{kinds}}  {run.status:11}  {run.name}{'  ' + why if why else ''}"
