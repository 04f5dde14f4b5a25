"""Measured times of layers and whole networks on one device in one runtime: what ``device.json`` holds."""

import json
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError, model_validator

from eyas.deploy.latency.eyas_profile import KIND, VERSION, header
from eyas.deploy.latency.layer_runtimes import layer_runtime
from eyas.errors import DataError, ParameterError, one_line
from eyas.storage.json_text import parse_json

_MAKE = "make it with `eyas profile --out device.json`, or with eyas_profile.py on the device"
Milliseconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class ProfiledDevice(_Strict):
    """What a time depends on beside the runtime."""

    cpu: str
    cores: PositiveInt
    machine: str
    system: str


class LayerTimes(_Strict):
    """Times of one layer over a grid of widths."""

    layer: str
    """As :class:`~eyas.deploy.latency.priced_layers.LayerShape` is written."""
    inputs: Annotated[list[PositiveInt], Field(alias="in", min_length=1)]
    """Measured input widths, ascending."""
    outputs: Annotated[list[PositiveInt], Field(alias="out", min_length=1)]
    """Measured output widths, ascending."""
    milliseconds: list[list[Milliseconds]]
    """``(inputs, outputs)``."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        for axis in (self.inputs, self.outputs):
            if axis != sorted(set(axis)):
                msg = f"the widths {axis} of {self.layer} do not ascend"
                raise ValueError(msg)
        if [len(row) for row in self.milliseconds] != [len(self.outputs)] * len(self.inputs):
            msg = f"{self.layer} has not one time for each of its {len(self.inputs)} x {len(self.outputs)} widths"
            raise ValueError(msg)
        return self


class NetworkTime(_Strict):
    """Time of a whole network."""

    space: str
    """Which network: :func:`~eyas.deploy.latency.priced_layers.network_key`."""
    widths: dict[str, PositiveInt]
    milliseconds: Milliseconds


class LatencyTable(_Strict):
    """All that was measured, and what it holds for."""

    kind: Literal["eyas latency table"] = KIND  # type: ignore[assignment]
    version: Literal[1] = VERSION  # type: ignore[assignment]
    runtime: str
    """A kind of runtime, such as ``onnx``."""
    runtime_version: str
    threads: PositiveInt
    batch: PositiveInt
    """Images per run; times are those of a run."""
    device: ProfiledDevice
    entries: list[LayerTimes]
    networks: list[NetworkTime]
    fit: dict[str, Any] | None = None
    """What :class:`~eyas.deploy.latency.LatencyModel` made of it, for the reader; the model fits anew."""

    @classmethod
    def read(cls, path: Path) -> Self:
        """The table in a file.

        Raises:
            DataError: there is no such file, it was cut off, or it is no table of this version.
        """
        try:
            content = parse_json(path.read_bytes())
        except OSError as error:
            msg = f"latency profile {path}: {error.strerror}; {_MAKE}"
            raise DataError(msg) from error
        except ValueError as error:
            msg = f"latency profile {path} is no JSON, or was cut off ({one_line(error)}); {_MAKE}"
            raise DataError(msg) from error
        if not isinstance(content, dict) or content.get("kind") != KIND:
            msg = f"latency profile {path} is JSON, but no table of latencies; {_MAKE}"
            raise DataError(msg)
        if content.get("version") != VERSION:
            msg = f"latency profile {path} has version {content.get('version')!r}, this eyas reads {VERSION}; {_MAKE}"
            raise DataError(msg)
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"]))
            msg = f"latency profile {path}: {place or 'the table'}: {first['msg']}; {_MAKE}"
            raise DataError(msg) from error

    def write(self, path: Path) -> None:
        """Write the table."""
        path.write_text(json.dumps(self.model_dump(mode="json", by_alias=True)) + "\n")

    @property
    def where(self) -> str:
        """What it holds for, in words."""
        threads = f"{self.threads} thread{'s' * (self.threads > 1)}"
        return f"{self.runtime_version}, {threads}, batch {self.batch}, on {self.device.cpu}, {self.device.cores} cores"

    def require(
        self, *, runtime: str | None = None, threads: int | None = None, batch: int | None = None, here: bool = False
    ) -> Self:
        """This table, if it was measured as asked.

        Args:
            runtime: kind of the runtime.
            threads: of the runtime.
            batch: images per run.
            here: whether it has to be of this machine and its version of the runtime.

        Raises:
            ParameterError: it was measured otherwise; names what differs.
        """
        asked = {"runtime": runtime, "threads": threads, "batch": batch}
        wrong = [
            f"{name} {getattr(self, name)}, not {value}"
            for name, value in asked.items()
            if value is not None and getattr(self, name) != value
        ]
        if here and not wrong:
            now = header(self.runtime, layer_runtime(self.runtime).version(), self.threads, self.batch)
            if self.device.model_dump() != now["device"]:
                wrong.append(f"the device {self.device.cpu} ({self.device.cores} cores), not this one")
            if self.runtime_version != now["runtime_version"]:
                wrong.append(f"{self.runtime_version}, not {now['runtime_version']}")
        if wrong:
            msg = (
                f"`table` was measured for {'; for '.join(wrong)}: make one with `eyas profile`, or let the dense "
                "network's own time scale this one (`dense_ms`)"
            )
            raise ParameterError(msg)
        return self
