"""N of every M consecutive weights."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator
from torch import Tensor, nn

from eyas.pruning.sparsity.base import Sparsity


class NOfM(Sparsity):
    """Of M input channels in a row each filter keeps the N of largest magnitude (Mishra et al. 2021, arXiv:2104.08378).

    Use it for NVIDIA GPUs from Ampere on: TensorRT has kernels for 2:4 in float16 and int8, which pay where layers have
    hundreds of channels; build its engine from ``model.onnx`` with ``--sparsity=enable``. Elsewhere it is no faster.
    Layers whose input channels are no multiple of M stay dense: ``sample.round_to: 4`` prunes to such widths.
    """

    kind: Literal["n_m"] = "n_m"
    n: Annotated[int, Field(ge=1)] = 2
    """Weights that stay, of every M."""
    m: Annotated[int, Field(ge=2, le=128)] = 4
    """Consecutive input channels, at each place of the kernel."""

    @model_validator(mode="after")
    def _fewer_than_all(self) -> Self:
        if self.n >= self.m:
            raise ValueError(f"n {self.n} of m {self.m} leaves no zeros: n is smaller than m")
        return self

    @property
    def share(self) -> float:
        """``1 - n / m``."""
        return 1 - self.n / self.m

    def refusal(self, layer: nn.Module) -> str | None:
        """Also where input channels make no whole groups of M."""
        reason = super().refusal(layer)
        if reason is not None:
            return reason
        inputs = layer._parameters["weight"].shape[1]  # type: ignore[union-attr]
        return f"its {inputs} input channels are no multiple of {self.m}" if inputs % self.m else None

    def mask(self, weight: Tensor) -> Tensor:
        """The N largest of each group; of equal ones the first."""
        groups = weight.detach().abs().movedim(1, -1)
        order = groups.reshape(-1, self.m).argsort(dim=1, descending=True, stable=True)
        ranks = order.argsort(dim=1, stable=True)
        return (ranks < self.n).reshape(groups.shape).movedim(-1, 1)
