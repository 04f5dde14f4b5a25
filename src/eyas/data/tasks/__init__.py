"""Tasks: what a network answers about an image, and how often it is right. One task per file."""

from eyas.data.tasks.base import AnyTask, Task, deciding
from eyas.data.tasks.tally import IGNORED, Tally, class_overlap, mean_iou

__all__ = ["IGNORED", "AnyTask", "Tally", "Task", "class_overlap", "deciding", "mean_iou"]
