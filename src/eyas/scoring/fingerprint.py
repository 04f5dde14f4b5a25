"""What a race is, as one hash: a journal of another race must never be continued."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from eyas.scoring.images import Images


def race_fingerprint(model: nn.Module, images: Images, marks: NDArray[np.void], words: Sequence[str]) -> str:
    """sha256 over weights, images, labels, candidates, settings, and the code that scores."""
    digest = hashlib.sha256()
    for path in _code():
        digest.update(path.read_bytes())
    for name, weights in [*model.named_parameters(), *model.named_buffers()]:
        digest.update(name.encode())
        _update(digest, weights)
    for given in (images.calibration, images.scoring, images.labels):
        if given is not None:
            _update(digest, given)
    digest.update(marks.tobytes())
    digest.update("\n".join(words).encode())
    return digest.hexdigest()


def _code() -> list[Path]:
    package = Path(__file__).parents[1]
    folders = [path for name in ("scoring", "calibrators", "scorers") for path in sorted((package / name).glob("*.py"))]
    return [*folders, package / "batchnorm.py", package / "surgery.py"]


def _update(digest: Any, tensor: Tensor) -> None:
    digest.update(str((tuple(tensor.shape), tensor.dtype)).encode())
    raw = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
    digest.update(raw.numpy().data)
