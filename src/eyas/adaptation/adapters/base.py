"""The root of the adapters: what an adapter promises, and the adaptation that it starts."""

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import BeforeValidator, Field, SerializeAsAny

from eyas.component import Component
from eyas.data.image_tensors import as_images
from eyas.errors import DataError, ParameterError, one_line

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

_DOES_NOT_FIT = ("to have", "shapes cannot be multiplied", "must match", "smaller than", "too small")
"""What torch says of images that do not go through a network."""
Rate = Annotated[float, Field(gt=0, le=1e38)]
"""Of an optimiser: at 0 nothing would learn, and 32 bits hold no more."""


class Adapter(Component):
    """Lets a trained network follow images of the field, without labels unless it needs them; the network stays."""

    needs_labels: ClassVar[bool] = False
    """Learns from labels of the field's images, which `Adaptation.observe` takes."""
    needs_source: ClassVar[bool] = False
    """Reads images of the network's training, without labels."""
    needs_backward: ClassVar[bool] = False
    """Takes gradients; all others run where there are none, as under ``torch.inference_mode``."""
    foldable: ClassVar[bool] = True
    """Ends in fixed numbers: ``finalise`` gives a plain network, whose batch-norm folds into its convolutions."""
    min_batch: ClassVar[int] = 1
    """The fewest images that it can look at at once."""
    assumes_iid: ClassVar[bool] = True
    """Expects all classes in each batch: not for streams that are sorted by class."""

    def prepare(
        self,
        model: "nn.Module",
        statistics: "Mapping[str, Tensor] | None" = None,
        source: "Tensor | None" = None,
        seed: int = 0,
    ) -> "Adaptation":
        """An adaptation that starts from a copy of ``model``.

        Args:
            model: a trained network; it is not changed.
            statistics: what its batch-norm layers hold, as ``bn_statistics.safetensors`` of an export has it; without
                it what they hold now.
            source: images of its training, normalised, ``(N, C, H, W)``; where the adapter ``needs_source``.
            seed: of all that is drawn.

        Raises:
            ParameterError: ``model`` has no batch-norm, or ``source`` is missing.
            DataError: ``statistics`` or those of ``model`` are none, or do not fit; ``source`` cannot be used.
        """
        import torch

        from eyas.adaptation.source_statistics import check_statistics, put_statistics
        from eyas.calibration.batchnorm import named_batch_norms

        twin = copy.deepcopy(model).eval()
        if statistics is not None:
            put_statistics(twin, statistics)
        if not named_batch_norms(twin):
            msg = (
                "`model` has no batch-norm with running statistics: there is nothing to adapt; where it was folded "
                "into the convolutions, give the network before that, or unfold it "
                "(eyas.networks.operated_network.operate)"
            )
            raise ParameterError(msg)
        check_statistics(twin, "model")
        if self.needs_source and source is None:
            msg = f"`source` is missing: {self.kind} reads images of the training; give some hundred, or take alpha_bn"
            raise ParameterError(msg)
        if source is not None:
            source = _as_network(twin, check_images(source, "source", self.min_batch), "source")
            if self.needs_source:
                with _telling(source, "source"):
                    self.require_answers(twin, source[: self.min_batch])
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return self.start(twin, source)

    def require_foldable(self) -> None:
        """Refuse an adapter that answers by more than the network's layers: no plain network does what it does.

        Raises:
            ParameterError: it is one.
        """
        if not self.foldable:
            msg = (
                f"`adapter` {self.kind} answers by more than the network's own layers: it ends in no plain network; "
                "use observe, or another adapter"
            )
            raise ParameterError(msg)

    def require_answers(self, model: "nn.Module", images: "Tensor") -> None:
        """Refuse a network that answers in a form that the adapter cannot read.

        Raises:
            ParameterError: it answers with more than one tensor, or with none of class scores where these are read.
        """
        import torch
        from torch import Tensor

        from eyas.calibration.batchnorm import evaluation_mode

        with torch.no_grad(), evaluation_mode(model):
            answers = model(images)
        if not isinstance(answers, Tensor) or (self.reads_scores and answers.ndim != 2):
            what = f"shape {tuple(answers.shape)}" if isinstance(answers, Tensor) else type(answers).__name__
            msg = f"`model` answers with {what}: {self.kind} takes networks that answer with logits (N, K) alone"
            raise ParameterError(msg)

    @property
    def reads_scores(self) -> bool:
        """Whether it reads a row of class scores per image, and not statistics alone."""
        return self.needs_backward

    def start(self, model: "nn.Module", source: "Tensor | None") -> "Adaptation":
        """The adaptation of ``model``, a copy in eval mode; random numbers are seeded."""
        raise NotImplementedError(f"{type(self).__name__} does not say how it adapts")


