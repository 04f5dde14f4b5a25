"""The machine: device, cores, memory, disk, data."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from eyas.operations.doctor.finding import Finding
from eyas.parallel import cores

GIB = 2**30
LEAST_MEMORY, LEAST_DISK, AMPLE_DISK = 1 * GIB, 1 * GIB, 5 * GIB
DATA_VARIABLE = "EYAS_DATA"
WRITTEN = (".eyas", "artifacts", "workspaces")


def look_at_device(_: Path) -> Iterator[Finding]:
    """Where networks are computed."""
    import torch

    names = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    yield Finding("device", "good", ", ".join(names) if names else f"CPU, {cores()} cores (torch sees no CUDA device)")


def look_at_memory(_: Path) -> Iterator[Finding]:
    """What is free of it."""
    import psutil

    memory = psutil.virtual_memory()
    text = f"{memory.available / GIB:.1f} of {memory.total / GIB:.1f} GiB free"
    enough = memory.available >= LEAST_MEMORY
    advice = "" if enough else "end other programs, or lower score.batch_size"
    yield Finding("memory", "good" if enough else "note", text, advice)


def look_at_disk(folder: Path) -> Iterator[Finding]:
    """What is free where the project lies, and whether it may be written."""
    usage = shutil.disk_usage(folder)
    text = f"{usage.free / GIB:.1f} of {usage.total / GIB:.1f} GiB free at {folder}"
    advice = "free some: a run stops where the disk is full" if usage.free < AMPLE_DISK else ""
    state = "fault" if usage.free < LEAST_DISK else "note" if advice else "good"
    yield Finding("disk", state, text, advice)  # type: ignore[arg-type]
    places = [
        place for place in (folder, folder / ".eyas", folder / "artifacts", folder / "workspaces") if place.exists()
    ]
    closed = [str(place) for place in places if not os.access(place, os.W_OK | os.X_OK)]
    if closed:
        yield Finding("write access", "fault", f"none to {', '.join(closed)}", "let this user own the folder")
    else:
        yield Finding("write access", "good", "to the project and its state")


def look_at_data(_: Path) -> Iterator[Finding]:
    """The place of real data, which tests and some parameter files name."""
    place = os.environ.get(DATA_VARIABLE)
    if not place:
        advice = f"export {DATA_VARIABLE}=FOLDER for tests on real data and configs/*.yaml"
        yield Finding(DATA_VARIABLE, "note", "not set", advice)
    elif Path(place).is_dir():
        yield Finding(DATA_VARIABLE, "good", place)
    else:
        yield Finding(DATA_VARIABLE, "note", f"{place} is no folder", f"correct or unset {DATA_VARIABLE}")
