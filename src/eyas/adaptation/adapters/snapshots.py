"""Snapshots of an adaptation: of which network and options they are, and whether they can be restored."""

import hashlib
from collections.abc import Collection, Mapping

import torch
from torch import Tensor, nn

from eyas.adaptation.adapters.base import Adapter
from eyas.calibration.batchnorm import named_batch_norms
from eyas.errors import DataError
from eyas.networks.named_tensors import state
from eyas.pruning.model_digests import modules_digest

ORIGIN = "origin"
"""What a snapshot calls the digest of what its adaptation started from."""
_NEVER_NEGATIVE = {
    *("images", "batches", "seed", "count", "step", "exp_avg_sq"),
    *("source_var", "var", "variances", "entropy_W", "probability_WK"),
}
_OF_PARAMETERS = ("student.", "teacher.", "base.", "source.", "side.", "discriminator.", "sgd.")
"""Begin the names of what is remembered of a network's own tensors, which may be called anything."""


def origin_digest(adapter: Adapter, model: nn.Module) -> Tensor:
    """sha256 of an adapter's options and of the network it starts from, statistics too, as 32 bytes."""
    digest = hashlib.sha256(f"{adapter.model_dump_json()}{modules_digest(model)}".encode())
    for name, tensor in state(model).items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
    return torch.frombuffer(bytearray(digest.digest()), dtype=torch.uint8)


def check_snapshot(
    snapshot: Mapping[str, Tensor],
    here: Mapping[str, Tensor],
    origin: Tensor,
    model: nn.Module,
    sized_by_images: Collection[str],
) -> None:
    """Refuse what an adaptation cannot be restored from.

    Args:
        snapshot: what is to be restored, its origin among it.
        here: what the adaptation holds now, by name.
        origin: of the adaptation.
        model: its network.
        sized_by_images: what in the memory has a last dimension that only images tell.

    Raises:
        DataError: it is of another adaptation, or damaged.
    """
    wrong = {name for name, tensor in snapshot.items() if not isinstance(tensor, Tensor)}
    if not wrong and ORIGIN not in snapshot and not here.keys() ^ snapshot.keys():
        msg = "`state` does not say of which network and options it is, as an older eyas left it: take another"
        raise DataError(msg)
    wrong |= (here.keys() | {ORIGIN}) ^ snapshot.keys()
    for name in here.keys() & snapshot.keys() - wrong:
        value, free = snapshot[name], name.removeprefix("memory.") in sized_by_images
        fits = _fits(value, here[name], free_columns=free) and bool(torch.isfinite(value).all())
        if not fits or (_is_amount(name, model) and bool((value < 0).any())):
            wrong.add(name)
    if wrong:
        msg = f"`state` is no snapshot of this adaptation, or damaged ({min(map(str, wrong))}): take another"
        raise DataError(msg)
    if not torch.equal(snapshot[ORIGIN].cpu(), origin):
        msg = (
            "`state` is no snapshot of this adaptation: it began from another network or statistics, or with other "
            "options; prepare it as it was prepared then"
        )
        raise DataError(msg)


def _fits(value: Tensor, held: Tensor, *, free_columns: bool) -> bool:
    if value.dtype != held.dtype or value.ndim != held.ndim:
        return False
    return value.shape[:-1] == held.shape[:-1] if free_columns else value.shape == held.shape


def _is_amount(name: str, model: nn.Module) -> bool:
    """Whether a tensor counts something, or is a variance: below 0 it is neither."""
    room, _, rest = name.partition(".")
    if room == "model":
        return rest.endswith(".running_var") and rest.removesuffix(".running_var") in named_batch_norms(model)
    last = rest.rpartition(".")[2]
    if rest.startswith(_OF_PARAMETERS):
        return False
    return last == "running_var" if ".model." in rest else last in _NEVER_NEGATIVE
