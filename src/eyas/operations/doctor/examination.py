"""All looks, in the order in which they are told; one that fails itself is a finding, too."""

from collections.abc import Callable, Iterator
from pathlib import Path

from eyas.operations.doctor import installation, machine, services
from eyas.operations.doctor.finding import Finding

Look = Callable[[Path], Iterator[Finding]]
LOOKS: dict[str, Look] = {
    "python": installation.look_at_python,
    "packages": installation.look_at_packages,
    "extras": installation.look_at_extras,
    "programs": installation.look_at_programs,
    "device": machine.look_at_device,
    "memory": machine.look_at_memory,
    "disk": machine.look_at_disk,
    "EYAS_DATA": machine.look_at_data,
    "ports": services.look_at_ports,
    "servers": services.look_at_servers,
    "runs": services.look_at_runs,
}
OF_PROJECT = ("runs",)
"""Looks that say nothing outside of a checkout."""


def examine(project: Path | None, here: Path) -> list[Finding]:
    """Everything that there is to say of this machine, this installation and the project.

    Args:
        project: the checkout; None where there is none at or above ``here``.
        here: where the person stands.
    """
    if project is None:
        advice = "go to a folder that holds dvc.yaml, params.yaml and flows, or below it"
        first = Finding("project", "fault", f"none at or above {here}", advice)
    else:
        first = Finding("project", "good", str(project))
    looks = {name: look for name, look in LOOKS.items() if project or name not in OF_PROJECT}
    return [first, *(finding for name, look in looks.items() for finding in _guarded(name, look, project or here))]


def _guarded(name: str, look: Look, folder: Path) -> list[Finding]:
    try:
        return list(look(folder))
    except Exception as error:  # a doctor that breaks down at a broken installation would help nobody
        return [Finding(name, "fault", f"cannot be looked at ({type(error).__name__}: {error})", "make setup")]
