"""A search space as plain data, small and equal for equal spaces, and back without tracing.

Arrays of unit numbers are written as runs, each distinct one once. What follows from them (the members'
positions, the unit of each channel) is computed again, by what the tracer computes it with.
"""

import hashlib
import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from eyas.errors import EyasError, ParameterError, PlanError, one_line
from eyas.pruning.cost import Cost, CostModel
from eyas.pruning.groups import ChannelGroup, FrozenGroup, Ints, Layout, group_at
from eyas.pruning.plan import PruningPlan, canonical_json
from eyas.pruning.residual_block import blocks_from_json
from eyas.pruning.widths import LegalWidths
from eyas.storage.json_text import parse_json

VERSION = 2
LARGEST = 2**26
"""Numbers in all arrays of a search space, and in one of its inputs: half a gigabyte."""
_CONTAINERS = (None, "builtins.tuple", "builtins.list", "builtins.dict", "collections.OrderedDict")
"""Types of a structure of inputs, None for an input."""
Example = tuple[tuple[Any, ...], dict[str, Any]]
"""Positional and keyword inputs of a network."""


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """``content`` with the version of this form and a digest."""
    versioned = {**content, "version": VERSION}
    return {**versioned, "digest": _digest(versioned)}


def unsealed(content: Mapping[str, Any] | str | bytes) -> dict[str, Any]:
    """What was given to :func:`sealed`, from the result or its text.

    Raises:
        PlanError: no JSON object, another version, or content that does not have the recorded digest.
    """
    content = _parsed(content) if isinstance(content, (str, bytes)) else content
    if not isinstance(content, Mapping):
        msg = f"a search space is a JSON object, not {type(content).__name__}"
        raise PlanError(msg)
    version, rest = content.get("version"), {key: value for key, value in content.items() if key != "digest"}
    if version != VERSION:
        msg = f"a search space of version {version!r}, this eyas reads {VERSION}: trace the network again"
        raise PlanError(msg)
    if content.get("digest") != _digest(rest):
        msg = (
            f"the search space was changed after it was written: digest {_digest(rest)}, "
            f"recorded {content.get('digest')}; trace the network again"
        )
        raise PlanError(msg)
    return rest


