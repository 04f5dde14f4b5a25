"""The root of the drift detectors: what they are handed, and what they tell."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated

from pydantic import BeforeValidator, SerializeAsAny

from eyas.component import Component

if TYPE_CHECKING:
    from eyas.adaptation.drift.drift_reference import DriftReference
    from eyas.adaptation.drift.drift_report import BalanceDrift, NumberDrift
    from eyas.adaptation.drift.observation import Observation


@dataclass(frozen=True)
class Detection:
    """What a detector's tests came to; nothing ``drifted`` in it where the window did not."""

    numbers: "tuple[NumberDrift, ...]"
    balance: "BalanceDrift"
    p_value: float
    """That decides, times the number of tests."""
    tests: int
    """That may raise the alarm."""
    means: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Of numbers that the detector has made itself: in the window, and among clean images of the same classes."""


class Detector(Component):
    """Says whether a window of images drifted: a window of clean images at most as often as it is allowed to."""

    def __call__(
        self, seen: "Observation", reference: "DriftReference", false_alarm_rate: float, seed: int
    ) -> Detection:
        """Test a window.

        Args:
            seen: the window, as the network of the reference has answered it.
            reference: what clean images look like.
            false_alarm_rate: how often a clean window may be called drift, all tests together.
            seed: of all that is drawn.

        Raises:
            DataError: the reference has not what the detector compares with.
        """
        raise NotImplementedError(f"{type(self).__name__} does not say how it tests")


AnyDetector = Annotated[SerializeAsAny[Detector], BeforeValidator(Detector.validated)]
