"""What ``eyas watch`` does in a project; heavy imports wait until a command needs them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from eyas.cli.terminal import echo, terminal_width
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
    """One line per window of images, an alarm where drift begins; with ``once`` 3 where a window drifted, else 0.

    The advice is told at the end; of images that go on coming, where drift begins.
    """
    named = checked(params, overrides, name)
    from tasks.image_fit import image_warning
    from tasks.next_command import next_command, next_lines, path_for_command
    from tasks.predict import LAST_RUN, instead_of_champion
    from tasks.watch import even_windows, look_on, look_once, open_made_in, open_watcher, raise_alarm
    from tasks.watch_conclusion import conclusion

    dates = named.params.adapt.dates
    there = even_windows(folder, window, dates) if once else []
    workspace = open_made_in(named, version, overrides, name)
    taken, chosen = instead_of_champion(workspace, version)
    chosen = ("--version", version) if version else chosen
    if taken:
        echo(taken, err=True)
    how = {"window": window, "false_alarm_rate": false_alarm_rate, "folder": folder}
    with open_watcher(workspace, version, reference, **how) as watcher:
        of = "" if workspace is named else f", in the profile that made it ({workspace.title}),"
        what = _in_words(there) if once else f"{window} images at a time, as they come"
        echo(f"{watcher.name}{of} watches {folder}: {what}", err=True)
        windows = look_once(watcher, there) if once else look_on(watcher, folder, window, seconds, dates=dates)
        before: DriftReport | None = None
        looked: list[WatchedWindow] = []
        for seen in windows:
            if before is None and (told := image_warning(workspace, watcher.name, watcher.exported.folder, seen.files)):
                echo(told, err=True)
            begins = seen.report.drift and not (before and before.drift)
            _show(seen, out, as_json=as_json, advice=begins and not once)
            raise_alarm(workspace, seen, before)
            before = seen.report
            looked += [seen] if once else []
    for line in [] if as_json else conclusion(looked):
        echo(line)
    helps = any(seen.report.adapt for seen in looked)
    if helps and LAST_RUN not in chosen and not as_json:  # the last run is no version that could be adapted
        adapt = next_command(named, "adapt", path_for_command(named.root, folder), *chosen)
        print("\n".join(next_lines([adapt], terminal_width())))
    return RefusedError.exit_status if any(seen.report.drift for seen in looked) else 0


def _in_words(windows: Sequence[Sequence[Path]]) -> str:
    sizes = sorted({len(files) for files in windows})
    each = " or ".join(map(str, sizes))
    if len(windows) == 1:
        return f"all {each} images as one window, which is judged as a whole (--window N: in windows of N or more)"
    images = sum(map(len, windows))
    return f"{images} images in {len(windows)} windows of {each}, each judged as a whole (--window N: of N or more)"


def _show(seen: "WatchedWindow", out: Path | None, *, as_json: bool, advice: bool) -> None:
    for file, reason in seen.unreadable.items():
        echo(f"{file}: {reason}", err=True)
    whole = {"window": seen.number, "files": [str(file) for file in seen.files], **seen.report.model_dump(mode="json")}
    if as_json:
        print(json.dumps(whole), flush=True)
    else:
        echo(seen.line() if advice else seen.seen)
    if out:
        place = out / f"window-{seen.number:04d}"
        place.with_suffix(".json").write_text(json.dumps(whole, indent=2))
        place.with_suffix(".txt").write_text("\n".join(seen.report.lines()) + "\n")
        seen.report.draw(place.with_suffix(".png"))
