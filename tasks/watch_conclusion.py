"""What ``eyas watch --once`` concludes from all of its windows: each advice once, and what their order explains."""

import re
from collections.abc import Sequence

from eyas.adaptation.drift.drift_words import CLASS_BALANCE
from tasks.watch import WatchedWindow

_NUMBER = re.compile(r"\d[\d.]*")


def conclusion(windows: Sequence[WatchedWindow]) -> list[str]:
    """A line for each advice that differs in more than its numbers, and one about the order of the images."""
    groups: dict[str, list[WatchedWindow]] = {}
    for window in windows:
        if window.report.drift:
            groups.setdefault(_NUMBER.sub("", window.report.advice), []).append(window)
    advice = [_advice(group, len(windows)) for group in groups.values()]
    return [*advice, *filter(None, [order_hint(windows)])]


def order_hint(windows: Sequence[WatchedWindow]) -> str:
    """What to do where windows differ by their classes alone because images come class by class; else empty."""
    drifted = [window for window in windows if window.report.drift]
    if len(windows) < 2 or not drifted or any(window.report.changes != (CLASS_BALANCE,) for window in drifted):
        return ""
    folders = {file.parent for window in windows for file in window.files}
    in_window = max(len({file.parent for file in window.files}) for window in drifted)
    if in_window >= len(folders):
        return ""
    images = sum(len(window.files) + len(window.unreadable) for window in windows)
    return (
        f"only the classes differ, and images are taken folder by folder (at most {in_window} of {len(folders)} "
        f"folders in such a window): if each folder is a class, this is their order and no change; --window {images} "
        "judges all as one"
    )


def _advice(group: Sequence[WatchedWindow], windows: int) -> str:
    first, *others = group
    of = f" ({_numbers([window.number for window in group])})" if windows > 1 else ""
    same = all(window.report.advice == first.report.advice for window in others)
    return f"advice{of}: {first.report.advice}" + ("" if same else f" (its number is that of window {first.number})")


def _numbers(numbers: Sequence[int]) -> str:
    """As in ``windows 1 to 3`` or ``windows 1 and 3``."""
    *others, last = numbers
    if not others:
        return f"window {last}"
    if len(others) > 1 and last - others[0] == len(others):
        return f"windows {others[0]} to {last}"
    return f"windows {', '.join(map(str, others))} and {last}"
