"""``eyas.adapt``: a network that has followed images of the field, in one call."""

import logging
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from eyas.adaptation.adapters import Adapter
from eyas.adaptation.adapters.image_batches import as_batch
from eyas.calibration.recalibrate import even_batches
from eyas.errors import ParameterError

_LOG = logging.getLogger(__name__)


def adapt(
    model: nn.Module,
    images: Tensor,
    adapter: Adapter | str | Mapping[str, Any] = "alpha_bn",
    *,
    statistics: Mapping[str, Tensor] | None = None,
    source: Tensor | None = None,
    batch_size: int = 64,
    seed: int = 0,
) -> nn.Module:
    """A copy of ``model`` that has followed ``images``, each seen once and in mixed order; they need no labels.

    Whether that helped only labelled images can tell: batch-norm adaptation may also lose accuracy.

    Args:
        model: a trained network with batch-norm; it is not changed.
        images: of the field, normalised as for its training, ``(N, C, H, W)``.
        adapter: who adapts: a kind, or a member with its options. The default keeps part of the old statistics, for no
            rule judges here; `eyas adapt`, which asks one, takes ``ada_bn``.
        statistics: what its batch-norm layers held when it was exported (``bn_statistics.safetensors``); without it
            what they hold now.
        source: images of its training, where the adapter needs them.
        batch_size: images per batch, at most; batches are as even as can be.
        seed: of their order, and of all that is drawn.

    Returns:
        A plain network of the same class, in eval mode.

    Raises:
        ParameterError: there is no such adapter, it ends in no plain network, needs labels, or cannot work with what
            there is.
        DataError: the images or the statistics cannot be used.

    Example::

        adapted = eyas.adapt(model, field_images)
        adapted = eyas.adapt(model, field_images, adapter=AlphaBn(source_weight=0.5))
    """
    member = Adapter.parse(adapter)
    member.require_foldable()
    if member.needs_labels:
        msg = f"`adapter` {member.kind} learns from labels: use observe with images and labels, or another adapter"
        raise ParameterError(msg)
    if batch_size < member.min_batch:
        msg = f"`batch_size` is {batch_size}: {member.kind} needs at least {member.min_batch} images at once"
        raise ParameterError(msg)
    images = as_batch("images", images, member.min_batch)
    adaptation = member.prepare(model, statistics, source, seed)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    answers = torch.cat([adaptation.observe(batch).argmax(1) for batch in even_batches(images[order], batch_size)])
    first = int(answers.flatten()[0])
    if member.assumes_iid and bool((answers == first).all()):
        _LOG.warning("all %d images are taken for class %d: %s expects all classes", len(images), first, member.kind)
    return adaptation.finalise()
