"""What a training is after an epoch, and its way into an epoch checkpoint and back."""

import logging
from dataclasses import asdict, dataclass, field
from typing import Any

from torch import Tensor

from eyas.training.epoch import TrainingJob
from eyas.training.evaluation import Evaluation
from eyas.training.history import EpochRecord
from eyas.training.resume import EpochStore

_log = logging.getLogger(__name__)


@dataclass
class TrainingState:
    """All that an epoch checkpoint holds, beside the model and the optimiser."""

    history: list[EpochRecord] = field(default_factory=list)
    best_epoch: int = 0
    best: Evaluation | None = None
    best_weights: dict[str, Tensor] = field(default_factory=dict)


def snapshot(job: TrainingJob, state: TrainingState) -> dict[str, Any]:
    """Tensors and plain values only: it is read back without unpickling code."""
    return {
        "model": job.model.state_dict(),
        "optimiser": job.optimiser.state_dict(),
        "average": job.average.state_dict() if job.average else None,
        "masked": job.masked.state_dict() if job.masked else None,
        "history": [asdict(record) for record in state.history],
        "best_epoch": state.best_epoch,
        "best": asdict(state.best) if state.best else None,
        "best_weights": state.best_weights,
    }


def restore(job: TrainingJob, store: EpochStore | None, epochs: int) -> TrainingState | None:
    """Put model and optimiser back where the store says a killed run stopped."""
    saved = job.processes.after_first(lambda: store.load(job.device)) if store is not None else None
    if saved is None or len(saved["history"]) > epochs:
        return None
    job.model.load_state_dict(saved["model"])
    job.optimiser.load_state_dict(saved["optimiser"])
    if job.average is not None:
        job.average.load_state_dict(saved["average"])
    if job.masked is not None:
        job.masked.load_state_dict(saved["masked"])
    history = [EpochRecord(**record) for record in saved["history"]]
    _log.info("continuing after epoch %d of %d", history[-1].epoch, job.length.epochs)
    best = Evaluation(**saved["best"]) if saved["best"] else None
    return TrainingState(history, saved["best_epoch"], best, saved["best_weights"])
