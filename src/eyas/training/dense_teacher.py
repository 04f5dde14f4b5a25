"""The dense network as the teacher of a network that was pruned from it, with the plan that says which part that is."""

from dataclasses import dataclass

from torch import nn

from eyas.pruning.plan import PruningPlan
from eyas.pruning.space import SearchSpace
from eyas.pruning.surgery import Slices


@dataclass(frozen=True)
class DenseTeacher:
    """For recipes that compare layers; others take the network alone."""

    model: nn.Module
    """The dense network."""
    space: SearchSpace
    """Its search space."""
    plan: PruningPlan
    """What the network in training keeps of it."""

    @property
    def slices(self) -> Slices:
        """Kept indices, by parameter and dimension."""
        return self.space.slices(self.plan)
