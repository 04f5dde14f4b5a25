"""Peak memory of one exported file: a process of its own loads and runs it, and says what that took."""

import json
import resource
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from eyas.deploy.latency.exported_files import call
from eyas.deploy.runtimes import Runtime
from eyas.errors import ExportError

RUNS = 5


def peak_memory(path: Path, shape: tuple[int, ...], batches: Sequence[int], threads: int = 1) -> dict[int, int]:
    """Bytes above those of a process that only imported the runtime, by batch.

    Args:
        path: the file.
        shape: of one image, ``(C, H, W)``.
        batches: images per run; smaller ones run first, for memory that was taken once is seldom given back.
        threads: of the session.

    Raises:
        ExportError: the process failed.
    """
    command = [sys.executable, "-m", __name__, str(path), json.dumps([shape, sorted(batches), threads])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        msg = f"{path}: the process that measures its memory failed ({reason:.300})"
        raise ExportError(msg)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def _main(path: Path, shape: tuple[int, ...], batches: Sequence[int], threads: int) -> list[tuple[int, int]]:
    runtime = Runtime.of(path)
    runtime.load()
    before, taken = _peak(), []
    session = runtime.open(path, threads)
    for batch in batches:
        run = call(session, (batch, *shape))
        for _ in range(RUNS):
            run()
        taken.append((batch, _peak() - before))
    return taken


def _peak() -> int:
    """Most bytes this process held; on Linux not by ``getrusage``, which goes on from the process that started it."""
    status = Path("/proc/self/status")
    if not status.exists():
        return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    (line,) = [line for line in status.read_text().splitlines() if line.startswith("VmHWM:")]
    return 1024 * int(line.split()[1])


if __name__ == "__main__":
    sys.stdout.write(json.dumps(_main(Path(sys.argv[1]), *json.loads(sys.argv[2]))) + "\n")
