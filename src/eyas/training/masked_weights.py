"""Weights of a network in training that a pattern takes: zero after every step, with their gradients and moments.

Masks are truth values of a weight's shape, False where it is zero.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from eyas.pruning.sparsify import SparseLayers, apply_masks
from eyas.pruning.sparsity import Sparsity
from eyas.training.data_parallel import Processes
from eyas.training.sparsifiers import Sparsifier


@dataclass(frozen=True)
class SparseTraining:
    """What a training is to end in, and how it comes there."""

    sparsity: Sparsity
    """Which weights are to be zero; a kind, or a mapping with its options, becomes the member."""
    sparsifier: Sparsifier
    """How that comes; likewise."""

    def __post_init__(self) -> None:
        """Members of what was given.

        Raises:
            ParameterError: there is no such member, or it takes no such options.
        """
        object.__setattr__(self, "sparsity", Sparsity.parse(self.sparsity))
        object.__setattr__(self, "sparsifier", Sparsifier.parse(self.sparsifier))


class MaskedWeights:
    """Follows a training step by step.

    Gradients are masked as they come, so that neither clipping nor moments see those of zeros; weights are masked after
    each step, whatever the optimiser did.

    Args:
        settings: the pattern, and who comes to it.
        model: the network; weights that the first masks take become zero.
        optimiser: its moments.
        steps: of the whole training.

    Raises:
        ParameterError: no layer can have the pattern, or the sparsifier cannot come to it.
    """

    def __init__(
        self, settings: SparseTraining, model: nn.Module, optimiser: torch.optim.Optimizer, steps: int
    ) -> None:
        settings.sparsifier.check(settings.sparsity)
        self.sparsity, self._sparsifier, self._optimiser = settings.sparsity, settings.sparsifier, optimiser
        self.weights: dict[str, nn.Parameter] = SparseLayers.choose(model, settings.sparsity).weights
        self.masks = {name: torch.ones_like(weight, dtype=torch.bool) for name, weight in self.weights.items()}
        self.gradients: dict[str, Tensor] = {}
        """Of the last step, also where weights are zero; where the sparsifier reads them."""
        self._step, self._steps = 0, min(settings.sparsifier.steps(steps), steps)
        self._hooks = [
            weight.register_post_accumulate_grad_hook(self._masking(name))  # type: ignore[no-untyped-call]
            for name, weight in self.weights.items()
        ]
        if self._steps == 0:
            settings.sparsifier(self, 0, 0)

    @property
    def final(self) -> bool:
        """Whether the zeros are all there."""
        return self._step >= self._steps

    def after_step(self) -> None:
        """Let the sparsifier change the masks, and hold them."""
        self._step += 1
        Processes.running().sum([self.gradients[name] for name in self.weights if name in self.gradients])
        if self._step <= self._steps:
            self._sparsifier(self, self._step, self._steps)
        self.gradients.clear()
        self.hold()

    def hold(self) -> None:
        """Zero what is masked."""
        apply_masks(self.weights, self.masks)

    def set_masks(self, masks: Mapping[str, Tensor]) -> None:
        """Replace masks; weights and moments that they take become zero."""
        self.masks |= masks
        self.hold()
        for name, mask in masks.items():
            state = self._optimiser.state.get(self.weights[name], {})
            for moment in state.values():
                if isinstance(moment, Tensor) and moment.shape == mask.shape:
                    moment.masked_fill_(~mask, 0.0)

    def regrow(self, masks: Mapping[str, tuple[Tensor, Tensor]]) -> None:
        """Drop weights and grow others from zero: by name, the mask after the drop, and that after the growth."""
        self.set_masks({name: dropped for name, (dropped, _) in masks.items()})
        self.masks |= {name: grown for name, (_, grown) in masks.items()}

    @torch.no_grad()
    def scale(self, name: str, chosen: Tensor, factor: float) -> None:
        """Multiply the chosen entries of a weight."""
        weight = self.weights[name]
        weight.copy_(torch.where(chosen, factor * weight, weight))

    def release(self) -> None:
        """Leave gradients alone again."""
        for hook in self._hooks:
            hook.remove()

    def state_dict(self) -> dict[str, object]:
        """What an epoch checkpoint holds of it."""
        return {"step": self._step, "masks": self.masks}

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        """Go on where :meth:`state_dict` was taken."""
        self._step, self.masks = state["step"], state["masks"]  # type: ignore[assignment]

    def _masking(self, name: str) -> Callable[[Tensor], None]:
        def mask_gradient(weight: Tensor) -> None:
            assert weight.grad is not None
            step = self._step + 1
            if step <= self._steps and self._sparsifier.reads_gradients(step, self._steps):
                self.gradients[name] = weight.grad.detach().clone()
            weight.grad.masked_fill_(~self.masks[name], 0.0)

        return mask_gradient
