"""Peak memory of one exported file: a process of its own loads and runs it, and says what that took."""

import json
import resource
import subprocess
import sys
from pathlib import Path

from eyas.deploy.latency.exported_files import call
from eyas.deploy.runtimes import Runtime
from eyas.errors import ExportError

RUNS = 5


def peak_memory(path: Path, shape: tuple[int, ...], threads: int = 1) -> int:
    """Bytes above those of a process that only imported the runtime.

    Args:
        path: the file.
        shape: of the images of one run, ``(N, C, H, W)``.
        threads: of the session.

    Raises:
        ExportError: the process failed.
    """
    command = [sys.executable, "-m", __name__, str(path), json.dumps(shape), str(threads)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        msg = f"{path}: the process that measures its memory failed ({reason:.300})"
        raise ExportError(msg)
    return int(done.stdout.strip().splitlines()[-1])


def _main(path: Path, shape: tuple[int, ...], threads: int) -> int:
    runtime = Runtime.of(path)
    runtime.load()
    before = _peak()
    run = call(runtime.open(path, threads), shape)
    for _ in range(RUNS):
        run()
    return _peak() - before


def _peak() -> int:
    """Most bytes this process held; on Linux not by ``getrusage``, which goes on from the process that started it."""
    status = Path("/proc/self/status")
    if not status.exists():
        return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    (line,) = [line for line in status.read_text().splitlines() if line.startswith("VmHWM:")]
    return 1024 * int(line.split()[1])


if __name__ == "__main__":
    taken = _main(Path(sys.argv[1]), tuple(json.loads(sys.argv[2])), int(sys.argv[3]))
    sys.stdout.write(f"{taken}\n")
