"""What ``eyas watch`` does in a project; heavy imports wait until a command needs them."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from eyas.errors import RefusedError
from flows.named_profile import checked

if TYPE_CHECKING:
    from eyas.adaptation.drift import DriftReport
    from tasks.watch import WatchedWindow


def watch(
    params: Path | None,
    overrides: Sequence[str],
    name: str | None,
    folder: Path,
    *,
    version: str | None,
    reference: Path | None,
    window: int,
    false_alarm_rate: float,
    once: bool,
    seconds: float,
    out: Path | None,
    as_json: bool,
) -> int:
    """One line per window of images, an alarm where drift begins; with ``once`` 3 where a window drifted, else 0."""
    workspace = checked(params, overrides, name)
    from tasks.watch import look_on, look_once, open_watcher, raise_alarm

    how = {"window": window, "false_alarm_rate": false_alarm_rate}
    with open_watcher(workspace, version, reference, **how) as watcher:
        print(f"{watcher.name} watches {folder}", file=sys.stderr, flush=True)
        windows = look_once(watcher, folder, window) if once else look_on(watcher, folder, window, seconds)
        before: DriftReport | None = None
        drifted = False
        for seen in windows:
            _show(seen, out, as_json=as_json)
            raise_alarm(workspace, seen, before)
            before, drifted = seen.report, drifted or seen.report.drift
    return RefusedError.exit_status if drifted else 0


def _show(seen: "WatchedWindow", out: Path | None, *, as_json: bool) -> None:
    for file, reason in seen.unreadable.items():
        print(f"{file}: {reason}", file=sys.stderr)
    whole = {"window": seen.number, "files": [str(file) for file in seen.files], **seen.report.model_dump(mode="json")}
    print(json.dumps(whole) if as_json else seen.line(), flush=True)
    if out:
        place = out / f"window-{seen.number:04d}"
        place.with_suffix(".json").write_text(json.dumps(whole, indent=2))
        place.with_suffix(".txt").write_text("\n".join(seen.report.lines()) + "\n")
        seen.report.draw(place.with_suffix(".png"))
