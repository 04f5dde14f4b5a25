"""Binary codes of a network's features, and how near an image is to the codes of clean ones.

Shapes: M images, F features, D bits, B bundles.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eyas.adaptation.drift.two_sample_tests import FEWEST_OF_A_CLASS
from eyas.errors import DataError

BITS, SEED = 4096, 0
Values = NDArray[np.float64]


@dataclass(frozen=True)
class HyperdimensionalCodes:
    r"""What clean images look like in binary codes (EAR, Daniels et al. 2023, arXiv:2308.02084).

    The code of an image is the sign of a random projection of its centred features, :math:`h = [P(f - c) > 0]` with
    :math:`P \in \{-1, 1\}^{D \times F}`. A bundle holds in each bit what most codes hold: one for each predicted class
    that is frequent enough, and one for all images. An image is as similar as it is to the nearest bundle: one less
    the share of bits that differ.
    """

    centre: Values
    """Mean features ``(F,)`` of the images that were bundled."""
    bundles: NDArray[np.bool_]
    """``(B, D)``."""
    similarities: Values
    """Of the clean images that were held back from the bundles, ``(M,)``."""
    predicted: NDArray[np.int64]
    """Classes that these were taken for, ``(M,)``."""

    @classmethod
    def of(cls, features_MF: Values, predicted_M: NDArray[np.int64]) -> "HyperdimensionalCodes":
        """Bundle every other clean image; the others are held back, and say how similar clean images are."""
        features, predicted = features_MF[::2], predicted_M[::2]
        centre = features.mean(0)
        codes = encode(features - centre)
        frequent = np.flatnonzero(np.bincount(predicted) >= FEWEST_OF_A_CLASS)
        groups = [codes, *(codes[predicted == number] for number in frequent)]
        bundles = np.stack([group.mean(0) > 0.5 for group in groups])
        return cls(centre, bundles, _nearest(encode(features_MF[1::2] - centre), bundles), predicted_M[1::2])

    def similarity(self, features_NF: Values) -> Values:
        """How similar each of some images is to the nearest bundle, 0 to 1, ``(N,)``.

        Raises:
            DataError: the features are another network's.
        """
        if features_NF.shape[1:] != self.centre.shape:
            msg = (
                f"`model` answers from {features_NF.shape[1]} features, the network of the reference from "
                f"{len(self.centre)}: give the network that the reference was made of"
            )
            raise DataError(msg)
        return _nearest(encode(features_NF - self.centre), self.bundles)


def encode(centred_NF: Values) -> NDArray[np.bool_]:
    """Codes ``(N, D)``; the projection is the same for as many features, on every machine."""
    width = centred_NF.shape[1]
    words = np.random.PCG64(SEED).random_raw(width * BITS // 64)
    bits = np.unpackbits(words.astype("<u8").view(np.uint8)).reshape(width, BITS)
    return np.asarray(centred_NF.astype(np.float32) @ (2.0 * bits - 1.0).astype(np.float32) > 0)


def _nearest(codes_ND: NDArray[np.bool_], bundles_BD: NDArray[np.bool_]) -> Values:
    """Bits that agree, as a share: of signs s and t in D bits (D + s . t) / 2 agree."""
    signs, others = (2.0 * bits.astype(np.float32) - 1.0 for bits in (codes_ND, bundles_BD))
    return np.asarray((0.5 + signs @ others.T / (2 * BITS)).max(1), dtype=np.float64)
