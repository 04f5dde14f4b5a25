"""The network's features by binary codes."""

from typing import TYPE_CHECKING, Literal

from eyas.adaptation.detectors.base import Detection, Detector
from eyas.adaptation.detectors.distributions import Distributions
from eyas.errors import DataError

if TYPE_CHECKING:
    from eyas.adaptation.drift.drift_reference import DriftReference
    from eyas.adaptation.drift.observation import Observation


class Hyperdimensional(Detector):
    """EAR's trigger: features less similar to clean ones, as binary codes (Daniels et al. 2023, arXiv:2308.02084).

    The code of an image is the sign of a random projection of the features that the last linear layer reads; it is
    compared with bundles of clean images by Hamming distance, see
    :class:`eyas.adaptation.drift.hyperdimensional_codes.HyperdimensionalCodes`. The threshold of a window's mean
    similarity comes from clean images that were held back from the bundles, of the same predicted classes, by
    permutation. That alone decides; what changed is told as by ``distributions``.

    Use it where what the images look like changes all the time and matters only as far as the network's features go.
    On CIFAR-10's corruptions it tells less than ``distributions``.
    """

    kind: Literal["hyperdimensional"] = "hyperdimensional"

    def __call__(
        self, seen: "Observation", reference: "DriftReference", false_alarm_rate: float, seed: int
    ) -> Detection:
        """See the base for the promise."""
        from eyas.adaptation.drift.two_sample_tests import class_weights, lower_mean_test
        from eyas.adaptation.drift.window_tests import number_drift

        codes = reference.codes
        if codes is None or seen.features is None:
            msg = (
                "the drift reference holds no codes of features: it is older than them, or the network has no linear "
                "layer that answers; make it again with DriftReference.of, or take the `detector` distributions"
            )
            raise DataError(msg)
        here, classes = codes.similarity(seen.features.numpy()), seen.predicted.numpy()
        p_value = lower_mean_test(
            codes.similarities, codes.predicted, here, classes, smallest=false_alarm_rate, seed=seed
        )
        weights, allowed = class_weights(codes.predicted, classes), (1, false_alarm_rate)
        similarity = number_drift("similarity", codes.similarities, weights, here, allowed, p_value=p_value)
        looks = Distributions()(seen, reference, false_alarm_rate, seed)
        numbers, balance = looks.numbers, looks.balance
        if not similarity.drifted:
            numbers = tuple(one.model_copy(update={"drifted": False}) for one in numbers)
            balance = balance.model_copy(update={"drifted": False})
        means = {"similarity": (float(here.mean()), float(codes.similarities @ weights))}
        return Detection((similarity, *numbers), balance, p_value, 1, means)
