"""How far the dense network's answers move when one group alone becomes narrower: measured once, before any candidate.

Shapes: N images, K values of an answer, G channel groups in the order of ``space.groups``, P legal widths of a group.
"""

import hashlib
import json
import logging
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from eyas.calibration.batchnorm import batch_statistics
from eyas.calibration.recalibrate import even_batches
from eyas.errors import DataError, ParameterError
from eyas.pruning.output_paths import primary_output
from eyas.pruning.planner import Planner
from eyas.pruning.surgery import prune
from eyas.recovery.refit import refit_silently, undone_words

if TYPE_CHECKING:
    from eyas.pruning.space import SearchSpace
    from eyas.sampling.placement import Placement

_log = logging.getLogger(__name__)
Curves = list[NDArray[np.float64]]
"""An error at each legal width of each group, ascending widths: G arrays ``(P,)`` that never rise."""
_BATCH_SIZE = 128
_MOST_VALUES = 2**16  # of one image's answer
_FEWEST_IMAGES = 2
_Error = Annotated[float, Field(ge=0, allow_inf_nan=False)]


@dataclass(frozen=True)
class ErrorTable:
    r"""Relative squared distance of the answers from the dense network's, by group and width.

    :math:`e_g(w) = \operatorname{mean}_n \|z_n(g, w) - z_n\|^2 / \operatorname{mean}_n \|z_n - \bar z\|^2`, with
    :math:`z_n` the answer to image n, all other groups whole, statistics those of each batch (the distortion of Xu et
    al. 2023, arXiv:2308.10438, with adaptive batch-norm).
    """

    widths: tuple[tuple[int, ...], ...]
    """By group, ascending, those that were measured and the dense one."""
    errors: tuple[tuple[_Error, ...], ...]
    """At these widths; 0 at the dense one."""

    @property
    def digest(self) -> str:
        """sha256 of all numbers."""
        return hashlib.sha256(json.dumps(self.to_json()).encode()).hexdigest()

    def curves(self, placement: "Placement") -> Curves:
        """Errors at all legal widths: straight lines between those that were measured, and never rising with a width.

        Raises:
            DataError: the table is of another search space.
        """
        dense = [int(legal[-1]) for legal in placement.legal]
        if [widths[-1:] for widths in self.widths] != [(width,) for width in dense]:
            msg = "the error table belongs to another search space: measure it again"
            raise DataError(msg)
        measured = zip(placement.legal, self.widths, self.errors, strict=True)
        lines = [np.interp(legal, widths, errors) for legal, widths, errors in measured]
        return [np.maximum.accumulate(line[::-1])[::-1] for line in lines]

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return {"widths": self.widths, "errors": self.errors}

    @classmethod
    def from_json(cls, content: object) -> "ErrorTable":
        """What :meth:`to_json` gave, or its text.

        Raises:
            DataError: it is no such table.
        """
        try:
            read = TypeAdapter(cls)
            table = read.validate_json(content) if isinstance(content, (str, bytes)) else read.validate_python(content)
        except ValidationError as error:
            msg = f"no error table: {error.errors()[0]['msg']}; measure it again"
            raise DataError(msg) from error
        if [*map(len, table.widths)] != [*map(len, table.errors)] or not all(table.widths):
            msg = "no error table: widths and errors differ in number; measure it again"
            raise DataError(msg)
        return table


@torch.no_grad()
def measure_errors(
    model: nn.Module,
    space: "SearchSpace",
    planner: Planner,
    images: Tensor,
    *,
    levels: int = 9,
    refitted: bool = False,
    output: int | str | None = None,
) -> ErrorTable:
    """Narrow one group after another to ``levels`` widths and compare answers; the network is not touched.

    Args:
        model: the dense network, on any device.
        space: its search space.
        planner: which channels stay at a width.
        images: normalised floats ``(N, C, H, W)``; labels are not needed.
        levels: widths of each group, evenly spaced from the smallest to the dense one.
        refitted: refit what reads the group (:func:`eyas.refit`) before answers are compared.
        output: which output is compared where there are several.

    Raises:
        ParameterError: there are fewer than two images, or levels.
        DataError: the network has no such output, or its answers do not differ between images.
    """
    if len(images) < _FEWEST_IMAGES or levels < 2:
        msg = f"an error table of {len(images)} `images` and {levels} `levels`: give at least two of both"
        raise ParameterError(msg)
    images = images.to(next((parameter.device for parameter in model.parameters()), images.device))
    if images.ndim == 4:
        images = images.contiguous(memory_format=torch.channels_last)  # the faster layout
    dense_NK = _answers(model, images, output)
    spread = float((dense_NK - dense_NK.mean(0)).square().mean())
    if not spread > 0:
        msg = "the network answers every image alike: there is nothing to hold an error against"
        raise DataError(msg)
    widths, errors, undone = [], [], list[str]()
    for group in space.groups:
        legal = space.legal_widths(group)
        chosen = [int(legal[at]) for at in np.unique(np.rint(np.linspace(0, len(legal) - 1, levels)).astype(int))]
        row = []
        for width in chosen[:-1]:
            plan = planner({group.name: width})
            small = prune(model, space, plan)
            if refitted:
                undone += refit_silently(model, small, space, plan, images).undone
            row.append(float((_answers(small, images, output) - dense_NK).square().mean()) / spread)
        widths.append(tuple(chosen))
        errors.append((*row, 0.0))
    if undone:
        words = " in some of the networks that the error table is measured on"
        _log.warning("%s", undone_words(list(dict.fromkeys(undone)), words))
    return ErrorTable.from_json({"widths": widths, "errors": errors})


def _answers(model: nn.Module, images: Tensor, output: int | str | None) -> Tensor:
    """Answers under the statistics of each batch, ``(N, K)``, in double precision."""
    with batch_statistics(model):
        parts = [
            _thinned(primary_output(model(batch), output).flatten(1)).double()
            for batch in even_batches(images, _BATCH_SIZE)
        ]
    return torch.cat(parts)


def _thinned(answers_NK: Tensor) -> Tensor:
    """Evenly spaced values where an image has very many, as with an answer per pixel."""
    step = answers_NK.shape[1] // _MOST_VALUES
    return answers_NK[:, :: step | 1] if step else answers_NK
