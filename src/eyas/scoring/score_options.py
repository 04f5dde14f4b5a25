"""What :func:`eyas.score` may be told beside what it scores: the race's settings, and how the work is done."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from eyas.deploy.latency.predicts_latency import PredictsLatency
from eyas.progress import Progress, silent
from eyas.scoring.priors import Prior
from eyas.scoring.reward import Reward


@dataclass(frozen=True, kw_only=True)
class ScoreOptions:
    """Options of :func:`eyas.score`. Scores depend on those before ``workers``, on others not beyond rounding."""

    training: tuple[Tensor, Tensor | None] | Tensor | None = None
    """Normalised images ``(N, C, H, W)``, alone or with their labels ``(N,)``, or None for these: what rungs with
    ``steps`` train on, disjoint from the scoring images; as many as their longest one takes are used."""
    batch_size: int = 128
    """Images per batch of the statistics, at least 2: part of the score."""
    output: int | str | None = None
    """Which output is scored where the network has several, by position, name or path (``heads.0``); without it
    ``logits``, ``out`` or the first."""
    stop_margin: float = 4.0
    """A leader this many standard errors ahead of the others goes to the last rung alone; ``inf`` never stops early.
    Where rungs train, a leader before the first of these does not."""
    prior: Prior | str | Mapping[str, Any] | None = None
    """What is added to every score for the widths alone; nothing after training steps."""
    reward: Reward | Mapping[str, float] | None = None
    """What scores are multiplied by for costs that are to be low as well, by weight, as in ``{"params": 1}``."""
    latency: PredictsLatency | None = None
    """What predicts milliseconds where a budget limits them, or ``reward`` weighs them: a
    :class:`~eyas.deploy.latency.LatencyModel`."""
    workers: int = 1
    """Processes (on a cluster actors) that score side by side, no more than candidates; they share the GPUs."""
    threads: int | None = None
    """Torch threads of each worker; without it the cores divided by ``workers``, for one worker torch's own setting."""
    cluster: str | None = None
    """``ray``, or the address of a Ray cluster."""
    journal: Path | str | None = None
    """File that finished measurements are kept in, so that a killed call can be repeated and goes on; one of another
    race is begun anew, any other file refused."""
    progress: Progress = silent
    """Told how far the race is."""
