"""Exported files side by side: interleaved times at several batches and thread counts, peak memory, size."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from eyas.deploy.latency.exported_files import call, cpu_name
from eyas.deploy.latency.interleaved_timing import summary, time_interleaved
from eyas.deploy.latency.peak_memory import peak_memory
from eyas.deploy.runtimes import Runtime, Session
from eyas.errors import DataError, ParameterError
from eyas.parallel import cores

BESIDE_MODELS = (".bin", ".layers.json")
"""What exporters write beside a model: the weights of an ``.xml``, which layers stayed in float."""


@dataclass(frozen=True)
class BenchRow:
    """One file at one batch and one number of threads."""

    file: str
    runtime: str
    threads: int
    batch: int
    milliseconds: dict[str, float]
    """Per run of ``batch`` images: median, q25, q75, p95, p99."""
    peak_bytes: int
    """Memory that loading and running took with the first number of threads, above that of the runtime itself."""
    bytes: int
    """Of all files of the model."""

    @property
    def images_per_second(self) -> float:
        """At the median."""
        return 1e3 * self.batch / self.milliseconds["median"]


@dataclass(frozen=True)
class Bench:
    """A whole run."""

    rows: tuple[BenchRow, ...]
    runs: int
    cpu: str
    cores: int

    def as_dict(self) -> dict[str, Any]:
        """Everything by name."""
        return asdict(self)

    def metrics(self) -> dict[str, float]:
        """Numbers by flat names, as in ``model.onnx.batch1.threads1.median_ms``."""
        numbers: dict[str, float] = {}
        for row in self.rows:
            prefix = f"{row.file}.batch{row.batch}.threads{row.threads}"
            numbers |= {f"{prefix}.{name}_ms": value for name, value in row.milliseconds.items()}
            numbers |= {f"{prefix}.peak_bytes": row.peak_bytes, f"{row.file}.bytes": row.bytes}
        return numbers


def model_files(paths: Sequence[Path]) -> list[Path]:
    """The models among ``paths``, as a shell's ``formats/*`` has them, and all models of a folder.

    Left out are :data:`BESIDE_MODELS`; any other file stays, for :meth:`Runtime.of` to refuse by name.

    Raises:
        DataError: a folder holds no model, or nothing else was named.
    """
    known = tuple(suffix for runtime in Runtime.members().values() for suffix in runtime.suffixes)
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            files += [file for file in sorted(path.iterdir()) if file.name.endswith(known)]
        elif not path.name.endswith(BESIDE_MODELS):
            files.append(path)
    if not files:
        msg = f"{', '.join(map(str, paths))}: no exported model there"
        raise DataError(msg)
    return files


def bench(
    paths: Sequence[Path],
    *,
    threads: Sequence[int] = (1,),
    batches: Sequence[int] = (1,),
    runs: int = 100,
    shape: tuple[int, ...] | None = None,
) -> Bench:
    """Time files in one run per batch and number of threads, a tenth as many runs to warm up.

    Args:
        paths: exported files, of any runtimes.
        threads: of every session, one after the other.
        batches: images per run, one after the other; a file that takes fewer at once is run several times.
        runs: timed runs of each file.
        shape: of one image, ``(C, H, W)``, where a file leaves it open.

    Raises:
        ParameterError: a file is named twice, or leaves the image's shape open and ``shape`` is not given.
        MissingExtraError: a runtime is not installed.
        DataError: there is no such file, or no runtime takes it.
        ExportError: a runtime does not take its file.
    """
    names = unique_names(paths)
    runtimes = {name: Runtime.of(path) for name, path in names.items()}
    versions = {name: runtime.version() for name, runtime in runtimes.items()}
    opened = {name: runtimes[name].open(path, threads[0]) for name, path in names.items()}
    shapes = {name: image_shape(name, session, shape) for name, session in opened.items()}
    memory = {name: peak_memory(path, shapes[name], batches, threads[0]) for name, path in names.items()}
    rows = []
    for batch in batches:
        for count in threads:
            sessions = {name: runtimes[name].open(path, count) for name, path in names.items()}
            times = time_interleaved({name: call(sessions[name], (batch, *shapes[name])) for name in names}, runs)
            rows += [
                BenchRow(
                    file=name,
                    runtime=versions[name],
                    threads=count,
                    batch=batch,
                    milliseconds=summary(times[name]),
                    peak_bytes=memory[name][batch],
                    bytes=size_of(path),
                )
                for name, path in names.items()
            ]
    return Bench(tuple(rows), runs, cpu_name(), cores())


def unique_names(paths: Sequence[Path]) -> Mapping[str, Path]:
    """Files by their names, with as much of the folder as tells them apart.

    Raises:
        ParameterError: a file is named twice.
        DataError: there is no such file.
    """
    whole = [path.resolve() for path in paths]
    for path in whole:
        if not path.is_file():
            msg = f"{path}: there is no such file"
            raise DataError(msg)
    if len(set(whole)) < len(whole):
        msg = f"a file is named twice in {', '.join(map(str, paths))}"
        raise ParameterError(msg)
    plain = [path.name for path in whole]
    common = os.path.commonpath([path.parent for path in whole])
    alike = len(set(plain)) < len(plain)
    return {(path.relative_to(common).as_posix() if alike else path.name): path for path in whole}


def image_shape(name: str, session: Session, shape: tuple[int, ...] | None) -> tuple[int, ...]:
    """The shape of one image of a file.

    Raises:
        ParameterError: the file leaves it open and none is given, or it takes another one.
    """
    own = session.input_shape[1:]
    asked = shape or own
    fits = len(asked) == len(own) and all(mine in {None, its} for mine, its in zip(own, asked, strict=True))
    if not fits or None in asked:
        text = ", ".join("?" if size is None else str(size) for size in own)
        msg = f"{name} takes images of ({text}): give their shape, as in --shape 3,224,224"
        raise ParameterError(msg)
    return tuple(size for size in asked if size is not None)


def size_of(path: Path) -> int:
    """Bytes of a file, with OpenVINO's weights that lie beside it."""
    beside = path.with_suffix(".bin")
    return path.stat().st_size + (beside.stat().st_size if path.suffix == ".xml" and beside.exists() else 0)
