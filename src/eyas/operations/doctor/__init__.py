"""``eyas doctor``: whether this machine can run the pipeline, a finding at a time, each with what to do."""

from eyas.operations.doctor.examination import examine
from eyas.operations.doctor.finding import Finding

__all__ = ["Finding", "examine"]
