"""How large files are once they are compressed, as for a download: what zeros in weights bring."""

import zlib
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

FEWEST_ZEROS = 0.1
"""Share of a network's numbers; with fewer zeros nothing is measured."""
_PIECE = 1 << 20
_GZIP = 31  # zlib's number for gzip's container with the largest window


def gzip_bytes(path: Path) -> int:
    """Size of a file as ``gzip -6`` writes it, without its name."""
    packer, size = zlib.compressobj(6, zlib.DEFLATED, _GZIP), 0
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            size += len(packer.compress(piece))
    return size + len(packer.flush())


def compressed_sizes(state: Mapping[str, Tensor], files: Mapping[str, Path]) -> dict[str, int]:
    """``{name}_gzip_bytes`` of files, where a network has many zeros; else nothing.

    Args:
        state: of the network.
        files: by name.
    """
    total = sum(tensor.numel() for tensor in state.values())
    filled = sum(int(torch.count_nonzero(tensor)) for tensor in state.values())
    if total - filled < FEWEST_ZEROS * total:
        return {}
    return {f"{name}_gzip_bytes": gzip_bytes(path) for name, path in files.items()}
