"""Scoring one candidate on one device: slice, train where the rung does, re-estimate batch-norm statistics, judge.

Shapes: N images, K classes.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from eyas.calibration import Calibrator
from eyas.calibration.batchnorm import batch_norms, batch_statistics, evaluation_mode
from eyas.calibration.recalibrate import even_batches, recalibrate_in_order
from eyas.deploy.latency.predicts_latency import PredictsLatency
from eyas.pruning.memory_format import channels_last
from eyas.scoring.device_copy import on_device, precision_of
from eyas.scoring.features import collect_features, find_head
from eyas.scoring.hooks import drop_idle_hooks
from eyas.scoring.image_sets import ImageSets
from eyas.scoring.outputs import example_output
from eyas.scoring.priors import Prior
from eyas.scoring.priors.base import prior_credit
from eyas.scoring.race.measurement import Measurement
from eyas.scoring.race.rungs import Rung
from eyas.scoring.reduction import in_pieces, reduce_images
from eyas.scoring.reward import Reward
from eyas.scoring.scorers import Outputs, Scorer
from eyas.scoring.scorers.base import image_scores, per_labelled_image
from eyas.scoring.scorers.cross_entropy import CrossEntropy
from eyas.scoring.scorers.top1 import Top1
from eyas.scoring.short_training import ShortTraining
from eyas.scoring.slicer import Slicer

if TYPE_CHECKING:
    from eyas.pruning.plan import PruningPlan
    from eyas.pruning.space import SearchSpace

EXAMPLES = 2
"""Scoring images that tell what the network answers with."""
_VALUES_SCORED_AT_ONCE = 2**22
"""Values of logits: fewer batches than that are judged together, which small networks notice."""


@dataclass(frozen=True)
class ScoringMethod:
    """How every candidate is judged, the same for all."""

    calibrator: Calibrator
    scorer: Scorer
    output: int | str | None = None
    """Which output is judged where the network has several, by position, name or path (``heads.0``); without it
    ``logits``, ``out`` or the first."""
    prior: Prior | None = None
    """What is added to every score for the widths alone."""
    reward: Reward | None = None
    """What every score is multiplied by for what the widths cost."""
    latency: PredictsLatency | None = None
    """What tells milliseconds where the reward weighs them."""

    def scorer_of(self, rung: Rung) -> Scorer:
        """Who judges on a rung: top-1 after training steps where labels decide, the chosen scorer on any other."""
        return Top1() if rung.steps and self.scorer.needs_labels else self.scorer


class Engine:
    """The dense network and the images on one device; scores one candidate after another.

    The network is a copy without the user's watching hooks; ``example`` is its scored output on two scoring images.

    Example::

        engine = Engine(model, space, images, method, device="cpu")
        engine.measure(plan, rung, batch_size=128).score
    """

    def __init__(
        self,
        model: nn.Module,
        space: "SearchSpace",
        images: ImageSets,
        method: ScoringMethod,
        *,
        device: str = "cpu",
    ) -> None:
        self.model = on_device(model, device)
        self.space, self.method, self.device = space, method, device
        self.images = images.to(device)
        if self.images.scoring.ndim == 4:
            self.model = channels_last(self.model)
        self.precision = "bfloat16" if device.startswith("cuda") else precision_of(self.model)
        drop_idle_hooks(self.model, self.images.scoring[:EXAMPLES], method.output)
        self.example = example_output(self.model, self.images.scoring[:EXAMPLES], method.output, method.scorer.answer)
        self._slice = Slicer(self.model, space)
        self.train = ShortTraining(
            self.model,
            space,
            output=method.output,
            num_logits=self.example.shape[1] if self.example.ndim > 1 else 0,
            precision=self.precision_context,
            calibrate=self.calibrate,
        )
        self.has_statistics = bool(batch_norms(self.model))
        self._head: str | None = None
        if method.scorer.needs_features:
            self._head = find_head(self.model, self.images.scoring[:EXAMPLES], method.output)

    def measure(self, plan: "PruningPlan", rung: Rung, batch_size: int) -> Measurement:
        """Score one candidate."""
        return self.launch(plan, rung, batch_size)()

    def launch(self, plan: "PruningPlan", rung: Rung, batch_size: int) -> Callable[[], Measurement]:
        """Queue the work, and return what waits for it: on a GPU the next candidate is sliced meanwhile."""
        trained = rung.steps is not None
        small = self.train(plan, rung, self.images, batch_size) if trained else self._slice(plan)
        wait, method = self.evaluate(small, rung, batch_size), self.method
        widths = np.array([[*plan.widths.values()]])
        if method.reward is not None:
            factor = float(method.reward.factors(self.space, widths, method.latency)[0])
            return lambda: wait().times(factor)
        if method.prior is None or rung.steps:  # after training the answers say what widths are worth
            return wait
        credit = prior_credit(method.prior, self.space, widths)
        return lambda: wait().raised(credit)

    def evaluate(self, model: nn.Module, rung: Rung, batch_size: int) -> Callable[[], Measurement]:
        """Calibrate and score a network that is the engine's to change."""
        with torch.inference_mode(), self.precision_context():
            columns = zip(*self._score_pieces(model, rung, batch_size), strict=True)
            return reduce_images(*(column[0] if len(column) == 1 else torch.cat(column) for column in columns))

    def calibrate(self, model: nn.Module, images: Tensor, batch_size: int) -> None:
        """Re-estimate statistics from images that are shuffled already."""
        recalibrate_in_order(model, images, calibrator=self.method.calibrator, batch_size=batch_size)

    def _score_pieces(self, model: nn.Module, rung: Rung, batch_size: int) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Score, right and log-likelihood per image, piece by piece: no more logits are kept than one piece has."""
        scoring = self.images.scoring[: rung.images]
        mode: Callable[[nn.Module], AbstractContextManager[None]] = evaluation_mode
        if self.has_statistics and rung.mode == "fused":
            mode = batch_statistics
        elif self.has_statistics:
            self.calibrate(model, self.images.calibration[: rung.calibration_images], batch_size)
        scorer = self.method.scorer_of(rung)
        most = float("inf") if scorer.needs_features else _VALUES_SCORED_AT_ONCE
        pieces: list[tuple[Tensor, Tensor, Tensor]] = []
        start = 0
        with mode(model), collect_features(model, self._head) as features:
            batches = (self.select_output(model(batch)) for batch in even_batches(scoring, batch_size))
            for logits in in_pieces(batches, most):
                pieces.append(self._score_images(self._outputs(logits, start, features), scorer))
                start += len(logits)
        return pieces

    def _outputs(self, logits: Tensor, start: int, features: list[Tensor]) -> Outputs:
        """Outputs on the scoring images from ``start`` on, and what they are held against."""
        part, images = slice(start, start + len(logits)), self.images
        return Outputs(
            logits=logits.float(),
            labels=None if images.labels is None else images.labels[part],
            dense=None if images.dense is None else images.dense[part],
            features=torch.cat(features) if features else None,
        )

    def _score_images(self, outputs: Outputs, scorer: Scorer) -> tuple[Tensor, Tensor, Tensor]:
        """Score, whether right, and log-likelihood of each image, ``(N,)`` in float64; NaN where unknown."""
        finite = torch.isfinite(outputs.logits).flatten(1).all(1)
        image_scores_N = torch.where(finite, image_scores(scorer, outputs), torch.nan).double()
        if outputs.labels is None or scorer.own_answers:
            unknown = torch.full_like(image_scores_N, torch.nan)
            return image_scores_N, unknown, unknown
        right_N = per_labelled_image((outputs.logits.argmax(1) == outputs.labels).double(), outputs.labels)
        known = isinstance(scorer, CrossEntropy)
        likelihood_N = image_scores_N if known else CrossEntropy()(outputs).double()
        return image_scores_N, torch.where(finite, right_N, torch.nan), likelihood_N

    def select_output(self, output: Any) -> Tensor:
        """The output that is scored, of whatever the network returns."""
        return self.method.scorer.answer(output, self.method.output)

    def precision_context(self) -> AbstractContextManager[Any]:
        """On CUDA bfloat16 arithmetic; batch-norm's statistics stay in float32."""
        if self.device.startswith("cuda"):
            return torch.autocast("cuda", torch.bfloat16)
        return nullcontext()
