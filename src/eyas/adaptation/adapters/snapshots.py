"""Snapshots of an adaptation: of which network and options they are, and whether they are whole."""

import hashlib
from collections.abc import Collection, Mapping

import torch
from torch import Tensor, nn

from eyas.adaptation.adapters.base import Adapter
from eyas.errors import DataError
from eyas.networks.named_tensors import state
from eyas.pruning.model_digests import modules_digest

ORIGIN, CONTENT = "origin", "content"
"""What a snapshot calls the digests of what its adaptation started from, and of its own tensors; 32 bytes each."""


def origin_digest(adapter: Adapter, model: nn.Module) -> Tensor:
    """sha256 of an adapter's options and of the network it starts from, statistics too, as 32 bytes."""
    return _digest(f"{adapter.model_dump_json()}{modules_digest(model)}", state(model))


def content_digest(tensors: Mapping[str, Tensor]) -> Tensor:
    """sha256 of tensors by name, as 32 bytes."""
    return _digest("", {name: tensors[name].detach().cpu().contiguous() for name in sorted(tensors)})


def _digest(words: str, tensors: Mapping[str, Tensor]) -> Tensor:
    digest = hashlib.sha256(words.encode())
    for name, tensor in tensors.items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
    return torch.frombuffer(bytearray(digest.digest()), dtype=torch.uint8)


def check_snapshot(
    snapshot: Mapping[str, Tensor], here: Mapping[str, Tensor], origin: Tensor, sized_by_images: Collection[str]
) -> None:
    """Refuse what an adaptation cannot be restored from.

    Args:
        snapshot: what is to be restored, with its digests.
        here: what the adaptation holds now, by name.
        origin: of the adaptation.
        sized_by_images: what in the memory has a last dimension that only images tell.

    Raises:
        DataError: it is of another adaptation, or damaged.
    """
    digests = {ORIGIN, CONTENT}
    if here.keys() == snapshot.keys():
        msg = "`state` does not say of which network and options it is, as an older eyas left it: take another"
        raise DataError(msg)
    free = {f"memory.{name}" for name in sized_by_images}
    wrong = (here.keys() | digests) ^ snapshot.keys()
    wrong |= {
        name
        for name in here.keys() & snapshot.keys()
        if not _fits(snapshot[name], here[name], free_columns=name in free)
    }
    wrong |= {name for name in digests - wrong if not _fits(snapshot[name], origin, free_columns=False)}
    if wrong:
        msg = f"`state` is no snapshot of this adaptation, or damaged ({min(map(str, wrong))}): take another"
        raise DataError(msg)
    if not torch.equal(snapshot[ORIGIN].cpu(), origin):
        msg = (
            "`state` is no snapshot of this adaptation: it began from another network or statistics, or with other "
            "options; prepare it as it was prepared then"
        )
        raise DataError(msg)
    if not torch.equal(snapshot[CONTENT].cpu(), content_digest({name: snapshot[name] for name in here})):
        raise DataError("`state` is no snapshot of this adaptation, or damaged since it was taken: take another")


def _fits(value: object, held: Tensor, *, free_columns: bool) -> bool:
    if not isinstance(value, Tensor) or value.dtype != held.dtype or value.ndim != held.ndim:
        return False
    return value.shape[:-1] == held.shape[:-1] if free_columns else value.shape == held.shape