def cost_of(content: Mapping[str, Any] | str | bytes, plan: PruningPlan) -> Cost:
    """What a plan's widths cost by the search space it was made for, without the network.

    Raises:
        PlanError: ``content`` is no search space, was changed, or is not the plan's.
    """
    content = unsealed(content)
    if content["fingerprint"] != plan.space:
        msg = f"the plan was made for search space {plan.space}, this one is {content['fingerprint']}"
        raise PlanError(msg)
    groups = groups_from_json(content["groups"], layout_from_json(content["layout"]))
    legal = LegalWidths(groups, blocks=blocks_from_json(content.get("blocks", ())))
    costs = CostModel.from_json(content["costs"], len(legal.groups))
    return costs.evaluate((legal.vector(plan.widths) // legal.steps)[None])[0]


@contextmanager
def malformed_is_told() -> Iterator[None]:
    """What Python says of content that has the right digest and another form.

    Raises:
        PlanError: whatever went wrong in the block.
    """
    try:
        yield
    except EyasError:
        raise
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RuntimeError, StopIteration) as error:
        fault = f"{type(error).__name__}: {one_line(error)}"
        msg = f"not a search space that SearchSpace.to_json wrote ({fault}): trace the network again"
        raise PlanError(msg) from error


def _parsed(text: str | bytes) -> Any:
    """What a text of JSON holds.

    Raises:
        PlanError: the text is none.
    """
    try:
        return parse_json(text)
    except ValueError as error:
        msg = f"a search space is not JSON: {error}; write it with SearchSpace.to_json()"
        raise PlanError(msg) from error


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(canonical_json(content).encode()).hexdigest()


def groups_to_json(groups: tuple[ChannelGroup, ...]) -> list[dict[str, Any]]:
    """Names, widths, layers, members; where these lie is in the layout."""
    return [
        {
            "name": group.name,
            "channels": group.channels,
            "step": group.step,
            "floor": group.floor,
            "layers": list(group.layers),
            "members": [[member.parameter, member.dim, member.role] for member in group.members],
        }
        for group in groups
    ]


def groups_from_json(content: list[dict[str, Any]], layout: Layout) -> tuple[ChannelGroup, ...]:
    """What :func:`groups_to_json` gave."""
    return tuple(
        group_at(
            layout,
            number,
            name=group["name"],
            layers=tuple(group["layers"]),
            members=group["members"],
            fewest_units=group["floor"] // group["step"],
        )
        for number, group in enumerate(content)
    )


def frozen_to_json(frozen: tuple[FrozenGroup, ...]) -> list[dict[str, Any]]:
    """Names, layers, reasons, channels."""
    return [
        {"name": group.name, "layers": list(group.layers), "reason": group.reason, "channels": group.channels}
        for group in frozen
    ]


def frozen_from_json(content: list[dict[str, Any]]) -> tuple[FrozenGroup, ...]:
    """What :func:`frozen_to_json` gave."""
    return tuple(
        FrozenGroup(group["name"], tuple(group["layers"]), group["reason"], group["channels"]) for group in content
    )


def layout_to_json(layout: Layout) -> dict[str, Any]:
    """Slots and attributes that name an array by its number, and the arrays."""
    numbers: dict[str, int] = {}

    def number(array: Ints) -> int:
        return numbers.setdefault(to_runs(array), len(numbers))

    slots = [[name, dim, number(units)] for (name, dim), units in layout.slots.items()]
    attributes = [[*key, number(units), divisor] for key, (units, divisor) in layout.attributes.items()]
    shapes = [[name, list(shape)] for name, shape in layout.shapes.items()]
    offsets = layout.offsets.tolist()
    return {"slots": slots, "attributes": attributes, "units": list(numbers), "shapes": shapes, "offsets": offsets}


def layout_from_json(content: Mapping[str, Any]) -> Layout:
    """What :func:`layout_to_json` gave; equal arrays are one object, as the tracer makes them."""
    left, arrays = LARGEST, list[Ints]()
    for runs in content["units"]:
        arrays.append(from_runs(runs, left))
        left -= len(arrays[-1])
    return Layout(
        {(name, dim): arrays[number] for name, dim, number in content["slots"]},
        {(module, name): (arrays[number], divisor) for module, name, number, divisor in content["attributes"]},
        np.array(content["offsets"], dtype=np.int64),
        {name: tuple(shape) for name, shape in content["shapes"]},
    )


def to_runs(array: Ints) -> str:
    """``0..63`` for consecutive numbers, ``5*49`` for equal ones, apart from each other by spaces."""
    values, steps, runs, start = array.tolist(), np.diff(array).tolist(), [], 0
    while start < len(values):
        step, stop = (steps[start] if start < len(steps) else None), start + 1
        if step in (0, 1):
            while stop < len(values) and steps[stop - 1] == step:
                stop += 1
        first, last = values[start], values[stop - 1]
        runs.append(str(first) if stop == start + 1 else f"{first}..{last}" if step else f"{first}*{stop - start}")
        start = stop
    return " ".join(runs)


def from_runs(text: str, most: int = LARGEST) -> Ints:
    """What :func:`to_runs` wrote.

    Raises:
        PlanError: more than ``most`` numbers.
    """
    runs = [np.empty(0, dtype=np.int64)]
    for run in text.split():
        first, kind, second = re.fullmatch(r"(-?\d+)(?:(\.\.|\*)(-?\d+))?", run).groups()  # type: ignore[union-attr]
        count = int(second) + 1 - int(first) if kind == ".." else int(second or 1)
        most -= max(count, 0)
        if most < 0:
            msg = f"a search space holds the run {run:.40}: no more than {LARGEST} numbers are read"
            raise PlanError(msg)
        runs.append(np.arange(int(first), int(first) + count) if kind == ".." else np.full(count, int(first)))
    return np.concatenate(runs).astype(np.int64)


def example_to_json(example: Example) -> dict[str, Any]:
    """Shapes and types of the inputs; integer and boolean ones, whose values may matter, with their values.

    Raises:
        ParameterError: an input is neither a tensor nor a plain value.
    """
    leaves, structure = pytree.tree_flatten(example)
    return {"structure": pytree.treespec_dumps(structure), "inputs": [_input_to_json(leaf) for leaf in leaves]}


def _input_to_json(leaf: Any) -> dict[str, Any]:
    if isinstance(leaf, Tensor):
        tensor = {"shape": list(leaf.shape), "dtype": str(leaf.dtype).removeprefix("torch.")}
        if leaf.is_floating_point() or leaf.is_complex():
            return tensor
        return {**tensor, "values": to_runs(leaf.detach().cpu().to(torch.int64).flatten().numpy())}
    if leaf is None or isinstance(leaf, (bool, int, float, str)):
        return {"value": leaf}
    msg = f"`example_inputs` hold a {type(leaf).__name__}, which JSON cannot: pass tensors and plain values"
    raise ParameterError(msg)


def example_from_json(content: Mapping[str, Any], device: torch.device) -> Example:
    """Inputs of the written shapes and types on ``device``; zeros where values were not written.

    Raises:
        PlanError: they are kept in something else than tuples, lists and dicts, or of no type of torch's.
    """
    leaves = [_input_from_json(leaf, device) for leaf in content["inputs"]]
    _check_structure(parse_json(content["structure"])[1])
    args, kwargs = pytree.tree_unflatten(leaves, pytree.treespec_loads(content["structure"]))
    return args, kwargs


def _check_structure(spec: Mapping[str, Any]) -> None:
    """Refuse all but plain containers with plain keys: pytree imports the classes of keys that are enumerations.

    Raises:
        PlanError: there is something else.
    """
    keys = parse_json(spec["context"]) if isinstance(spec["context"], str) else spec["context"]
    plain = all(isinstance(key, (str, int, float)) for key in keys) if isinstance(keys, list) else keys is None
    if spec["type"] not in _CONTAINERS or not plain:
        msg = f"the example inputs are kept in a {spec['type']} of keys {keys!r}; tuples, lists and dicts can be read"
        raise PlanError(msg)
    for child in spec["children_spec"]:
        _check_structure(child)


def _input_from_json(content: Mapping[str, Any], device: torch.device) -> Any:
    if "shape" not in content:
        return content["value"]
    dtype = getattr(torch, content["dtype"], None)
    if not isinstance(dtype, torch.dtype):
        msg = f"an example input of type {content['dtype']!r}, which torch does not have: trace the network again"
        raise PlanError(msg)
    if math.prod(content["shape"]) > LARGEST:
        msg = f"a search space holds an input of shape {content['shape']}: no more than {LARGEST} numbers are read"
        raise PlanError(msg)
    if "values" not in content:
        return torch.zeros(content["shape"], dtype=dtype, device=device)
    return torch.from_numpy(from_runs(content["values"])).reshape(content["shape"]).to(device, dtype)
