"""Each number per image by its distribution, the predicted classes by permutation."""

from typing import TYPE_CHECKING, Literal

from eyas.adaptation.detectors.base import Detection, Detector

if TYPE_CHECKING:
    from eyas.adaptation.drift.drift_reference import DriftReference
    from eyas.adaptation.drift.observation import Observation


class Distributions(Detector):
    """Kolmogorov-Smirnov tests of numbers per image, one of the class balance (Rabanser et al. 2019, arXiv:1810.11953).

    Looks, answers and layers are held against clean images that are answered as often with each class. P-values are
    multiplied by the number of tests (Bonferroni).

    Use it unless there is a reason against: it also tells what changed, by name, and that of any network.
    """

    kind: Literal["distributions"] = "distributions"

    def __call__(
        self, seen: "Observation", reference: "DriftReference", false_alarm_rate: float, seed: int
    ) -> Detection:
        """See the base for the promise."""
        from eyas.adaptation.drift.two_sample_tests import class_weights
        from eyas.adaptation.drift.window_tests import balance_drift, number_drift

        weights = class_weights(reference.predicted, seen.predicted.numpy())
        tests = len(reference.numbers) + 1
        numbers = tuple(
            number_drift(name, values, weights, seen.numbers[name].numpy(), (tests, false_alarm_rate))
            for name, values in reference.numbers.items()
        )
        balance = balance_drift(seen, reference, (tests, false_alarm_rate), seed)
        return Detection(numbers, balance, min(balance.p_value, *(one.p_value for one in numbers)), tests)
