"""Normal equations of one layer, summed over chunks of rows and over calls in float64.

Shapes: R rows (positions of the output), F features (what one output reads) and a last one that is always 1, O outputs.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn

from eyas.pruning.layer_calls import LayerCall
from eyas.recovery.sampled_outputs import SampledOutputs, features_at, weight_matrix

_CHUNK = 2**23
"""Features are made for so many numbers at a time."""


@dataclass
class NormalEquations:
    """Of the features X and the residuals E of the present weights: ``X^T X``, ``X^T E``, and the squares of E."""

    gram: Tensor
    cross: Tensor
    squares: Tensor
    rows: int = 0

    @classmethod
    def empty(cls, outputs: int, features: int, device: torch.device) -> Self:
        """No rows yet, of ``features`` features, the last of which is always 1."""
        gram, cross, square = (
            torch.zeros(shape, dtype=torch.float64, device=device)
            for shape in ((features, features), (features, outputs), (outputs,))
        )
        return cls(gram, cross, square)

    def add(self, features_RF: Tensor, residual_RO: Tensor) -> None:
        """Count rows; products are made in the precision of the features."""
        self.gram += features_RF.T @ features_RF
        self.cross += features_RF.T @ residual_RO
        self.squares += residual_RO.square().sum(0)
        self.rows += len(features_RF)

    def __add__(self, other: "NormalEquations") -> "NormalEquations":
        """Those of all rows."""
        return NormalEquations(
            self.gram + other.gram,
            self.cross + other.cross,
            self.squares + other.squares,
            self.rows + other.rows,
        )

    def error(self, change_OF: Tensor) -> Tensor:
        """Squared error per output after a change of the weights, summed over the rows, ``(O,)``."""
        quadratic_O = (change_OF @ self.gram * change_OF).sum(1)
        return self.squares - 2 * (change_OF * self.cross.T).sum(1) + quadratic_O


@dataclass
class LayerEquations:
    """What a layer reads and what its outputs lack, on images to fit and on others that judge."""

    weight: Tensor
    """Its present weights, ``(O, F + 1)``; the last column stands for the bias and is zero."""
    bias: Tensor | None
    """What may be fitted beside: a parameter that all calls have in common."""
    is_normalised: bool
    """Whether batch-norm follows, which takes an offset away."""
    fit: NormalEquations
    held_out: NormalEquations
    calls: int = 0

    @classmethod
    def of(cls, call: LayerCall, *, is_normalised: bool) -> Self:
        """Those of the layer that is called, without any rows."""
        weight_OF = nn.functional.pad(weight_matrix(call, call.weight.detach()).double(), (0, 1))
        outputs, features = weight_OF.shape
        fit, held_out = (NormalEquations.empty(outputs, features, weight_OF.device) for _ in range(2))
        bias = call.bias if isinstance(call.bias, nn.Parameter) else None
        return cls(weight_OF, bias, is_normalised, fit, held_out)

    def add(self, call: LayerCall, targets: SampledOutputs) -> None:
        """Count a call that should have made ``targets``."""
        self.calls += 1
        if call.bias is not self.bias:
            self.bias = None
        targets = targets.to(self.weight.device)
        precision = torch.promote_types(call.input.dtype, torch.float32)
        weight_FO = self.weight.T.to(precision)
        outputs_RO = targets.values.to(precision) - (0 if call.bias is None else call.bias.detach().to(precision))
        size = max(1, _CHUNK // len(weight_FO))
        for equations, first, end in ((self.fit, 0, targets.fitted), (self.held_out, targets.fitted, len(outputs_RO))):
            for start in range(first, end, size):
                rows = slice(start, min(start + size, end))
                read_RF = features_at(call, tuple(index_R[rows] for index_R in targets.places)).to(precision)
                read_RF = nn.functional.pad(read_RF, (0, 1), value=1.0)
                equations.add(read_RF, outputs_RO[rows] - read_RF @ weight_FO)

    @property
    def has_offset(self) -> bool:
        """Whether an offset may be fitted beside the weights: to the bias, or to be taken away by batch-norm."""
        return self.is_normalised or self.bias is not None

    def error_before(self) -> float:
        """Squared error of the present weights on held-out rows, without an offset that batch-norm takes away."""
        judged, offset_O = self.held_out, torch.zeros_like(self.held_out.squares)
        if self.is_normalised:
            offset_O = self.fit.cross[-1] / max(self.fit.rows, 1)
        return float((judged.squares - 2 * offset_O * judged.cross[-1] + judged.rows * offset_O.square()).sum())

    def best(self, changes: Iterable[Tensor]) -> int | None:
        """The number of the change with the smallest error on held-out rows; None where none is better than none.

        Changes come in order, the smallest first: the first that is no better than the one before it is the last tried.
        """
        lowest, best = self.error_before(), None
        for number, change_OF in enumerate(changes):
            error = float(self.held_out.error(change_OF).sum())
            if not error < lowest:
                break
            lowest, best = error, number
        return best
