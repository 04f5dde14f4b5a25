"""The section ``adapt``: how a registered network follows the images of where it works. No stage reads it."""

from datetime import date
from typing import Annotated, Self

from pydantic import BeforeValidator, Field, model_validator

from eyas.adaptation.adapters import Adapter, AnyAdapter
from eyas.adaptation.detectors import AnyDetector, Detector
from eyas.adaptation.rule_limits import RevertRule
from eyas.config.operation import ScheduleParams
from eyas.config.section import Count, PublicAddress, Section, Seed
from eyas.data.date_range import DateRange
from eyas.data.formats import AnyFormat

DateText = Annotated[str, BeforeValidator(lambda value: value.isoformat() if isinstance(value, date) else value)]
"""YAML makes dates of what looks like one."""


class AdaptParams(Section):
    """How a registered network follows the images of where it works."""

    images: PublicAddress | None = None
    """Images of the field, which need no labels: a path, ``https://...`` or ``s3://...``. Named here they are looked at
    on schedule and by webhook; ``eyas adapt`` takes others."""
    format: AnyFormat = "auto"
    """How their files hold them, as in ``fetch.format``."""
    since: DateText | None = None
    """Of ``images`` only those from this date on: a day (``2026-11-20``), a time (UTC without an offset), or an age
    (``7d``, ``12h``). A file's date is when it was last changed, on S3 when it was uploaded."""
    until: DateText | None = None
    """Only those from before this date, which is not in it."""
    date_column: str | None = None
    """The column of Parquet files that has each image's date, in place of the file's; of timestamps, dates, or ISO
    text. Images without one are left out."""
    max_images: Count = 1024
    """At most so many of them that differ, drawn by ``seed`` and what they hold; they lie in memory."""
    detector: AnyDetector = Field(default_factory=lambda: Detector.parse("distributions"))
    """Who says whether images drifted, also where they are watched."""
    adapter: AnyAdapter = Field(default_factory=lambda: Adapter.parse("ada_bn"))
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
    """Of which images are taken and held out, their order, and all that an adapter draws."""

    @property
    def dates(self) -> DateRange:
        """The range of ``since`` and ``until``; ages are counted back from now."""
        return DateRange.of(self.since, self.until)

    @model_validator(mode="after")
    def _dates_are_some(self) -> Self:
        if not self.dates and self.date_column:  # dates that are none are refused here, too
            msg = "date_column names where dates stand, and neither since nor until is set: set one"
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _a_rhythm_has_images(self) -> Self:
        if self.schedule.has_rhythm and self.images is None:
            msg = "schedule has a rhythm and images is not set: name the images that are looked at"
            raise ValueError(msg)
        return self
