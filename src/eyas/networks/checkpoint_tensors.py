"""Tensors of a checkpoint against those of a network: names, shapes, kinds and ties; and values that are wrong."""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from eyas.errors import CheckpointError

_LOG = logging.getLogger(__name__)
OPTIONAL = "num_batches_tracked"  # absent before torch 0.4.1; only a cumulative average reads it
_STATISTICS = ("running_mean", "running_var")
_SHOWN = 2  # names given per kind of mismatch; the rest is counted, and logged
_NAMED = 6  # classes
_NAMES = "Check `architecture`, `arguments` and the number of classes"
_KINDS = "Save the plain tensors that the network computes with (quantised ones by dequantize(), sparse by to_dense())"
_TIES = "The network ties what was apart when it was saved: check `architecture`, or make the weights equal"


def require_fit(model: nn.Module, weights: Mapping[str, Tensor], source: str, classes: Sequence[str] = ()) -> None:
    """Refuse weights that cannot be copied into a network as they are.

    Args:
        model: the network.
        weights: a state dict.
        source: where they come from, for messages.
        classes: those of the images, for messages.

    Raises:
        CheckpointError: names, shapes or kinds of tensors differ, or one tensor of the network has several values.
    """
    expected = model.state_dict(keep_vars=True)
    held = {id(tensor) for name, tensor in expected.items() if name in weights}  # tied ones under one name suffice
    missing = [name for name, tensor in expected.items() if id(tensor) not in held and not name.endswith(OPTIONAL)]
    unexpected = [name for name in weights if name not in expected and not name.endswith(OPTIONAL)]
    common = [(name, weights[name], needed) for name, needed in expected.items() if name in weights]
    kinds = [f"{name} {_kind(saved)} for {_kind(needed)}" for name, saved, needed in common if not _fits(saved, needed)]
    plain = [(name, saved, needed) for name, saved, needed in common if _is_plain(saved)]
    shapes = [
        f"{name} {tuple(saved.shape)} for {tuple(needed.shape)}"
        for name, saved, needed in plain
        if saved.shape != needed.shape
    ]
    ties = list(_torn(plain))
    if missing or unexpected or shapes or kinds or ties:
        problems = [
            _list("missing", missing),
            _list("unexpected", unexpected),
            _list("of another shape (saved for needed)", shapes),
            _list("of another kind (saved for needed)", kinds),
            _list("with two values for one tensor of the network", ties),
        ]
        others = "" if missing or unexpected else _other_classes(plain, classes)
        advice = others or _NAMES if missing or unexpected or shapes else _KINDS if kinds else _TIES
        every = {"missing": missing, "unexpected": unexpected, "shapes": shapes, "kinds": kinds, "ties": ties}
        _LOG.info("%s does not fit: %s", source, every)
        msg = f"{source} does not fit {type(model).__name__}: {'; '.join(filter(None, problems))}. {advice}"
        raise CheckpointError(msg)


def _other_classes(plain: Sequence[tuple[str, Tensor, Tensor]], classes: Sequence[str]) -> str:
    """What is wrong where the last layer alone differs, in its outputs alone; else nothing."""
    differing = [(name, saved.shape, needed.shape) for name, saved, needed in plain if saved.shape != needed.shape]
    layer = plain[-1][0].rpartition(".")[0] if plain else ""
    sizes = {(tuple(saved[:1]), tuple(needed[:1])) for _, saved, needed in differing}
    inside = all(name.rpartition(".")[0] == layer and saved[1:] == needed[1:] for name, saved, needed in differing)
    if not inside or len(sizes) != 1 or ((), ()) in sizes:
        return ""
    (((saved,), (needed,)),) = sizes
    images = f"the images {needed}: {_first_and_last(classes)}" if len(classes) == needed else f"the network {needed}"
    return f"The checkpoint has {saved} classes, {images}. Give images and weights of the same classes"


def _first_and_last(names: Sequence[str]) -> str:
    return ", ".join(names if len(names) <= _NAMED else [*names[: _NAMED - 1], "...", names[-1]])


def require_sound(model: nn.Module, weights: Mapping[str, Tensor], source: str) -> None:
    """Refuse values that no training ends with; a layer whose weights are all zero is told in the log.

    A buffer that is no batch-norm statistic may be infinite: masks of attention are.

    Raises:
        CheckpointError: names the tensors that hold NaN or infinity, and the variances below zero.
    """
    wrong = []
    for name, needed in model.state_dict(keep_vars=True).items():
        saved, is_weight = weights.get(name), isinstance(needed, nn.Parameter)
        if saved is None or not (_is_plain(saved) and saved.is_floating_point() and needed.is_floating_point()):
            continue
        if saved.isnan().any():
            wrong.append(f"{name} holds NaN")
        elif (is_weight or name.endswith(_STATISTICS)) and not saved.to(needed.dtype).isfinite().all():
            wrong.append(f"{name} holds infinity")
        elif name.endswith("running_var") and (saved < 0).any():
            wrong.append(f"{name} is negative, which no variance is")
        elif is_weight and saved.ndim > 1 and saved.numel() and not saved.any():
            _LOG.warning("all weights of %s are zero in %s: nothing passes through that layer", name, source)
    if wrong:
        msg = f"{source}: {_list('wrong', wrong)}. Take one from before its training diverged"
        raise CheckpointError(msg)


def _torn(common: Iterable[tuple[str, Tensor, Tensor]]) -> Iterator[str]:
    """Names of one tensor of the network whose values differ."""
    first: dict[tuple[object, ...], tuple[str, Tensor]] = {}
    for name, saved, needed in common:
        if not (_is_plain(needed) and needed.data_ptr()):
            continue
        memory = (needed.device, needed.data_ptr(), needed.shape, needed.stride())
        known, value = first.setdefault(memory, (name, saved))
        if known != name and not torch.equal(value.to(needed.dtype), saved.to(needed.dtype)):
            yield f"{known} and {name}"


def _fits(saved: Tensor, needed: Tensor) -> bool:
    """Whether copying keeps what was saved: but for rounding of floating-point numbers, exactly."""
    if not (_is_plain(saved) and _is_plain(needed)):
        return _kind(saved) == _kind(needed)
    if needed.is_floating_point():
        is_mask = saved.dtype == torch.bool and not isinstance(needed, nn.Parameter)
        return saved.is_floating_point() or is_mask
    if needed.is_complex() or saved.is_complex():
        return needed.is_complex() and (saved.is_complex() or saved.is_floating_point())
    return torch.equal(saved.to(needed.dtype).to(saved.dtype), saved)


def _is_plain(tensor: Tensor) -> bool:
    """Dense numbers that are here; nothing else has values to copy."""
    return not (tensor.is_quantized or tensor.is_meta or tensor.is_nested) and tensor.layout == torch.strided


def _kind(tensor: Tensor) -> str:
    if _is_plain(tensor):
        return str(tensor.dtype).removeprefix("torch.")
    if tensor.is_quantized:
        return "quantised"
    if tensor.is_meta:
        return "meta, without values,"
    return "nested" if tensor.is_nested else "sparse"


def _list(kind: str, names: Iterable[str]) -> str:
    """The first few of ``names`` after their number and kind."""
    names = list(names)
    if not names:
        return ""
    more = ", ..." if len(names) > _SHOWN else ""
    return f"{len(names)} {kind}: {', '.join(names[:_SHOWN])}{more}"
