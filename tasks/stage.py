"""What every stage shares: reading parameters, seeding threads, writing metrics, explaining errors.

A stage is a plain function ``(params, artifacts, progress) -> metrics``; ``main`` makes it a process that reads
``params.yaml`` and files under ``artifacts/`` of the working directory and writes ``artifacts/<stage>/``.
"""

import json
import logging
import os
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eyas.config import PipelineParams, RuntimeParams, load_params
from eyas.errors import EyasError
from eyas.parallel import cores, share_threads
from eyas.progress import Progress, silent
from eyas.storage.disk_space import describe_full_disk

if TYPE_CHECKING:
    from eyas.training.data_parallel import Processes

Metrics = Mapping[str, float | int]
Stage = Callable[[PipelineParams, Path, Progress], Metrics]


def main(
    name: str,
    stage: Stage,
    fields: Mapping[str, str] | None = None,
    *,
    start: "Callable[[RuntimeParams], Processes] | None" = None,
) -> None:
    """Run a stage in the working directory and leave with its exit status.

    Args:
        name: of the stage.
        stage: what it does.
        fields: what stands in ``params.yaml`` for each argument of the library that an error may name.
        start: starts the processes that do it together, if any; the first alone writes and tells progress.
    """
    log = logging.StreamHandler(sys.stdout)
    log.setFormatter(EventFormatter(fields))
    logging.basicConfig(level=logging.INFO, handlers=[log], force=True)
    who, first = name, True
    try:
        params = load_params(runtime=json.loads(os.environ.get("EYAS_RUNTIME", "{}")))
        if start is not None:
            first = start(params.runtime).first
            who = name if first else f"another process of {name}"
        configure_torch(params.runtime, processes=1 if start is None else params.runtime.processes)
        artifacts = Path("artifacts")
        folder = artifacts / name
        folder.mkdir(parents=True, exist_ok=True)
        metrics = stage(params, artifacts, _json_lines(name) if first else silent)
        if first:
            write_json(folder / "metrics.json", dict(metrics))
    except EyasError as error:
        print(f"{who}: {name_fields(str(error), fields or {})}", file=sys.stderr, flush=True)  # noqa: T201
        sys.exit(error.exit_status)
    except PermissionError as error:
        print(f"{who}: no permission to write {error.filename}: {error.strerror}", file=sys.stderr)  # noqa: T201
        sys.exit(2)
    except Exception as error:
        full = describe_full_disk(error)
        if full is None:
            raise
        print(f"{who}: {full}", file=sys.stderr)  # noqa: T201
        sys.exit(1)


def name_fields(message: str, fields: Mapping[str, str]) -> str:
    """A message of the library with fields of ``params.yaml`` where it names arguments, which it does in backticks."""
    return re.sub(r"`(\w+)`", lambda argument: fields.get(argument[1], argument[0]), message)


def write_json(path: Path, content: Any) -> None:
    """Write JSON in one form (sorted, indented), so that equal content is equal bytes."""
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")


def configure_torch(runtime: RuntimeParams, *, processes: int = 1) -> None:
    """Set threads, and ask for deterministic kernels: the same seed gives the same bytes on the CPU."""
    import torch

    torch.set_num_threads(share_threads(cores(), workers=processes, wanted=runtime.threads))
    torch.use_deterministic_algorithms(mode=True, warn_only=True)


def device(runtime: RuntimeParams) -> str:
    """``cpu`` or ``cuda``, as set or as found."""
    import torch

    if runtime.device != "auto":
        return runtime.device
    return "cuda" if torch.cuda.is_available() else "cpu"


class EventFormatter(logging.Formatter):
    """Messages with fields for the library's arguments; warnings as events, so that who drives the stage knows them."""

    def __init__(self, fields: Mapping[str, str] | None = None) -> None:
        super().__init__()
        self._fields = fields or {}

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        text = name_fields(super().format(record), self._fields)
        return text if record.levelno < logging.WARNING else json.dumps({"event": "warning", "text": text})


def _json_lines(name: str) -> Progress:
    """Progress as JSON lines on the standard output."""

    def report(done: int, total: int, text: str = "") -> None:
        event = {"event": "progress", "stage": name, "done": done, "total": total, "text": text}
        print(json.dumps(event), flush=True)  # noqa: T201

    return report
