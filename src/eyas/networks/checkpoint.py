"""Weights from a file, never by unpickling code, put into a network they fit."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from eyas.errors import CheckpointError

_WRAPPINGS = ("state_dict", "model", "model_state_dict")
_PREFIXES = ("module.", "_orig_mod.")
_OPTIONAL = "num_batches_tracked"  # absent before torch 0.4.1; only a cumulative average reads it
_SHOWN = 5  # keys named per kind of mismatch; the rest is counted


def load_weights(path: Path | str) -> dict[str, Tensor]:
    """The state dict in a ``.safetensors`` file or one that ``torch.save`` wrote, on the CPU.

    A dict under ``state_dict``, ``model`` or ``model_state_dict`` is unwrapped, and the prefixes that
    ``DataParallel`` and ``torch.compile`` add are removed.

    Raises:
        CheckpointError: the file is missing, truncated, holds pickled code, or holds no state dict.
    """
    path = Path(path)
    if not path.is_file():
        msg = f"checkpoint {path} does not exist"
        raise CheckpointError(msg)
    weights = _unwrap(_read(path))
    if not _is_state_dict(weights):
        msg = (
            f"checkpoint {path} holds no state dict: expected names and tensors, bare or under "
            f"{', '.join(_WRAPPINGS)}; it holds {_describe(weights)}"
        )
        raise CheckpointError(msg)
    return _without_prefix(weights)


def apply_weights(model: nn.Module, weights: Mapping[str, Tensor], *, source: str = "checkpoint") -> None:
    """Copy ``weights`` into ``model``, every one of them.

    Raises:
        CheckpointError: names or shapes differ; the message counts and names missing, unexpected and
            wrong-shaped keys. The model is unchanged then.
    """
    expected = model.state_dict(keep_vars=True)
    held = {id(tensor) for name, tensor in expected.items() if name in weights}  # tied ones under one name suffice
    missing = [name for name, tensor in expected.items() if id(tensor) not in held and not name.endswith(_OPTIONAL)]
    unexpected = [name for name in weights if name not in expected and not name.endswith(_OPTIONAL)]
    shapes = [
        f"{name} {tuple(weights[name].shape)} for {tuple(value.shape)}"
        for name, value in expected.items()
        if name in weights and weights[name].shape != value.shape
    ]
    problems = [
        _list("missing", missing),
        _list("unexpected", unexpected),
        _list("of another shape (saved for needed)", shapes),
    ]
    if missing or unexpected or shapes:
        msg = (
            f"{source} does not fit {type(model).__name__}: {'; '.join(filter(None, problems))}. "
            "Check `architecture`, `arguments` and the number of classes"
        )
        raise CheckpointError(msg)
    kept = {name: value for name, value in weights.items() if name in expected}
    model.load_state_dict(kept, strict=False)


def load_checkpoint(model: nn.Module, path: Path | str) -> None:
    """Copy the weights of a file into ``model``; see :func:`load_weights` and :func:`apply_weights`."""
    apply_weights(model, load_weights(path), source=f"checkpoint {path}")


def _read(path: Path) -> Any:
    """The content of a checkpoint file."""
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except PermissionError:
        raise
    except Exception as error:  # torch, zipfile, pickle and safetensors each raise their own
        msg = (
            f"checkpoint {path} ({path.stat().st_size} bytes) cannot be read as weights: it is truncated, of "
            f"another kind, or holds pickled code, which is never run. Save a plain state dict ({type(error).__name__})"
        )
        raise CheckpointError(msg) from error


def _is_state_dict(content: Any) -> bool:
    values = content.values() if isinstance(content, Mapping) else ()
    return len(values) > 0 and all(isinstance(value, Tensor) for value in values)


def _unwrap(content: Any) -> Any:
    """The innermost dict under the usual keys."""
    while isinstance(content, Mapping):
        inner = next((content[key] for key in _WRAPPINGS if isinstance(content.get(key), Mapping)), None)
        if inner is None:
            return dict(content)
        content = inner
    return {} if content is None else content


def _without_prefix(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Names without what wrappers put before every one of them."""
    names = dict(weights)
    changed = True
    while changed:
        changed = False
        for prefix in _PREFIXES:
            if all(name.startswith(prefix) for name in names):
                names = {name.removeprefix(prefix): value for name, value in names.items()}
                changed = True
    return names


def _describe(content: Any) -> str:
    if not isinstance(content, Mapping):
        return type(content).__name__
    return f"a dict of {', '.join(map(str, list(content)[:_SHOWN]))}" if content else "an empty dict"


def _list(kind: str, names: Iterable[str]) -> str:
    """The first few of ``names`` after their number and kind."""
    names = list(names)
    if not names:
        return ""
    more = ", ..." if len(names) > _SHOWN else ""
    return f"{len(names)} {kind}: {', '.join(names[:_SHOWN])}{more}"
