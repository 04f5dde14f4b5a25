"""The section ``promote``: what a candidate must hold to become champion."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from eyas.component import Options

Preset = Literal["better", "not_worse_and_smaller", "not_worse_and_faster", "improved"]
Share = Annotated[float, Field(ge=0, le=1)]


class PromoteParams(Options):
    """What a candidate must hold to become champion; a limit of null is not asked for."""

    model_config = ConfigDict(validate_default=True)

    min_accuracy: Share | None = None
    """Smallest test accuracy; not to be reached where test images have no labels."""
    max_drop: Share | None = 0.05
    """Largest loss of test accuracy against the dense network."""
    min_agreement: Share | None = 0.95
    """Where test images have no labels, in place of ``max_drop``: smallest share of them that is answered as by the
    dense network. Accuracy has lost the other answers' share at most, and usually much less."""
    max_latency: Annotated[float, Field(gt=0)] | None = None
    """Largest median latency in milliseconds, measured here with the settings of ``export``."""
    max_bytes: Annotated[int, Field(gt=0)] | None = None
    """Largest size of the ONNX file."""
    max_churn: Share | None = None
    """Largest share of test images answered otherwise than by the champion."""
    require_parity: bool = True
    """The exported file was compared with PyTorch, within the limits of ``export``."""
    preset: Preset | None = None
    """What makes a candidate worth the champion's place, beside the limits. ``better``: its accuracy.
    ``not_worse_and_smaller``: it loses no more than ``margin``, has at least 1 % fewer bytes or MACs, and not as much
    more of the other. ``not_worse_and_faster``: it loses no more than ``margin``, and three quarters of its timed runs
    are quicker than three quarters of the champion's. ``improved``: ``better``, or ``not_worse_and_smaller``. Without
    one ``improved``; where ``min_gain`` is given, that alone."""
    margin: Share = 0.01
    """A loss of test accuracy against the champion that the presets count as none. Finitely many images never show that
    nothing at all is lost: at 0 not even equal answers hold, only a gain."""
    min_gain: Annotated[float, Field(ge=-1, le=1)] | None = None
    """Smallest gain of test accuracy over the champion. At 0 and above the candidate must be better: a gain of exactly
    0 does not hold. Negative allows so much loss, whatever the candidate's size."""
    standard_errors: Annotated[float, Field(ge=0)] = 1.0
    """So many standard errors, paired on the images, a gain must lie above its limit: 1 leaves an error of 16 %, 1.64
    of 5 %. The interval is adjusted for few images (Agresti and Min 2005): one image more is never a gain at 1. 0 takes
    the gain as it was measured."""

    @property
    def rule(self) -> Preset | None:
        """The preset that holds.

        The usual candidate is a network that was pruned further, or made again from newer data. The first is no more
        accurate than the champion and need not be; the second is no smaller. ``improved`` takes both, and neither
        what is only different nor what was bought with accuracy.
        """
        return self.preset or ("improved" if self.min_gain is None else None)
