"""What is installed: Python, the packages of the lock, optional extras, programs."""

import importlib.metadata
import importlib.util
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from eyas.operations.doctor.finding import Finding

OLDEST = (3, 11)
LOCK = "requirements.lock"
SHOWN = 5
EXTRAS = {
    "openvino": "Intel devices",
    "executorch": "phones and microcontrollers",
    "ray": "scoring on a cluster",
    "optuna": "its samplers",
    "lightning_fabric": "training by several processes",
    "torchvision": "its architectures",
    "timm": "its architectures",
}
"""What one would want each optional package for."""
EXTRAS_OF_EYAS = ("openvino", "executorch", "ray", "optuna")
PROGRAMS = {
    "git": "versions then tell no commit: install git",
    "make": "type what the Makefile holds: it calls .venv/bin/eyas",
    "postgres": "only `eyas servers` needs PostgreSQL (or give it --database)",
}


def look_at_python(_: Path) -> Iterator[Finding]:
    """Its version, and where it lies."""
    version = ".".join(map(str, sys.version_info[:3]))
    new = sys.version_info[:2] >= OLDEST
    advice = "" if new else "make setup PYTHON=python3.11"
    yield Finding("python", "good" if new else "fault", f"{version} in {sys.prefix}", advice)


def look_at_packages(project: Path) -> Iterator[Finding]:
    """Those that matter most, and all of the lock."""
    own = " ".join(f"{name} {_version(name) or 'missing'}" for name in ("eyas", "torch", "prefect", "mlflow", "dvc"))
    lock = project / LOCK
    if not lock.exists():
        yield Finding("packages", "note", f"{own}; no {LOCK} to compare with")
        return
    wanted = dict(re.findall(r"^([\w.-]+)==([^\s;]+)", lock.read_text(), re.MULTILINE))
    installed = {name: _version(name) for name in wanted}
    missing = [name for name, version in installed.items() if version is None]
    other = [
        f"{name} {version} (locked {wanted[name]})"
        for name, version in installed.items()
        if version and version.partition("+")[0] != wanted[name].partition("+")[0]
    ]
    if missing:
        yield Finding(
            "packages", "fault", f"{own}; {len(missing)} of {LOCK} are missing ({_some(missing)})", "make setup"
        )
    elif other:
        yield Finding("packages", "note", f"{own}; {len(other)} differ from {LOCK} ({_some(other)})", "make setup")
    else:
        yield Finding("packages", "good", f"{own}; all {len(wanted)} as in {LOCK}")


def look_at_extras(_: Path) -> Iterator[Finding]:
    """What is optional: those that are there, and those that are not, with what they would be wanted for."""
    there = {name: _version(name) for name in EXTRAS if importlib.util.find_spec(name)}
    if there:
        yield Finding("extras", "good", ", ".join(f"{name} {version or ''}".strip() for name, version in there.items()))
    missing = [name for name in EXTRAS if name not in there]
    if missing:
        uses = ", ".join(f"{name} ({EXTRAS[name]}: pip install {_extra(name)})" for name in missing)
        yield Finding("extras", "note", f"not installed, and only if wanted: {uses}")


def _extra(name: str) -> str:
    """What brings an optional package."""
    return f"'eyas[{name}]'" if name in EXTRAS_OF_EYAS else name


def look_at_programs(_: Path) -> Iterator[Finding]:
    """What is called as a program of its own."""
    if importlib.util.find_spec("dvc") is None:
        yield Finding("dvc", "fault", "not installed, and no stage runs without it", "make setup")
    for name, advice in PROGRAMS.items():
        path = shutil.which(name)
        yield Finding(name, "good", path) if path else Finding(name, "note", "not on PATH", advice)


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _some(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
