"""The adaptation that an adapter starts: a network that follows images, goes back, and ends as a plain one."""

import copy
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from eyas.adaptation.adapters.base import Adapter
from eyas.adaptation.adapters.image_batches import (
    as_batch,
    as_network,
    telling_failures,
    telling_shapes,
    warn_of_pixels,
)
from eyas.adaptation.adapters.snapshots import CONTENT, ORIGIN, check_snapshot, content_digest
from eyas.calibration.batchnorm import skipped_norms
from eyas.errors import DataError, ParameterError


class Adaptation:
    """A network that follows the images it is shown: `observe` them, go back by `restore`, end by `finalise`."""

    sized_by_images: ClassVar[frozenset[str]] = frozenset()
    """What in ``memory`` has no columns before the first images, as only they tell how many."""

    def __init__(self, adapter: Adapter, model: nn.Module) -> None:
        self.adapter = adapter
        self.model = model
        self._learnable = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
        model.requires_grad_(requires_grad=False)
        self.memory: dict[str, Tensor] = {}
        """What is remembered beside the network, by name; changed in place."""
        self.image_shape: torch.Size | None = None
        self.origin = torch.zeros(32, dtype=torch.uint8)
        """Digest of what it started from, which `Adapter.prepare` sets."""
        self.skipped = skipped_norms(model)
        """Names of normalisation layers that stay as they are: those that hold no batch-norm statistics."""

    @torch.inference_mode(mode=False)
    def observe(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Learn from a batch, and answer it: logits ``(N, K)``.

        Statistics are those that the batch has made; who takes gradients, or labels, answers before the step.

        Args:
            images: ``(N, C, H, W)``, normalised floats of any precision; they get that of the network.
            labels: what they show, ``(N,)``, for an adapter that ``needs_labels``; images without them it only answers.

        Raises:
            DataError: the images are too few, no finite floats, or of another shape than the network or those before;
                the labels do not fit them; learning ended in answers that are not finite.
            ParameterError: the adapter reads no labels, or cannot work with the network.

        Whatever is raised, the adaptation stands where it stood before.
        """
        images = as_network(self.model, as_batch("images", images, self.adapter.min_batch), "images")
        if labels is not None:
            self._check_labels(labels, len(images))
        if self.image_shape is None:
            warn_of_pixels(images, "images")
        elif images.shape[1:] != self.image_shape:
            shapes = f"{tuple(images.shape[1:])} and those before {tuple(self.image_shape)}"
            raise DataError(f"`images` have the shape {shapes}: an adaptation takes images of one shape")
        before = self._copied_state()
        try:
            if self.image_shape is None:
                with telling_shapes(images, "images"):
                    self.adapter.require_answers(self.model, images[: self.adapter.min_batch])
            with telling_failures(images, "images", self.adapter.kind):
                logits = self.step(images) if labels is None else self.teach(images, labels.to(images.device))
            self._require_finite(logits)
        except BaseException:
            self._put(before)
            raise
        self.image_shape = images.shape[1:]
        return logits.detach()

    def _require_finite(self, logits: Tensor) -> None:
        """Refuse a batch that ended in answers, or leaves what is remembered, without numbers."""
        if all(bool(tensor.isfinite().all()) for tensor in (logits, *self.state().values())):
            return
        held = next(tensor.dtype for tensor in self.model.state_dict().values() if tensor.is_floating_point())
        msg = "`images` hold values that no layer can work with: look at how they are decoded and normalised"
        if torch.finfo(held).bits < 32:
            msg = f"`images` lead to values that {held}, the network's, does not hold: give `model` in 32 bits"
        if self.adapter.needs_backward or self.adapter.needs_labels:
            msg = (
                f"{self.adapter.kind} ended in no finite answers: lower its rate, or take another `adapter`; or look "
                "at how `images` are normalised"
            )
        raise DataError(msg)

    def step(self, images: Tensor) -> Tensor:
        """What a member does with a batch that was looked at: learn, and answer."""
        raise NotImplementedError(f"{type(self).__name__} does not say how it learns")

    def teach(self, images: Tensor, labels_N: Tensor) -> Tensor:
        """What a member that needs labels does with a batch that has some: answer, and learn them."""
        raise NotImplementedError(f"{type(self).__name__} does not say how it learns labels")

    def _check_labels(self, labels: Tensor, images: int) -> None:
        if not self.adapter.needs_labels:
            raise ParameterError(f"`labels` are read by no {self.adapter.kind}: leave them out")
        whole = not (labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool)
        if not whole or labels.shape != (images,) or bool((labels < 0).any()):
            what = f"{labels.dtype} of the shape {tuple(labels.shape)}"
            msg = f"`labels` are {what}: give {images} integers from 0, one for each image"
            raise DataError(msg)

    def state(self) -> dict[str, Tensor]:
        """All tensors that say where the adaptation stands: those of the network, and what is remembered beside it."""
        network = {f"model.{name}": tensor for name, tensor in self.model.state_dict().items()}
        return network | {f"memory.{name}": tensor for name, tensor in self.memory.items()}

    def snapshot(self) -> dict[str, Tensor]:
        """A copy of where the adaptation stands; tensors by name, as a safetensors file takes them.

        Two of them are digests of 32 bytes: ``origin`` of the network and the options that it started from, ``content``
        of all other tensors.
        """
        copied = self._copied_state()
        return copied | {ORIGIN: self.origin.clone(), CONTENT: content_digest(copied)}

    def _copied_state(self) -> dict[str, Tensor]:
        return {name: tensor.detach().clone() for name, tensor in self.state().items()}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go back to where a snapshot was taken; what follows is the same, bit for bit, with the same ``source``.

        Raises:
            DataError: ``state`` is of another network, other statistics or options, of an eyas that noted none of
                these, or damaged; nothing has changed then.
        """
        check_snapshot(state, self.state(), self.origin, self.sized_by_images)
        self._put(state)

    @torch.no_grad()
    def _put(self, state: Mapping[str, Tensor]) -> None:
        for name, tensor in self.state().items():
            if tensor.shape != state[name].shape:
                tensor.resize_(state[name].shape)
            tensor.copy_(state[name])

    def finalise(self) -> nn.Module:
        """The adapted network: a copy of the class that was adapted, in eval mode, without hooks or wrappers.

        Raises:
            ParameterError: the adapter answers by more than the network's layers; no plain network does what it does.
            DataError: learning ended in values that are not finite.
        """
        self.adapter.require_foldable()
        return self.plain(self.model)

    @torch.inference_mode(mode=False)
    def plain(self, model: nn.Module) -> nn.Module:
        """A copy of ``model`` whose parameters can be trained if those of the adapted network could."""
        for parameter in model.parameters():
            parameter.grad = None
        copied = copy.deepcopy(model)
        spoilt = [name for name, tensor in copied.state_dict().items() if not torch.isfinite(tensor).all()]
        if spoilt:
            msg = f"{self.adapter.kind} ended in no finite {spoilt[0]}: lower its rate, or take another `adapter`"
            raise DataError(msg)
        for name, parameter in copied.named_parameters():
            parameter.requires_grad_(name in self._learnable)
        return copied
