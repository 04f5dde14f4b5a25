"""How a command ends before its time: Ctrl-C, SIGTERM, a closed terminal, a server that is gone.

A command that has nothing to close ends at once, with all that it started: libraries that are interrupted while they
are imported abort, or make another error of it. Where a flow or servers are to be closed, the first signal raises
:class:`Stopped` where the command is at work. The second one, or the first where closing takes longer than it may,
ends it like the others; what stays open in a record then is closed by the next run.

Raised in the middle of a library, an exception may be lost (what a callback of the garbage collector raises is
ignored) or leave a lock behind: what writes records does so in :func:`uninterrupted`.
"""

import contextlib
import os
import shlex
import signal
import threading
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import NoReturn, Self

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
INTERRUPTED, FAILED = 130, 1
SHOW_CURSOR = "\r\x1b[K\x1b[?25h"
"""Wipes the line of a bar and brings back the cursor that it hid."""
LONGEST_DELAY = 3.0
"""Seconds for which :func:`uninterrupted` holds a signal back: what takes longer is stopped in its middle."""


class Stopped(KeyboardInterrupt):
    """A signal, or a lost server, ended the command; says why."""

    def __init__(self, reason: str, status: int) -> None:
        super().__init__(reason)
        self.status = status
        """With which the command leaves."""


class Interruption:
    """The handler of the signals that end a command; :meth:`current` has it for whoever must know.

    Args:
        command: what to type to go on.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self.command = command
        self.patience: float | None = 0.0
        """Seconds that closing may take, if there is something to close; None where it takes as long as it must."""
        self.stopped: Stopped | None = None
        self.lost: str | None = None
        self._told, self._telling = False, threading.RLock()
        self._depth, self._due, self._reminded = 0, False, False

    @classmethod
    def current(cls) -> Self | None:
        """The one that handles the signals of this process; None in a worker's process or a test."""
        handler = signal.getsignal(signal.SIGINT)
        return handler if isinstance(handler, cls) else None

    def install(self) -> None:
        """Handle the signals; a shell that starts us in the background leaves SIGINT ignored, ``nohup`` SIGHUP."""
        for number in SIGNALS:
            if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self)

    def lose(self, message: str) -> None:
        """End the command, from any of its threads, because of what it cannot go on without."""
        self.lost = message
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    def __call__(self, number: int, _: FrameType | None) -> None:
        """Take a signal."""
        if self._reminded:
            self._reminded = False
            if self._due:
                self._raise()
            return
        if self.stopped:
            self._end()
        name = signal.Signals(number).name
        self.stopped = Stopped(self.lost, FAILED) if self.lost else Stopped(f"stopped by {name}", INTERRUPTED)
        if self.patience == 0:
            self._end()
        if self.patience is not None:
            watchdog = threading.Timer(self.patience, self._end)
            watchdog.daemon = True
            watchdog.start()
        if not self._depth:
            raise self.stopped
        self._hold_back()

    @contextlib.contextmanager
    def uninterrupted(self, *, closing: bool = False) -> Iterator[None]:
        """See the function of this name."""
        if self.stopped and not self._due and not closing:
            raise self.stopped
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1
            if self._due and not self._depth:
                self._raise()

    def line(self) -> str:
        """What to say: where it continues."""
        from eyas.storage import redact

        reason = f"error: {self.lost}" if self.lost else "stopped"
        return redact(f"{reason}; go on with: {shlex.join(self.command)}")

    def tells(self) -> bool:
        """Whether who asks is the first to say how the command ended: it is said once."""
        with self._telling:
            told, self._told = self._told, True
        return not told

    def _hold_back(self) -> None:
        self._due = True

        def remind() -> None:
            if self._due:
                self._reminded = True
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

        reminder = threading.Timer(LONGEST_DELAY, remind)
        reminder.daemon = True
        reminder.start()

    def _raise(self) -> NoReturn:
        self._due = False
        assert self.stopped is not None
        raise self.stopped

    def _end(self) -> NoReturn:
        """Leave nothing running, neither this process nor what it started."""
        import psutil

        if self.tells():  # before anything is killed that another thread may miss
            clean = SHOW_CURSOR if os.isatty(2) else ""
            os.write(2, f"{clean}{self.line()}\n".encode())
        for process in psutil.Process().children(recursive=True):
            process.kill()
        os._exit(self.stopped.status if self.stopped else FAILED)


@contextlib.contextmanager
def uninterrupted(*, closing: bool = False) -> Iterator[None]:
    """Write a record to its end: a signal that comes meanwhile is raised when this is left, or after three seconds.

    One that came before, and was lost by a library, is raised again at once. Does nothing in a process that handles
    signals otherwise.

    Args:
        closing: the record is closed, also after a signal.
    """
    command = Interruption.current()
    with command.uninterrupted(closing=closing) if command else contextlib.nullcontext():
        yield
