"""Training and evaluating networks: the loop, what it reads, and how it resumes."""

from typing import TYPE_CHECKING

from eyas.component import import_on_use

if TYPE_CHECKING:
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

# Hidden from type checkers: with it in sight, every misspelt name would be taken for Any.
if not TYPE_CHECKING:
    __getattr__ = import_on_use(
        __name__,
        {
            "DenseTeacher": "eyas.training.dense_teacher",
            "EpochRecord": "eyas.training.history",
            "EpochStore": "eyas.training.resume",
            "Evaluation": "eyas.training.evaluation",
            "LabelledImages": "eyas.training.labelled_images",
            "SparseTraining": "eyas.training.masked_weights",
            "StoredSplit": "eyas.training.labelled_images",
            "TensorSplit": "eyas.training.labelled_images",
            "TrainingLength": "eyas.training.length",
            "TrainingResult": "eyas.training.loop",
            "choose_length": "eyas.training.length",
            "derive_seed": "eyas.training.resume",
            "evaluate": "eyas.training.evaluation",
            "resume_key": "eyas.training.resume",
            "train": "eyas.training.loop",
            "write_history": "eyas.training.history",
        },
    )
