"""The root of the criteria: what a criterion promises."""

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, SerializeAsAny

from eyas.component import Component
from eyas.pruning.calibration_set import CalibrationSet
from eyas.pruning.groups import ChannelGroup

if TYPE_CHECKING:
    from torch import Tensor, nn

    from eyas.pruning.space import SearchSpace


class Criterion(Component):
    """Rates the channels of a group; the highest are kept."""

    def __call__(self, group: ChannelGroup, model: "nn.Module", data: Any = None) -> "Tensor":
        """Importance of each channel, shape ``(group.channels,)``; finite; the model stays as it was.

        Args:
            group: the channels.
            model: the dense network.
            data: a :class:`~eyas.pruning.calibration_set.CalibrationSet`, its normalised images ``(N, C, H, W)`` alone,
                or what :meth:`prepare` made of them.
        """
        raise NotImplementedError(f"{type(self).__name__} does not say how it rates channels")

    @property
    def reads_labels(self) -> bool:
        """Whether calibration images need labels."""
        return False

    def prepare(self, model: "nn.Module", data: Any) -> Any:
        """What all groups need of the calibration images, made once per ranking and passed as ``data``: the images."""
        return data.images if isinstance(data, CalibrationSet) else data

    def prepare_groups(self, space: "SearchSpace", model: "nn.Module", data: Any) -> Any:
        """As :meth:`prepare`, for criteria that rate the channels of all groups together."""
        return self.prepare(model, data)


AnyCriterion = Annotated[SerializeAsAny[Criterion], BeforeValidator(Criterion.validated)]
