"""A sequential test of two networks on the same few labelled images: it may be looked at after every label.

Only images that one of both answers rightly count. Where both are as good, each wins half of them. A bettor who starts
with 1 and bets on one network multiplies what he has by twice the odds he bet; his wealth, averaged over all odds above
one half, exceeds 1 / alpha with a probability of at most alpha, whenever one looks (Ville's inequality; Shafer 2021,
Waudby-Smith and Ramdas 2024, arXiv:2010.09686).
"""

import math
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from eyas.adaptation.scipy_members import scipy_member
from eyas.errors import ParameterError

Finding = Literal["better", "worse", "open"]


@dataclass(frozen=True)
class PairedEvidence:
    """What labels say of an adapted network beside its source."""

    wins: int
    """Images that the adapted network alone answers rightly."""
    losses: int
    """Images that the source alone answers rightly."""
    labels: int
    """Images in all."""
    finding: Finding

    @property
    def gain(self) -> float:
        """Difference of the accuracies, as a share."""
        return (self.wins - self.losses) / self.labels if self.labels else 0.0


def wealth(wins: int, losses: int) -> float:
    r"""What a bet on the winner comes to: :math:`2\int_{1/2}^1 (2\theta)^w (2 - 2\theta)^l d\theta`.

    In closed form by the regularised incomplete beta function; 1 before the first image, and at most
    :math:`2^{w+1} / (w + l + 1)`.
    """
    betainc, betaln = (scipy_member("special", name) for name in ("betainc", "betaln"))
    above = float(betainc(losses + 1, wins + 1, 0.5))  # the beta distribution's mass above one half
    if not above:
        return 0.0
    logarithm = (wins + losses + 1) * math.log(2) + float(betaln(wins + 1, losses + 1)) + math.log(above)
    return math.exp(min(logarithm, 700.0))


def compare_paired(right_before_N: Tensor, right_after_N: Tensor, alpha: float = 0.05) -> PairedEvidence:
    """Whether the adapted network is better or worse than its source, or the labels are too few to tell.

    Args:
        right_before_N: whether the source answers each image rightly, in the order in which labels came.
        right_after_N: whether the adapted network does.
        alpha: how often either finding may be wrong, however often one looks.

    Raises:
        ParameterError: alpha is no probability.
    """
    if not 0 < alpha < 1:
        msg = f"`alpha` is {alpha:g}: give a probability between 0 and 1, as 0.05"
        raise ParameterError(msg)
    wins = losses = 0
    finding: Finding = "open"
    for before, after in zip(right_before_N.tolist(), right_after_N.tolist(), strict=True):
        wins, losses = wins + (after and not before), losses + (before and not after)
        if finding == "open" and before != after:
            if wealth(wins, losses) >= 1 / alpha:
                finding = "better"
            elif wealth(losses, wins) >= 1 / alpha:
                finding = "worse"
    return PairedEvidence(wins, losses, len(right_before_N), finding)
