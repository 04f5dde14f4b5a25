"""The time that a step will still take, beside its bar."""

from rich.progress import Task, TimeRemainingColumn
from rich.text import Text

MARK = " left"
"""Of a step's own text that tells a time, which knows better."""


class TimeLeft(TimeRemainingColumn):
    """``0:01:40 left``, as the pace so far has it; nothing where that is unknown or none, or where the text says it."""

    def render(self, task: Task) -> Text:
        """Beside one bar."""
        if not task.time_remaining or MARK in task.fields["text"]:
            return Text("")
        return super().render(task).append(MARK)
