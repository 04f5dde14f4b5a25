"""By how much the loss rises, to second order, when a channel's weights are gone."""

from typing import Annotated, Any, Literal

from pydantic import Field
from torch import Tensor, nn

from eyas.pruning.calibration_set import CalibrationSet
from eyas.pruning.criteria.image_criterion import ImageCriterion
from eyas.pruning.criteria.loss_gradients import PerEntry, each_dim, loss_gradients, sum_over_members
from eyas.pruning.criteria.norms import per_channel
from eyas.pruning.groups import ChannelGroup


class DiagonalFisher(ImageCriterion):
    r"""Rise of the loss without a channel by a diagonal Fisher matrix (Theis et al. 2018, arXiv:1801.05787).

    Use it to compare with the literature: a curvature per weight, blind to how weights of a channel go together
    (``taylor`` is not). A pass back per image; ratings compare between layers. Labels are read only if asked for.

    Optimal brain damage with the squared gradient as the curvature: :math:`s_c = \frac12 \sum_w w^2\, E[g_w^2]` over
    all weights that go with the channel: those that make, scale, shift and read it. Without ``labels`` the dense
    network's own answers stand in: classes drawn as likely as it says, so that this is the curvature of the divergence
    from it.
    """

    kind: Literal["diagonal_fisher"] = "diagonal_fisher"
    images: Annotated[int, Field(ge=1)] = 256
    """At most so many calibration images."""
    labels: bool = False
    """Read the labels of the calibration images."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Of the classes that are drawn."""

    @property
    def reads_labels(self) -> bool:
        """As ``labels`` says."""
        return self.labels

    def observe(self, model: nn.Module, data: CalibrationSet) -> PerEntry:
        """The rise, summed per channel of each parameter."""
        squares: dict[str, Tensor] = {}
        for batch in loss_gradients(model, data, labels=self.labels, batch_size=1, seed=self.seed):
            for name, grad in batch.items():
                squares[name] = squares.get(name, 0) + grad.square()
        weights = dict(model.named_parameters())
        share = 0.5 / len(data.images)
        return dict(each_dim({name: share * weights[name].detach().square() * sum_ for name, sum_ in squares.items()}))

    def __call__(self, group: ChannelGroup, model: nn.Module, data: Any = None) -> Tensor:
        """Importance of each channel, shape ``(group.channels,)``; ``data`` are images, or what ``prepare`` gave."""
        return per_channel(group, [sum_over_members(group, group.members, self.prepare(model, data))])
