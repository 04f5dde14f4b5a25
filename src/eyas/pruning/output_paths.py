"""The outputs of a network by their paths (``1``, ``logits``, ``heads.0``), and the one that is judged."""

import functools
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from eyas.errors import DataError, ParityError

Model = TypeVar("Model", bound=nn.Module)

USUAL = ("logits", "out")
"""Names of the judged output where none is chosen."""

_NO_TENSORS = (int, float, complex, str, bytes, type(None), torch.dtype, torch.device)


def named_outputs(output: Any) -> dict[str, Tensor]:
    """Every tensor of an answer by its path, in order; a tensor alone has the path ``""``.

    Raises:
        ParityError: there is an object that cannot be looked into.
    """
    return dict(output_leaves(output))


def output_leaves(output: Any, path: str = "") -> Iterator[tuple[str, Tensor]]:
    """Paths and tensors of an answer one by one; ``path`` is where the answer stands.

    Raises:
        ParityError: there is an object that cannot be looked into.
    """
    if isinstance(output, Tensor):
        yield path, output
        return
    if isinstance(output, _NO_TENSORS):
        return
    children = _children(output)
    if children is None:
        msg = (
            f"the network answers with a {type(output).__name__}, whose tensors cannot be listed: make it a dataclass, "
            "or tell torch.utils._pytree of it"
        )
        raise ParityError(msg)
    for name, child in children:
        yield from output_leaves(child, f"{path}.{name}" if path else str(name))


def answering_plainly(network: Model) -> Model:
    """``network``, changed: answers that ``torch.export`` does not know (dataclasses) become lists of tensors."""
    forward = network.forward

    @functools.wraps(forward)
    def plain(*args: Any, **kwargs: Any) -> Any:
        answer = forward(*args, **kwargs)
        known = all(isinstance(leaf, (Tensor, *_NO_TENSORS)) for leaf in pytree.tree_leaves(answer))
        return answer if known else [tensor for _, tensor in output_leaves(answer)]

    network.forward = plain
    return network


def primary_output(output: Any, choice: int | str | None = None) -> Tensor:
    """The output that is judged: the one chosen; without choice ``logits``, ``out`` or the first.

    Args:
        output: what a network answers with: a tensor, or a tuple, list, mapping, named tuple or dataclass of them.
        choice: a position, a name, or a path of both (``heads.0``).

    Raises:
        DataError: the network has no such output; names those there are.
    """
    if isinstance(output, Tensor) and choice is None:
        return output
    if choice is None:
        children = dict(_children(output) or ())
        selected = next((children[name] for name in USUAL if name in children), next(iter(children.values()), None))
    else:
        selected = _descend(output, choice)
    if not isinstance(selected, Tensor):
        msg = f"the network returns {_described(output)}, and `output` {choice!r} is no tensor there: {_remedy(output)}"
        raise DataError(msg)
    return selected


def output_path(output: Any, choice: int | str) -> str:
    """Path of the chosen output; of the same tensor at several places the first.

    Raises:
        DataError: the network has no such output.
    """
    chosen = primary_output(output, choice)
    return next(path for path, tensor in output_leaves(output) if tensor is chosen)


def choose_output(output: Any, num_classes: int, answer_shape: tuple[int, ...] = ()) -> str | None:
    """Path of the output that can only be the logits ``(N, K)``; None where the network answers with one tensor.

    Args:
        output: what the network answers with.
        num_classes: K at least.
        answer_shape: what follows K where logits are more than one row per image.

    Raises:
        DataError: several may be, or none.
    """
    if isinstance(output, Tensor):
        return None
    outputs = named_outputs(output)
    usual = [name for name in USUAL if name in outputs]
    fit = [path for path, tensor in outputs.items() if is_logits(tensor, num_classes, answer_shape)]
    exact = [path for path in fit if outputs[path].shape[1] == num_classes]
    for chosen in (usual, fit, exact):
        if len(chosen) == 1:
            return chosen[0]
    shapes = ", ".join(f"{path} {tuple(tensor.shape)}" for path, tensor in outputs.items()) or "no tensor"
    msg = f"the network answers two images with {shapes}: name the logits of {num_classes} classes by `output`"
    raise DataError(msg)


def is_logits(output: Tensor, num_classes: int, answer_shape: tuple[int, ...] = ()) -> bool:
    """Whether an output may be the logits ``(N, K, *answer_shape)`` of at least so many classes."""
    return output.ndim > 1 and output.shape[1] >= num_classes and tuple(output.shape[2:]) == answer_shape


def trained_output(output: Any, choice: int | str | None = None, num_logits: int | None = None) -> Tensor:
    """The output that is trained: the judged one, or what a network with auxiliary heads answers for it in train mode.

    Where no output is chosen, because in eval mode there is one, it is ``logits``, ``out``, or the first ``(N, K)``.

    Args:
        output: what the network answers with in train mode.
        choice: of the judged output.
        num_logits: K in eval mode; without it of any number.

    Raises:
        DataError: there is none.
    """
    if isinstance(output, Tensor):
        return output
    outputs = named_outputs(output)
    fit = [path for path, item in outputs.items() if item.ndim == 2 and num_logits in (None, item.shape[1])]
    if choice is None and fit:
        return outputs[next((name for name in USUAL if name in fit), fit[0])]
    return primary_output(output, choice)


def _children(item: Any) -> list[tuple[Any, Any]] | None:
    """Names or positions of what a structure holds; None for what is none."""
    if isinstance(item, (Tensor, *_NO_TENSORS)):
        return None
    if isinstance(item, Mapping):
        return list(item.items())
    if isinstance(item, tuple) and hasattr(item, "_fields"):
        return list(zip(item._fields, item, strict=True))
    if is_dataclass(item) and not isinstance(item, type):
        return [(field.name, getattr(item, field.name)) for field in fields(item)]
    if isinstance(item, (list, tuple, set, frozenset)):
        return list(enumerate(item))
    leaves = pytree.tree_leaves(item)  # what pytree was told of
    return None if any(leaf is item for leaf in leaves) else list(enumerate(leaves))


def _descend(output: Any, choice: int | str) -> Any:
    """What stands at a place; None where nothing does."""
    children = _children(output) or []
    if isinstance(choice, int):
        if isinstance(output, Mapping):
            return output.get(choice)
        return children[choice][1] if -len(children) <= choice < len(children) else None
    held = {str(name): child for name, child in children}
    if choice in held:
        return held[choice]
    for name, child in held.items():
        if choice.startswith(f"{name}."):
            return _descend(child, choice.removeprefix(f"{name}."))
    return None


def _described(output: Any) -> str:
    if isinstance(output, Tensor):
        return "one tensor"
    if isinstance(output, Mapping):
        return f"a dict of {', '.join(map(str, output))}"
    names, what = [str(name) for name, _ in _children(output) or ()], type(output).__name__
    if names and not names[0].isdigit():
        return f"a {what} of {', '.join(names)}"
    return f"a {what} of {len(names)}" if isinstance(output, (tuple, list)) else what


def _remedy(output: Any) -> str:
    return "leave `output` out" if isinstance(output, Tensor) else "name the one to judge"
