"""Weights from a file, never by unpickling code, put into a network they fit."""

import logging
import warnings
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from eyas.errors import CheckpointError
from eyas.networks.checkpoint_tensors import OPTIONAL, require_fit, require_sound

_LOG = logging.getLogger(__name__)
_WRAPPINGS = ("state_dict", "model", "model_state_dict")
_PREFIXES = ("module.", "_orig_mod.")
_AVERAGED = "n_averaged"  # how torch.optim.swa_utils.AveragedModel counts
_DEEPEST = 8  # dicts inside dicts
_ANY_RATIO = 2**20  # bytes that a file of any size may unpack to
_SHOWN = 5  # keys named of a file that holds no state dict


def load_weights(path: Path | str, key: str | None = None) -> dict[str, Tensor]:
    """A state dict in a ``.safetensors`` file or one that ``torch.save`` wrote, on the CPU.

    Of several the one under ``state_dict``, ``model`` or ``model_state_dict`` is taken, and logged beside the others.
    The prefixes that ``DataParallel`` and ``torch.compile`` add are removed, and the counter of an average of weights.

    Args:
        path: the file.
        key: which state dict, by its place in the file (``ema``, ``state_dict.model``); the last words may be what
            names in a state dict begin with.

    Raises:
        CheckpointError: the file is missing, truncated, holds pickled code, or no state dict, or several and none is
            chosen.
    """
    path = Path(path)
    if not path.is_file():
        msg = f"checkpoint {path} does not exist"
        raise CheckpointError(msg)
    content = _read(path)
    held = dict(_state_dicts(content))
    if not held:
        msg = (
            f"checkpoint {path} holds no state dict: expected names and tensors, bare or under "
            f"{', '.join(_WRAPPINGS)}; it holds {_describe(content)}"
        )
        raise CheckpointError(msg)
    if key is not None:
        return _without_prefix(_named(held, key, path))
    usual = [name for name in held if all(part in _WRAPPINGS for part in name.split(".") if part)]
    chosen = min(usual, key=_preference) if usual else next(iter(held))
    if len(held) > 1 and not usual:
        msg = f"checkpoint {path} holds several state dicts: {', '.join(held)}. Choose one by `key`"
        raise CheckpointError(msg)
    if len(held) > 1:
        others = ", ".join(name for name in held if name != chosen)
        _LOG.warning("of the state dicts in %s, %r is taken, not %s (`key` chooses)", path.name, chosen, others)
    return _without_prefix(held[chosen])


def apply_weights(
    model: nn.Module, weights: Mapping[str, Tensor], *, source: str = "checkpoint", classes: Sequence[str] = ()
) -> None:
    """Copy ``weights`` into ``model``, every one of them.

    Args:
        model: the network.
        weights: a state dict.
        source: where they come from, for messages.
        classes: those of the images, for messages.

    Raises:
        CheckpointError: names, shapes or kinds of tensors differ, or tied names hold different values; the message
            counts and names them. The model is unchanged then.
    """
    require_fit(model, weights, source, classes)
    expected = model.state_dict()
    kept = {name: value for name, value in weights.items() if name in expected}
    model.load_state_dict(kept, strict=False)


def load_checkpoint(model: nn.Module, path: Path | str, key: str | None = None, classes: Sequence[str] = ()) -> None:
    """Copy the weights of a file into ``model``; see :func:`load_weights` and :func:`apply_weights`.

    Names that fit but for a prefix of their own (Lightning writes ``model.`` or ``net.``) lose it.

    Args:
        model: the network.
        path: the file.
        key: which state dict of the file.
        classes: those of the images, for messages.

    Raises:
        CheckpointError: as there, or it holds NaN, infinity or a negative variance.
    """
    weights = load_weights(path, key)
    expected = {name for name in model.state_dict() if not name.endswith(OPTIONAL)}
    prefixes = sorted(
        prefix for prefix in {name.split(".", 1)[0] for name in weights} if expected <= set(_below(weights, prefix))
    )
    if not expected <= set(weights) and prefixes:
        if len(prefixes) > 1:
            msg = f"checkpoint {path} holds weights for several networks: {', '.join(prefixes)}. Choose one by `key`"
            raise CheckpointError(msg)
        dropped = sum(not name.startswith(f"{prefixes[0]}.") for name in weights)
        _LOG.info("weights of %s: those under %r are taken, %d others left", path, prefixes[0], dropped)
        weights = _below(weights, prefixes[0])
    require_sound(model, weights, f"checkpoint {path}")
    apply_weights(model, weights, source=f"checkpoint {path}", classes=classes)


