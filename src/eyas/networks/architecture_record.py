"""``architecture.json``: how a saved network is built again, and the digests of the files beside it.

One schema for dense and pruned networks: a dense one is the case without ``pruning``. Files of format 1, where the two
had a form each, are read as well.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from eyas.errors import CheckpointError, one_line
from eyas.pruning.plan import canonical_json
from eyas.storage.digests import file_sha256
from eyas.storage.json_text import parse_json

WEIGHTS, PLAN, ARCHITECTURE = "model.safetensors", "plan.json", "architecture.json"


class Pruning(BaseModel):
    """What distinguishes a pruned network from the one that its factory builds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dense_shapes: dict[str, tuple[int, ...]]
    """What the factory builds."""
    attributes: list[tuple[str, str, int]]
    """Module, attribute, value that surgery set."""
    transient: dict[str, dict[int, list[int]]]
    """Kept indices of buffers that are in no state dict."""
    plan: str
    """Digest of the plan."""
    dropped: list[tuple[list[str], list[str]]] = []
    """Layers and tensors of each residual branch that was left out; not written where none was."""


class Answers(BaseModel):
    """What a network answers to seeded inputs (:mod:`eyas.networks.answers`)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    inputs: dict[str, Any]
    """Shapes and types, as a search space's JSON has them."""
    values: list[list[float]]
    """Sums over each floating-point output."""
    tolerances: list[float]
    """What is rounding, for each output."""


class ArchitectureRecord(BaseModel):
    """Content of ``architecture.json``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[2] = 2
    architecture: str
    """``package.module:factory`` of the dense network."""
    arguments: dict[str, Any]
    """Keyword arguments of the factory."""
    input_shape: tuple[int, ...]
    """Shape of one image (or of the first input's first entry)."""
    seen_by_checkpoint: bool = False
    """Its first weights came from training on all of the training data, score and calibration images too."""
    output: str | None = None
    """Path of the judged one of several outputs; not written where there is one."""
    constants: list[tuple[float, ...]] = []
    """Checksums of the tensors that the forward code reads and the weights' file lacks; not written where there are
    none."""
    answers: Answers | None = None
    """Written by :func:`eyas.save`; the pipeline's stages build each network again instead."""
    weights: str
    """sha256 of the weights' file."""
    pruning: Pruning | None = None

    def to_json(self) -> str:
        """The record and its digest; equal records give equal text."""
        left_out = {name for name in ("output", "constants", "answers") if not getattr(self, name)}
        content = self.model_dump(mode="json", exclude=left_out)
        if self.pruning is not None and not self.pruning.dropped:
            del content["pruning"]["dropped"]
        return json.dumps({**content, "digest": content_digest(content)}, indent=1) + "\n"


def content_digest(content: Mapping[str, Any]) -> str:
    """sha256 of the canonical JSON form of a record without its digest."""
    return hashlib.sha256(canonical_json(content).encode()).hexdigest()


def read_record(folder: Path) -> ArchitectureRecord:
    """The record of the network in ``folder``, checked against its own digest; no other file is looked at.

    Raises:
        CheckpointError: it is missing, was changed, or is none.
    """
    path = folder / ARCHITECTURE
    try:
        content = dict(parse_json(path.read_bytes()))
        if not content.keys() & {"format", "digest"}:
            return ArchitectureRecord.model_validate({**content, "weights": file_sha256(folder / WEIGHTS)})
        recorded = content.pop("digest", None)
        record = ArchitectureRecord.model_validate(_from_format_1(content) if content.get("format") == 1 else content)
    except FileNotFoundError as error:
        msg = f"{error.filename} is missing: a saved network is {WEIGHTS} and {ARCHITECTURE}, a pruned one {PLAN} too"
        raise CheckpointError(msg) from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        msg = f"{path} is not what eyas.save writes: {one_line(error)}"
        raise CheckpointError(msg) from error
    digest = content_digest(content)
    if digest != recorded:
        msg = f"{path} was changed: digest {digest}, recorded {recorded}"
        raise CheckpointError(msg)
    return record


def _from_format_1(content: Mapping[str, Any]) -> dict[str, Any]:
    """The record of a pruned network, which was flat; that of a dense one had no digests and no ``format``."""
    fields = Pruning.model_fields.keys() - {"dropped"}
    rest = {name: value for name, value in content.items() if name not in fields}
    return {**rest, "format": 2, "pruning": {name: content[name] for name in fields}}
