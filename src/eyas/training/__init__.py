"""Training and evaluating networks: the loop, what it reads, and how it resumes."""

from eyas.training.evaluation import Evaluation, evaluate
from eyas.training.loop import EpochRecord, TrainingResult, train
from eyas.training.resume import EpochStore, derive_seed, stage_key
from eyas.training.splits import Split, TensorSplit

__all__ = [
    "EpochRecord",
    "EpochStore",
    "Evaluation",
    "Split",
    "TensorSplit",
    "TrainingResult",
    "derive_seed",
    "evaluate",
    "stage_key",
    "train",
]