AnyAdapter = Annotated[SerializeAsAny[Adapter], BeforeValidator(Adapter.validated)]


class Adaptation:
    """A network that follows the images it is shown: `observe` them, go back by `restore`, end by `finalise`."""

    sized_by_images: ClassVar[frozenset[str]] = frozenset()
    """What in ``memory`` is empty before the first images, as only they tell its size."""

    def __init__(self, adapter: Adapter, model: "nn.Module") -> None:
        self.adapter = adapter
        self.model = model
        self._learnable = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
        model.requires_grad_(requires_grad=False)
        self.memory: dict[str, Tensor] = {}
        """What is remembered beside the network, by name; changed in place."""
        self.image_shape: torch.Size | None = None

    def observe(self, images: "Tensor", labels: "Tensor | None" = None) -> "Tensor":
        """Learn from a batch, and answer it: logits ``(N, K)``.

        Statistics are those that the batch has made; who takes gradients, or labels, answers before the step.

        Args:
            images: ``(N, C, H, W)``, normalised floats of any precision; they get that of the network.
            labels: what they show, ``(N,)``, for an adapter that ``needs_labels``; images without them it only answers.

        Raises:
            DataError: the images are too few, no finite floats, or of another shape than the network or those before;
                the labels do not fit them; learning ended in answers that are not finite. Nothing has changed then.
            ParameterError: the adapter reads no labels.
        """
        images = _as_network(self.model, check_images(images, "images", self.adapter.min_batch), "images")
        if labels is not None:
            self._check_labels(labels, len(images))
        if self.image_shape is not None and images.shape[1:] != self.image_shape:
            shapes = f"{tuple(images.shape[1:])} and those before {tuple(self.image_shape)}"
            raise DataError(f"`images` have the shape {shapes}: an adaptation takes images of one shape")
        before = self.snapshot()
        try:
            with _telling(images, "images"):
                if self.image_shape is None:
                    self.adapter.require_answers(self.model, images[: self.adapter.min_batch])
                logits = self.step(images) if labels is None else self.teach(images, labels.to(images.device))
            self._require_finite(logits)
        except (RuntimeError, DataError):
            self.restore(before)
            raise
        self.image_shape = images.shape[1:]
        return logits.detach()

    def _require_finite(self, logits: "Tensor") -> None:
        """Refuse a batch that ended in answers, or leaves what is remembered, without numbers."""
        if all(bool(tensor.isfinite().all()) for tensor in (logits, *self.state().values())):
            return
        msg = "`images` hold values that no layer can work with: look at how they are decoded and normalised"
        if self.adapter.needs_backward or self.adapter.needs_labels:
            msg = f"{self.adapter.kind} ended in no finite answers: lower its rate, or take another `adapter`"
        raise DataError(msg)

    def step(self, images: "Tensor") -> "Tensor":
        """What a member does with a batch that was looked at: learn, and answer."""
        raise NotImplementedError(f"{type(self).__name__} does not say how it learns")

    def teach(self, images: "Tensor", labels_N: "Tensor") -> "Tensor":
        """What a member that needs labels does with a batch that has some: answer, and learn them."""
        raise NotImplementedError(f"{type(self).__name__} does not say how it learns labels")

    def _check_labels(self, labels: "Tensor", images: int) -> None:
        if not self.adapter.needs_labels:
            raise ParameterError(f"`labels` are read by no {self.adapter.kind}: leave them out")
        if labels.is_floating_point() or labels.shape != (images,) or bool((labels < 0).any()):
            what = f"{labels.dtype} of the shape {tuple(labels.shape)}"
            msg = f"`labels` are {what}: give {images} integers from 0, one for each image"
            raise DataError(msg)

    def state(self) -> "dict[str, Tensor]":
        """All tensors that say where the adaptation stands: those of the network, and what is remembered beside it."""
        network = {f"model.{name}": tensor for name, tensor in self.model.state_dict().items()}
        return network | {f"memory.{name}": tensor for name, tensor in self.memory.items()}

    def snapshot(self) -> "dict[str, Tensor]":
        """A copy of where the adaptation stands; tensors by name, as a safetensors file takes them."""
        return {name: tensor.detach().clone() for name, tensor in self.state().items()}

    def restore(self, state: "Mapping[str, Tensor]") -> None:
        """Go back to where a snapshot was taken; what follows is the same, bit for bit.

        Raises:
            DataError: ``state`` is of another adaptation, or damaged; nothing has changed then.
        """
        import torch

        here = self.state()
        wrong = here.keys() ^ state.keys()
        fixed = here.keys() & state.keys() - {f"memory.{name}" for name in self.sized_by_images}
        wrong |= {name for name in fixed if state[name].shape != here[name].shape}
        wrong |= {name for name, tensor in state.items() if not torch.isfinite(tensor).all()}
        wrong |= {name for name, tensor in state.items() if name.endswith(("var", "variances")) and (tensor < 0).any()}
        if wrong:
            msg = f"`state` is no snapshot of this adaptation, or damaged ({sorted(wrong)[0]}): take another"
            raise DataError(msg)
        with torch.no_grad():
            for name, tensor in here.items():
                if tensor.shape != state[name].shape:
                    tensor.resize_(state[name].shape)
                tensor.copy_(state[name])

    def finalise(self) -> "nn.Module":
        """The adapted network: a copy of the class that was adapted, in eval mode, without hooks or wrappers.

        Raises:
            ParameterError: the adapter answers by more than the network's layers; no plain network does what it does.
            DataError: learning ended in values that are not finite.
        """
        self.adapter.require_foldable()
        return self.plain(self.model)

    def plain(self, model: "nn.Module") -> "nn.Module":
        """A copy of ``model`` whose parameters can be trained if those of the adapted network could."""
        import torch

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


