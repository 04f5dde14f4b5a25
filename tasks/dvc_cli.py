"""The one place that talks to DVC: its command line, ``dvc.yaml`` and ``dvc.lock``."""

import contextlib
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

from eyas.config.safe_yaml import load_yaml
from eyas.errors import BadInputError, EyasError
from eyas.storage.disk_space import describe_full_disk

GRACE_SECONDS = 2
TAIL_LINES = 40
BUSY_SECONDS = 1800
BUSY_POLL_SECONDS = 1.0
_EXIT_STATUS = re.compile(r"exited with (-?\d+)")
_BUSY = re.compile(r"is busy, it is being blocked by")
_SKIPPED = re.compile(r"didn't change, skipping|is cached - skipping run")


class StageError(EyasError):
    """A stage failed; carries its name, exit status, own message and the end of its log."""

    def __init__(self, stage: str, status: int, message: str, tail: str) -> None:
        super().__init__(f"stage {stage} failed (exit status {status}): {message}")
        self.stage, self.exit_status, self.message, self.tail = stage, status, message, tail

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.stage, self.exit_status, self.message, self.tail)


@dataclass(frozen=True)
class StageResult:
    """What ``dvc repro`` of one stage did."""

    stage: str
    skipped: bool
    key: str


def stage_names(folder: Path) -> list[str]:
    """The stages of ``dvc.yaml`` in an order that respects what each depends on."""
    stages = load_yaml((folder / "dvc.yaml").read_text(), "dvc.yaml")["stages"]
    makers = {out: name for name, stage in stages.items() for out in _outputs(stage)}
    graph = {name: {makers[dep] for dep in stage["deps"] if dep in makers} for name, stage in stages.items()}
    return list(TopologicalSorter(graph).static_order())


def stage_key(folder: Path, stage: str) -> str:
    """Hash of a stage's command, dependencies and parameters, as ``dvc.lock`` holds them."""
    lock = load_yaml((folder / "dvc.lock").read_text(), "dvc.lock")["stages"][stage]
    content = {part: lock.get(part) for part in ("cmd", "deps", "params")}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def stage_keys(folder: Path) -> dict[str, str]:
    """:func:`stage_key` of every stage.

    Raises:
        BadInputError: there is no ``dvc.lock``, or it lacks a stage.
    """
    try:
        return {stage: stage_key(folder, stage) for stage in stage_names(folder)}
    except (FileNotFoundError, KeyError) as error:
        msg = f"{folder / 'dvc.lock'} does not hold every stage of dvc.yaml ({error}): run the pipeline"
        raise BadInputError(msg) from error


def repro_stage(
    folder: Path,
    stage: str,
    environment: Mapping[str, str],
    on_line: Callable[[str], None],
    *,
    force: bool = False,
) -> StageResult:
    """Run ``dvc repro`` for one stage, handing every line it prints to ``on_line``.

    ``--wait-for-lock`` waits for DVC's own lock only; paths that another DVC process is writing are waited for
    here. The stage's whole process group ends when this function is left, however it is left.

    Raises:
        StageError: the stage, or DVC itself, failed.
    """
    command = [
        sys.executable,
        "-m",
        "dvc",
        "--wait-for-lock",
        "repro",
        "-s",
        stage,
        *(["--force"] if force else []),
    ]
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        status, tail, skipped = _run(command, folder, environment, on_line)
        if status == 0:
            return StageResult(stage, skipped, stage_key(folder, stage))
        if not any(_BUSY.search(line) for line in tail) or time.monotonic() > deadline:
            raise _failure(stage, tail)
        time.sleep(BUSY_POLL_SECONDS)


def _run(
    command: list[str], folder: Path, environment: Mapping[str, str], on_line: Callable[[str], None]
) -> tuple[int, list[str], bool]:
    """Exit status, the last lines, and whether DVC had nothing to run."""
    tail: deque[str] = deque(maxlen=TAIL_LINES)
    skipped = False
    process = subprocess.Popen(
        command, cwd=folder, env=dict(environment), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, errors="replace", start_new_session=True,
    )  # fmt: skip
    try:
        for raw in process.stdout or ():
            line = raw.rstrip("\n")
            skipped = skipped or bool(_SKIPPED.search(line))
            if not line.startswith('{"event"'):
                tail.append(line)
            on_line(line)
        return process.wait(), list(tail), skipped
    finally:
        _end_group(process)


def _failure(stage: str, tail: list[str]) -> StageError:
    """The stage's own message: what it printed last before DVC said that it failed."""
    text = "\n".join(tail)
    statuses = _EXIT_STATUS.findall(text)
    own = [line for line in tail if line.startswith(f"{stage}: ")]
    after = tail[tail.index(own[-1]) :] if own else tail[-5:]
    message = [line for line in after if line.strip() and not (own and line.startswith("ERROR: failed to reproduce"))]
    output = "\n".join(message) or "no output"
    output = output if own else describe_full_disk(OSError(text)) or output
    return StageError(stage, int(statuses[-1]) if statuses else 1, output.removeprefix(f"{stage}: "), text)


def _end_group(process: subprocess.Popen[str]) -> None:
    """End the stage and everything it started: politely first."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
        killer = threading.Timer(GRACE_SECONDS, lambda: _kill(process.pid))
        killer.start()
        process.wait()
        killer.cancel()
    if process.stdout:
        process.stdout.close()


def _kill(group: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def _outputs(stage: Mapping[str, Any]) -> list[str]:
    """Paths a stage writes; DVC lets each be a string or ``{path: options}``."""
    entries = [*stage.get("outs", []), *stage.get("metrics", []), *stage.get("plots", [])]
    return [entry if isinstance(entry, str) else next(iter(entry)) for entry in entries]
