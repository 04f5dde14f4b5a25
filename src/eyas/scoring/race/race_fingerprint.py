"""What a race is, as one hash and a few outputs: a journal of another race must never be continued."""

import hashlib
import inspect
import re
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import eyas
from eyas.scoring.image_sets import ImageSets

_SAMPLED_OUTPUTS = 1000


def race_fingerprint(
    model: nn.Module, images: ImageSets, plan_digests: NDArray[np.void], settings: Sequence[str]
) -> str:
    """sha256 over layers, weights, images, labels, candidates, settings, and the package's own code.

    The code of the network is not in it: its :func:`sample_outputs` tell.
    """
    digest = hashlib.sha256()
    for path in sources():
        digest.update(path.read_bytes())
    digest.update(re.sub(r" at 0x[0-9a-f]+", "", repr(model)).encode())
    for name, weights in [*model.named_parameters(), *model.named_buffers()]:
        digest.update(name.encode())
        _update(digest, weights)
    for tensor in (images.calibration, images.scoring, images.labels, images.training, images.training_labels):
        if tensor is not None:
            _update(digest, tensor)
    digest.update(plan_digests.tobytes())
    digest.update("\n".join(settings).encode())
    return digest.hexdigest()


def sources() -> list[Path]:
    """Every source file of this package."""
    return sorted(Path(eyas.__file__).parent.rglob("*.py"))


def code_of(cls: type) -> str:
    """sha256 of the files that define a class and its bases, outside of this package.

    Where one has no file (an interactive session), something never seen before: what cannot be compared is another.
    """
    digest = hashlib.sha256()
    for base in cls.__mro__:
        if base.__module__.partition(".")[0] in {"eyas", "pydantic", "builtins"}:
            continue
        try:
            digest.update(Path(inspect.getfile(base)).read_bytes())
        except (OSError, TypeError):
            return secrets.token_hex()
    return digest.hexdigest()


def sample_outputs(dense: Tensor) -> NDArray[np.float32]:
    """At most about a thousand of the dense network's outputs, evenly spread."""
    flat: NDArray[np.float32] = dense.float().cpu().numpy().ravel()
    return flat[:: -(-len(flat) // _SAMPLED_OUTPUTS)]


def _update(digest: Any, tensor: Tensor) -> None:
    digest.update(str((tuple(tensor.shape), tensor.dtype)).encode())
    raw = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
    digest.update(raw.numpy().data)
