"""What came of comparing a window of images with the reference."""

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class NumberDrift(_Frozen):
    """One number per image, its distribution in the window against the reference's."""

    name: str
    effect: float
    """Difference of the means in standard deviations of the reference."""
    distance: float
    """Largest distance of the distribution functions, 0 to 1."""
    p_value: float
    """Times the number of tests."""
    drifted: bool
    follows: str = ""
    """The number whose change explains this one, which is not told in words then."""


class LayerDrift(_Frozen):
    """One batch-norm layer: what it holds against what the window makes it see."""

    name: str
    symmetric_kl: float
    mean_shift: float
    """In standard deviations that the layer holds, mean over channels."""
    clean_kl: float
    """The largest divergence of a clean window."""


class BalanceDrift(_Frozen):
    """Which classes are predicted, and how often each occurs."""

    reference: tuple[float, ...]
    """Shares of the predicted classes among clean images."""
    predicted: tuple[float, ...]
    estimated: tuple[float, ...] | None
    """Shares of the true classes, if the images of each class look as they did; None where it cannot be told."""
    reason: str
    """Why it cannot."""
    distance: float
    """Total variation between the first two."""
    p_value: float
    drifted: bool


class DriftReport(_Frozen):
    """Whether images drifted, what changed, and whether adaptation is expected to help."""

    sentence: str
    drift: bool
    images: int
    """That differ."""
    copies: int = 0
    """How many more repeated one of them, and were left out."""
    changes: tuple[str, ...]
    """In words, the largest first."""
    adapt: bool
    """Whether adaptation is expected to help."""
    advice: str
    """That in words, with its reason."""
    false_alarm_rate: float
    """What was allowed, in a window."""
    numbers: tuple[NumberDrift, ...]
    layers: tuple[LayerDrift, ...]
    balance: BalanceDrift
    means: dict[str, tuple[float, float]]
    """Mean of each number in the window, and among clean images that are answered as often with each class."""

    def to_json(self) -> str:
        """All of it, finite numbers only."""
        return self.model_dump_json(indent=2)

    def lines(self) -> list[str]:
        """All of it as text: the sentence, the advice, a table of the numbers, one of the layers, and what they are."""
        from eyas.adaptation.drift.drift_text import drift_lines

        return drift_lines(self)

    def draw(self, path: Path | str) -> Path:
        """Write a picture: how far each layer is from what it holds, and how far each number moved."""
        from eyas.adaptation.drift.drift_picture import draw_report

        figure: Figure = draw_report(self)
        figure.savefig(path, dpi=120)
        return Path(path)