@contextmanager
def _telling(images: "Tensor", name: str) -> "Iterator[None]":
    """Tell in a line that images do not go through a network."""
    try:
        yield
    except RuntimeError as error:
        if not any(words in str(error) for words in _DOES_NOT_FIT):
            raise
        msg = f"`{name}` of the shape {tuple(images.shape)} do not go through the network: {one_line(error)}"
        raise DataError(msg) from error


def _as_network(model: "nn.Module", images: "Tensor", name: str) -> "Tensor":
    """Images on the device of a network, and in its precision."""
    held = [tensor for tensor in model.state_dict().values() if tensor.is_floating_point()]
    images = images.to(held[0].device, held[0].dtype)
    if not images.isfinite().all():
        msg = f"`{name}` holds values that {held[0].dtype}, the network's, does not hold: look at their normalisation"
        raise DataError(msg)
    return images


def check_images(images: "Tensor", name: str, fewest: int) -> "Tensor":
    """The images, if they are a batch of finite, normalised ones.

    Raises:
        DataError: with the argument's ``name``.
    """
    images = as_images(name, images)
    if not images.is_floating_point() or images.ndim != 4:
        msg = f"`{name}` are {images.dtype} of the shape {tuple(images.shape)}: give normalised floats (N, C, H, W)"
        raise DataError(msg)
    if len(images) < fewest:
        msg = f"`{name}` holds {len(images)} images at once: this adapter needs at least {fewest}"
        raise DataError(msg)
    if not images.isfinite().all():
        raise DataError(f"`{name}` holds values that are not finite: look at how images are decoded and normalised")
    return images
