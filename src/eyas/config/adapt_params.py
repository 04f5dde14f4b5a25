"""The section ``adapt``: how a registered network follows the images of where it works. No stage reads it."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from eyas.adaptation.adapters import Adapter, AnyAdapter
from eyas.adaptation.detectors import AnyDetector, Detector
from eyas.adaptation.rule_limits import RevertRule
from eyas.config.operation import ScheduleParams
from eyas.config.section import Count, PublicAddress, Section, Seed
from eyas.data.formats import AnyFormat


class AdaptParams(Section):
    """How a registered network follows the images of where it works."""

    images: PublicAddress | None = None
    """Images of the field, which need no labels: a path, ``https://...`` or ``s3://...``. Named here they are looked at
    on schedule and by webhook; ``eyas adapt`` takes others."""
    format: AnyFormat = "auto"
    """How their files hold them, as in ``fetch.format``."""
    max_images: Count = 1024
    """At most so many of them, evenly from all in the order of their names; they lie in memory."""
    detector: AnyDetector = Field(default_factory=lambda: Detector.parse("distributions"))
    """Who says whether the images drifted, here and in ``eyas watch``."""
    adapter: AnyAdapter = Field(default_factory=lambda: Adapter.parse("alpha_bn"))
    """Who adapts."""
    batch_size: Annotated[int, Field(ge=1, strict=True)] = 64
    """Images that are looked at together: the window of the adapter."""
    source_images: Annotated[int, Field(ge=2, strict=True)] = 1024
    """At most so many images of the score split say what is usual, and with their labels are the canary: what the
    adapted network must still know."""
    rule: RevertRule = RevertRule()
    """What an adaptation must hold to be proposed, and to stay. Its ``max_canary_loss`` also says what an adapted
    version may lose on the test images, which are not of the field, in place of ``promote.max_drop``,
    ``min_agreement``, ``preset`` and ``min_gain``; a ``max_drop`` of null stays that."""
    schedule: ScheduleParams = ScheduleParams()
    """When the images are looked at without being asked; fields as in ``schedule``."""
    seed: Seed = 0
    """Of the images' order, and of all that an adapter draws."""

    @model_validator(mode="after")
    def _a_rhythm_has_images(self) -> Self:
        if self.schedule.has_rhythm and self.images is None:
            msg = "schedule has a rhythm and images is not set: name the images that are looked at"
            raise ValueError(msg)
        return self
