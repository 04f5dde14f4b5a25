"""What a device is asked to measure: every layer over a grid of widths, and a few whole networks.

A plan is a folder: ``plan.json`` with the layers as small ONNX models, and ``networks/``. It can be carried to a device
together with ``eyas_profile.py``.
"""

import base64
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from eyas.calibration.batchnorm import evaluation_mode
from eyas.deploy.exporters import Exporter
from eyas.deploy.latency import eyas_profile
from eyas.deploy.latency.layer_onnx import layer_onnx
from eyas.deploy.latency.priced_layers import Ints, LayerShape, network_key, priced_layers
from eyas.deploy.latency.width_grid import dense_macs, measured_widths
from eyas.deploy.named_outputs import flattened
from eyas.deploy.onnx_writing import TALKERS, quiet
from eyas.errors import ParameterError
from eyas.pruning.space import SearchSpace
from eyas.pruning.surgery import prune

NETWORKS = 8
"""Whole networks that the line is laid through."""
PLAN = "plan.json"
_OPSET = 18


def write_plan(space: SearchSpace, folder: Path, *, networks: int = NETWORKS, seed: int = 0) -> dict[str, Any]:
    """Write what has to be measured for a search space, and the script that does it.

    Args:
        space: the search space.
        folder: is made where it is not there.
        networks: how many whole networks: the dense one and random ones.
        seed: of these.

    Returns:
        what ``plan.json`` holds.

    Raises:
        MissingExtraError: onnx is not installed.
        ParameterError: the network takes something else than one batch of images.
    """
    (folder / "networks").mkdir(parents=True, exist_ok=True)
    layers = priced_layers(space)
    plan: dict[str, Any] = {"version": eyas_profile.VERSION, "entries": plan_entries(space), "networks": []}
    for number, widths in enumerate(spread_widths(space, networks, seed)):
        named = {group.name: int(width) for group, width in zip(space.groups, widths, strict=True)}
        file = f"networks/{number}.onnx"
        write_network(space, named, folder / file)
        plan["networks"].append({"file": file, "space": network_key(space, layers), "widths": named})
    (folder / PLAN).write_text(json.dumps(plan))
    shutil.copyfile(eyas_profile.__file__, folder / "eyas_profile.py")
    return plan


def spread_widths(space: SearchSpace, count: int, seed: int) -> Ints:
    """The dense widths, then random ones from narrow to wide, ``(count, G)``.

    A third each of any width, multiples of 4 and of 8; finer ones where a network would come twice.
    """
    rng, rows = np.random.default_rng(seed), [space.legal.dense]
    for number in range(count - 1):
        share = 0.2 + 0.75 * (number + rng.uniform()) / (count - 1)
        shares = np.clip(rng.normal(share, 0.15, len(space.groups)), 0.05, 1.0)
        finest = number % 3
        tries = [_nearest(space, shares, multiple) for multiple in (8, 4, 1)[finest:]]
        rows.append(next((row for row in tries if not (np.stack(rows) == row).all(1).any()), tries[-1]))
    return np.stack(rows)


def _nearest(space: SearchSpace, shares: NDArray[np.float64], multiple: int) -> Ints:
    """Of the multiples that each group may have, those next to a share of its channels."""
    dense, steps = space.legal.dense, space.legal.steps
    multiples = np.lcm(steps, multiple)
    least = np.array([max(group.floor, group.step) for group in space.groups], dtype=np.int64)
    widths = np.maximum(np.rint(dense * shares / multiples).astype(np.int64), 1) * multiples
    legal: Ints = np.minimum(np.maximum(widths, least), dense)
    return legal


def write_network(space: SearchSpace, widths: dict[str, int], path: Path) -> None:
    """The network at these widths as ONNX with a free batch size.

    By PyTorch's tracing exporter, which takes a tenth of a second where the other takes three; the files are as fast.
    """
    args, kwargs = space.example
    if len(args) != 1 or kwargs or not isinstance(args[0], Tensor):
        msg = "`space`: only networks that take one batch of images can be profiled"
        raise ParameterError(msg)
    small = prune(space.model, space, space.plan(widths)).eval().cpu()
    pair = args[0][:1].cpu().expand(2, *args[0].shape[1:]).contiguous()
    small = flattened(small, pair)
    try:
        _trace(small, pair, path)
    except Exception:  # the tracing exporter raises nearly anything; the other one says why
        Exporter.parse("onnx")(small, pair, path)


def _trace(model: nn.Module, pair_NCHW: Tensor, path: Path) -> None:
    names: dict[str, Any] = {"input_names": ["images"], "dynamic_axes": {"images": {0: "batch"}}}
    with evaluation_mode(model), quiet(*TALKERS), torch.no_grad():
        torch.onnx.export(model, (pair_NCHW,), str(path), opset_version=_OPSET, dynamo=False, verbose=False, **names)


def plan_entries(space: SearchSpace) -> list[dict[str, Any]]:
    """Layers of one shape share a grid: widths that any of them may have, and those that one always has."""
    units_G = space.legal.dense // space.legal.steps
    axes: dict[LayerShape, tuple[list[Ints], list[Ints]]] = {}
    for layer in priced_layers(space):
        inputs, outputs = axes.setdefault(layer.shape, ([], []))
        inputs.append(layer.inputs.reachable(units_G))
        outputs.append(layer.outputs.reachable(units_G))
    return [_entry(shape, *of_layers) for shape, of_layers in axes.items()]


def _entry(shape: LayerShape, inputs: list[Ints], outputs: list[Ints]) -> dict[str, Any]:
    macs = dense_macs(shape, *(max(int(widths[-1]) for widths in axis) for axis in (inputs, outputs)))
    rows, columns = (measured_widths(axis, macs) for axis in (inputs, outputs))
    models = [[base64.b64encode(layer_onnx(shape, i, o)).decode() for o in columns] for i in rows]
    return {"layer": str(shape), "in": rows, "out": columns, "models": models}
