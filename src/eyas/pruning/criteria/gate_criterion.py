"""What the criteria share that train a gate per channel, while the network's weights stay as they are.

Shapes: U units of all groups in order.
"""

from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn

from eyas.calibration.recalibrate import like_weights
from eyas.pruning.calibration_set import CalibrationSet
from eyas.pruning.criteria.group_norm import GroupNorm
from eyas.pruning.criteria.image_criterion import ImageCriterion
from eyas.pruning.criteria.loss_gradients import PerEntry
from eyas.pruning.criteria.norms import per_channel
from eyas.pruning.gate_training import GateProblem, Gates, GateTraining, unit_norms
from eyas.pruning.gated_network import GatedNetwork
from eyas.pruning.groups import ChannelGroup
from eyas.pruning.tracing.trace import trace

if TYPE_CHECKING:
    from eyas.pruning.space import SearchSpace


class GateCriterion(ImageCriterion):
    """Rates channels by gates, each multiplied with a channel where it is read, that are trained on calibration images.

    The weights are frozen. Batch-norm normalises by the statistics of each batch, as a pruned network is recalibrated.
    """

    labels: bool = False
    """Read the labels of the calibration images; else the answers of the dense network are the targets."""
    steps: Annotated[int, Field(ge=1, le=1_000_000)] = 100
    """Of the training; the rate falls to 0 by a cosine."""
    batch_size: Annotated[int, Field(ge=1)] = 64
    """Images per step."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Of the images of each step, and what is drawn for the gates."""

    @property
    def reads_labels(self) -> bool:
        """As ``labels`` says."""
        return self.labels

    def gates(self, problem: GateProblem) -> Gates:
        """The gates to train, as they are at first."""
        raise NotImplementedError(f"{type(self).__name__} does not say what gates it has")

    def optimizer(self, gates: Gates) -> torch.optim.Optimizer:
        """What trains them."""
        raise NotImplementedError(f"{type(self).__name__} does not say what trains its gates")

    def prepare_groups(self, space: "SearchSpace", model: nn.Module, data: Any) -> PerEntry:
        """The importance at each entry of the weights that read channels; all groups are trained together."""
        return self._prepared(data, partial(self.trained, space, model))

    def observe(self, model: nn.Module, data: CalibrationSet) -> PerEntry:
        """As :meth:`prepare_groups`, with the groups that the network has when it is traced on these images."""
        return self.trained(trace(model, (like_weights(model, data.images[:2]),)), model, data)

    def trained(self, space: "SearchSpace", model: nn.Module, data: CalibrationSet) -> PerEntry:
        """Train the gates and read the importance from them; the network stays as it was.

        Raises:
            DataError: the answers are no classes, the labels do not fit them, or there are no gradients.
        """
        with torch.inference_mode(mode=False), torch.enable_grad():
            network = GatedNetwork(model, space)
            training = GateTraining(self.steps, self.batch_size, self.seed, self.labels)
            batches = training.batches(network, model, data)
            problem = GateProblem(network, space, unit_norms(space, model), next(batches))
            if not network.gated:
                return {}
            gates = self.gates(problem)
            optimizer = self.optimizer(gates)
            read_U = training.train(network, model, gates, optimizer, batches, output=data.output)
            importance_U = gates.importance().detach()
            importance_U = torch.where(read_U | ~read_U.any(), importance_U, importance_U.min() - 1)
            padded = torch.cat([importance_U, importance_U.new_zeros(1)])
            return {place: padded[network.entries[place]] for place in network.gated}

    def __call__(self, group: ChannelGroup, model: nn.Module, data: Any = None) -> Tensor:
        """Importance of each channel, shape ``(group.channels,)``; ``data`` are images, or what ``prepare`` gave.

        What no layer reads that was called is rated by ``group_norm``.
        """
        ratings = self.prepare(model, data)
        for member in group.members:
            if member.role == "in" and (member.parameter, member.dim) in ratings:
                rating_U = ratings[member.parameter, member.dim][torch.from_numpy(member.positions[:, 0])]
                return per_channel(group, [rating_U])
        return GroupNorm()(group, model)
