"""A dense network on disk: ``model.safetensors`` and ``architecture.json``, enough to build it again anywhere."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from eyas.errors import CheckpointError
from eyas.networks.architectures import build_model
from eyas.networks.checkpoint import load_checkpoint

WEIGHTS, ARCHITECTURE = "model.safetensors", "architecture.json"


@dataclass(frozen=True)
class Network:
    """A network, and how to build one of its kind."""

    model: nn.Module
    architecture: str
    """The factory, ``package.module:name``."""
    arguments: dict[str, Any]
    """Its keyword arguments, ``num_classes`` among them; JSON values."""
    input_shape: tuple[int, int, int]
    """(C, H, W) of an image."""
    seen_by_checkpoint: bool = False
    """Its first weights came from training on all of the training data, score and calibration images too."""

    def example(self, images: int = 1) -> torch.Tensor:
        """Zeros in the shape of a batch, on the CPU."""
        return torch.zeros(images, *self.input_shape)


def save_network(network: Network, folder: Path | str) -> None:
    """Write the two files; equal networks give equal bytes."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    state = network.model.state_dict()
    save_file({name: value.detach().cpu().contiguous() for name, value in state.items()}, folder / WEIGHTS)
    content = {
        "architecture": network.architecture,
        "arguments": network.arguments,
        "input_shape": list(network.input_shape),
        "seen_by_checkpoint": network.seen_by_checkpoint,
    }
    (folder / ARCHITECTURE).write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")


def load_network(folder: Path | str) -> Network:
    """Build what :func:`save_network` wrote, in eval mode on the CPU.

    Raises:
        CheckpointError: a file is missing or is not what was written.
        ParameterError: the factory cannot be imported.
    """
    folder = Path(folder)
    try:
        content = json.loads((folder / ARCHITECTURE).read_text())
        architecture, arguments = content["architecture"], dict(content["arguments"])
        channels, height, width = content["input_shape"]
    except FileNotFoundError as error:
        msg = f"{error.filename} is missing: run the baseline stage first"
        raise CheckpointError(msg) from error
    except (ValueError, KeyError, TypeError) as error:
        msg = f"{folder / ARCHITECTURE} is not what the baseline stage writes ({error!r}): run it again"
        raise CheckpointError(msg) from error
    model = build_model(architecture, arguments, arguments["num_classes"])
    load_checkpoint(model, folder / WEIGHTS)
    shape = (channels, height, width)
    return Network(model.eval(), architecture, arguments, shape, bool(content.get("seen_by_checkpoint", False)))
