"""Training and evaluating networks: the loop, what it reads, and how it resumes."""

from eyas.training.dense_teacher import DenseTeacher
from eyas.training.evaluation import Evaluation, evaluate
from eyas.training.history import EpochRecord, write_history
from eyas.training.labelled_images import LabelledImages, StoredSplit, TensorSplit
from eyas.training.length import TrainingLength, choose_length
from eyas.training.loop import TrainingResult, train
from eyas.training.masked_weights import SparseTraining
from eyas.training.resume import EpochStore, derive_seed, resume_key

__all__ = [
    "DenseTeacher",
    "EpochRecord",
    "EpochStore",
    "Evaluation",
    "LabelledImages",
    "SparseTraining",
    "StoredSplit",
    "TensorSplit",
    "TrainingLength",
    "TrainingResult",
    "choose_length",
    "derive_seed",
    "evaluate",
    "resume_key",
    "train",
    "write_history",
]
