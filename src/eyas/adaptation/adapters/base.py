"""The root of the adapters: what an adapter promises, and the adaptation that it starts."""

import logging
from collections.abc import Mapping
from contextlib import nullcontext
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import BeforeValidator, Field, SerializeAsAny

from eyas.component import Component
from eyas.errors import ParameterError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from eyas.adaptation.adapters.adaptation import Adaptation

_LOG = logging.getLogger(__name__)
Rate = Annotated[float, Field(gt=0, le=1e38)]
"""Of an optimiser: at 0 nothing would learn, and 32 bits hold no more."""


class Adapter(Component):
    """Lets a trained network follow images of the field, without labels unless it needs them; the network stays."""

    needs_labels: ClassVar[bool] = False
    """Learns from labels of the field's images, which `Adaptation.observe` takes."""
    needs_source: ClassVar[bool] = False
    """Reads images of the network's training, without labels."""
    needs_backward: ClassVar[bool] = False
    """Takes gradients, also under ``torch.inference_mode``, which `Adaptation.observe` leaves; weights of 32 bits."""
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
            ParameterError: ``model`` has no batch-norm, weights of fewer than 32 bits where the adapter
                ``needs_backward``, or cannot be copied; or ``source`` is missing.
            DataError: ``statistics`` or those of ``model`` are none, or do not fit; ``model`` holds values that are not
                finite; ``source`` cannot be used.
        """
        import torch

        from eyas.adaptation.adapters.image_batches import telling_failures
        from eyas.adaptation.adapters.snapshots import origin_digest

        twin = self._adaptable_copy(model, statistics)
        if self.needs_source and source is None:
            msg = f"`source` is missing: {self.kind} reads images of the training; give some hundred, or take alpha_bn"
            raise ParameterError(msg)
        with torch.inference_mode(mode=False), torch.random.fork_rng(devices=[]):
            source = None if source is None else self._source_for(twin, source)
            origin = origin_digest(self, twin)
            torch.manual_seed(seed)
            with nullcontext() if source is None else telling_failures(source, "source", self.kind):
                adaptation = self.start(twin, source)
            adaptation.origin = origin
            return adaptation

    def _adaptable_copy(self, model: "nn.Module", statistics: "Mapping[str, Tensor] | None") -> "nn.Module":
        """A copy of ``model`` with these statistics, whose numbers the adapter can work with."""
        from eyas.adaptation.adapters.prepared_network import (
            private_copy,
            require_batch_norm,
            require_numbers,
            require_precision,
        )
        from eyas.adaptation.source_statistics import check_statistics, put_statistics
        from eyas.calibration.batchnorm import frozen_norms

        twin = private_copy(model)
        if statistics is not None:
            put_statistics(twin, statistics)
        require_batch_norm(twin)
        check_statistics(twin, "model")
        require_numbers(twin)
        if self.needs_backward:
            require_precision(twin, self.kind)
        if others := frozen_norms(twin):
            _LOG.warning("%s leaves %s as in the training: no torch.nn.BatchNorm", self.kind, ", ".join(others))
        return twin

    def _source_for(self, model: "nn.Module", source: "Tensor") -> "Tensor":
        """Images of the training on the device and in the precision of ``model``, which answers them if it has to."""
        from eyas.adaptation.adapters.image_batches import as_batch, as_network, telling_shapes

        source = as_network(model, as_batch("source", source, self.min_batch), "source")
        if self.needs_source:
            with telling_shapes(source, "source"):
                self.require_answers(model, source[: self.min_batch])
        return source

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
            msg = (
                f"`model` answers with {what}: {self.kind} takes networks that answer with logits (N, K) alone; give a "
                "module that picks them out, and adapt that"
            )
            raise ParameterError(msg)

    @property
    def reads_scores(self) -> bool:
        """Whether it reads a row of class scores per image, and not statistics alone."""
        return self.needs_backward

    def start(self, model: "nn.Module", source: "Tensor | None") -> "Adaptation":
        """The adaptation of ``model``, a copy in eval mode; random numbers are seeded."""
        raise NotImplementedError(f"{type(self).__name__} does not say how it adapts")


AnyAdapter = Annotated[SerializeAsAny[Adapter], BeforeValidator(Adapter.validated)]