def _check_unpacked(path: Path) -> None:
    """``torch.save`` packs nothing: a file that unpacks to much more than it has was made to fill the memory.

    Raises:
        CheckpointError: it does.
    """
    with suppress(zipfile.BadZipFile), zipfile.ZipFile(path) as bundle:
        size, packed = sum(member.file_size for member in bundle.infolist()), path.stat().st_size
        if size > 2 * packed + _ANY_RATIO:
            msg = (
                f"checkpoint {path} unpacks from {packed} bytes to {size}, more than twice as many: save it by "
                "torch.save, which packs nothing"
            )
            raise CheckpointError(msg)


def _read(path: Path) -> Any:
    """The content of a checkpoint file."""
    try:
        _check_unpacked(path)
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        with warnings.catch_warnings():  # the error says what the warning does, without a place in torch's sources
            warnings.filterwarnings("ignore", ".* looks like a TorchScript archive", UserWarning)
            return torch.load(path, map_location="cpu", weights_only=True)
    except (PermissionError, CheckpointError):
        raise
    except Exception as error:  # torch, zipfile, pickle and safetensors each raise their own
        msg = (
            f"checkpoint {path} ({path.stat().st_size} bytes) cannot be read as weights: it is truncated, of "
            f"another kind, or holds pickled code, which is never run. Save a plain state dict"
        )
        raise CheckpointError(msg) from error


def _is_state_dict(content: Any) -> bool:
    values = content.values() if isinstance(content, Mapping) else ()
    return len(values) > 0 and all(isinstance(value, Tensor) for value in values)


def _state_dicts(content: Any, place: str = "", above: tuple[int, ...] = ()) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """(place, state dict) of all that a checkpoint holds, outermost first; one that contains itself ends."""
    if _is_state_dict(content):
        yield place, {str(name): value for name, value in content.items()}
    elif isinstance(content, Mapping) and id(content) not in above and len(above) < _DEEPEST:
        for name, inner in content.items():
            if isinstance(inner, Mapping) and not str(name).startswith("optim"):
                yield from _state_dicts(inner, f"{place}.{name}".lstrip("."), (*above, id(content)))


def _preference(place: str) -> list[int]:
    """The order among the usual places."""
    return [_WRAPPINGS.index(part) for part in place.split(".") if part]


def _named(held: Mapping[str, dict[str, Tensor]], key: str, path: Path) -> dict[str, Tensor]:
    """The state dict at a place, or its tensors whose names begin with the rest of the key."""
    for place, weights in held.items():
        if place == key:
            return weights
        rest = key.removeprefix(f"{place}." if place else "")
        if (not place or rest != key) and (inner := _below(weights, rest)):
            return inner
    msg = f"checkpoint {path} holds no state dict {key!r} (`key`); it holds {', '.join(held) or 'one, bare'}"
    raise CheckpointError(msg)


def _below(weights: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The weights under a prefix, without it."""
    start = f"{prefix}."
    return {name.removeprefix(start): value for name, value in weights.items() if name.startswith(start)}


def _without_prefix(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Names without what wrappers put before every one of them."""
    names = {name: value for name, value in weights.items() if name != _AVERAGED}
    changed = True
    while changed:
        changed = False
        for prefix in _PREFIXES:
            if names and all(name.startswith(prefix) for name in names):
                names = {name.removeprefix(prefix): value for name, value in names.items()}
                changed = True
    return names


def _describe(content: Any) -> str:
    if not isinstance(content, Mapping):
        return type(content).__name__
    return f"a dict of {', '.join(map(str, list(content)[:_SHOWN]))}" if content else "an empty dict"
