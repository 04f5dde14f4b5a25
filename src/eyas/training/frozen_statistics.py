"""Steps with batch-norm's running statistics, which stay as they are.

N images, C channels, H x W pixels.
"""

from torch import Tensor

from eyas.calibration.batchnorm import batch_norms
from eyas.errors import ParameterError
from eyas.training.optimiser_step import Networks, Objective, WeightedLabels
from eyas.training.tune_mode import folded_forwards, tunable_pairs


class FrozenStatisticsLoss:
    """An objective with batch-norm in eval mode, in tune mode where a convolution comes before it.

    Raises:
        ParameterError: the network has no batch-norm with running statistics.
        TraceError: it cannot be captured.
    """

    def __init__(self, objective: Objective, networks: Networks) -> None:
        self.objective, self.norms = objective, batch_norms(networks.model)
        if not self.norms:
            raise ParameterError("`frozen_statistics` are those of batch-norm, and the network has none: leave it out")
        self.pairs = [] if networks.example is None else tunable_pairs(networks.model, networks.example)

    def __call__(self, images_NCHW: Tensor, answers: WeightedLabels) -> Tensor:
        """The mean over N images."""
        for norm in self.norms:
            norm.eval()
        with folded_forwards(self.pairs):
            return self.objective(images_NCHW, answers)
