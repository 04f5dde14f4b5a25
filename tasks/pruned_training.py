"""From a plan to the trained network: pruned, refitted, recalibrated, and trained, in one cut or more."""

import copy
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from eyas.calibration.recalibrate import recalibrate
from eyas.config import PipelineParams
from eyas.networks.saved_network import Network
from eyas.progress import Progress
from eyas.pruning.nested_plans import nested_plans
from eyas.pruning.plan import PruningPlan
from eyas.pruning.pruned_space import pruned_space
from eyas.pruning.space import SearchSpace
from eyas.pruning.sparsify import prepare_sparsity, sparsify
from eyas.recovery.prune_and_refit import prune_and_refit
from eyas.recovery.refit import RefitReport
from eyas.scoring.finalist import held_out_losses, loss_scorer
from eyas.scoring.scorers import Scorer
from eyas.training import EpochRecord, Evaluation, TrainingResult
from eyas.training.dense_teacher import DenseTeacher
from eyas.training.depth_scaling import choose_depth_scaling
from eyas.training.gradual import Cut, divide_epochs, train_in_cuts
from tasks.criterion_data import criterion_data
from tasks.training_support import TrainingData

_log = logging.getLogger(__name__)
_BATCH_SIZE = 256


@dataclass(frozen=True)
class Finetuned:
    """A network that was pruned to a plan and trained, and how good it was before and after."""

    model: nn.Module
    refitted: RefitReport | None
    before: Evaluation
    """Recalibrated, on the score split; with all zeros that ``finetune.sparsity`` asks for."""
    result: TrainingResult
    test: Evaluation
    test_before: Evaluation
    """Recalibrated, on the test split; of an untrained network what :attr:`test` is."""
    in_cuts: bool
    """It was pruned further while it was trained, or weights became zero."""
    depth_share: float | None = None
    """Of the update that the first block keeps, where ``finetune.depth_scaling`` asked."""

    @property
    def history(self) -> tuple[EpochRecord, ...]:
        """Every epoch, and before the first what it began with, unless channels or weights went in between."""
        epochs = self.result.history
        return (EpochRecord.before_training(self.before), *epochs) if epochs and not self.in_cuts else epochs

    @property
    def accuracies(self) -> dict[str, float]:
        """As the stage's metrics have them."""
        return {
            **self.before.metrics("recalibrated_score"),
            **self.result.best.metrics("score"),
            **self.test_before.metrics("recalibrated_test"),
            **self.test.metrics("test"),
            "best_epoch": self.result.best_epoch,
            **({"depth_share": self.depth_share} if self.depth_share is not None else {}),
        }


@dataclass(frozen=True)
class PrunedTraining:
    """Trains sub-networks of one dense network, all in the same way."""

    params: PipelineParams
    data: TrainingData
    dense: Network
    space: SearchSpace
    calibration: Mapping[str, Any]
    """How statistics are re-estimated, for :func:`eyas.recalibrate`."""
    scorer: Scorer
    """What ranked the candidates."""

    def run(self, plan: PruningPlan, folder: Path, progress: Progress) -> Finetuned:
        """Prune to ``plan``, recalibrate, refit and train; goes on from ``folder``.

        Where no epoch is better on the score split than what training began with, that is kept.
        """
        small, refitted = self._pruned(self.dense.model, self.space, plan)
        self._prepare(small, pruned_space(self.space, plan, small))
        start, of_start = copy.deepcopy(small), refitted
        if self._becomes_sparse:
            self._make_sparse(start)
        before = self.data.evaluate(start, "score", self.dense.output)
        _log.info(
            "before training: score %s %.4f, cross-entropy %.4f", before.words, before.value, before.cross_entropy
        )
        if self.params.finetune.gradual is None:
            result = self._train(small, plan, folder, progress)
        else:
            small, refitted, result = self._train_in_cuts(plan, folder, progress)
        share = None
        if result.history and self.params.finetune.depth_scaling:
            small, result, share = self._scaled_by_depth(start, small, result)
        if result.history and before.better_than(result.best):
            _log.warning(
                "no epoch is better than the network before training (score %s %.4f, at best %.4f after): it stays as "
                "it was; lower finetune.recipe.learning_rate",
                *(before.words, before.value, result.best.value),
            )
            small, refitted, result, share = start, of_start, replace(result, best_epoch=0, best=before), None
        test = self.data.evaluate(small, "test", self.dense.output)
        test_before = self.data.evaluate(start, "test", self.dense.output) if result.best_epoch else test
        gradual = self.params.finetune.gradual
        in_cuts = (gradual is not None and gradual.cuts > 1) or self._becomes_sparse
        return Finetuned(small, refitted, before, result, test, test_before, in_cuts, share)

    def _scaled_by_depth(
        self, start: nn.Module, small: nn.Module, result: TrainingResult
    ) -> tuple[nn.Module, TrainingResult, float]:
        """``finetune.depth_scaling``: the better network, its training, and what the first block keeps of it."""
        images = self._images()
        scaled = choose_depth_scaling(
            start,
            small,
            images[:1].to(self.data.device),
            evaluation=result.best,
            recalibrate=lambda network: recalibrate(network, images, **self.calibration),
            judge=lambda network: self.data.evaluate(network, "score", self.dense.output),
        )
        words, value = scaled.evaluation.words, scaled.evaluation.value
        _log.info("depth scaling: the first block keeps %.1f of its update, score %s %.4f", scaled.share, words, value)
        return scaled.model, replace(result, best=scaled.evaluation), scaled.share

    def _train(
        self, small: nn.Module, plan: PruningPlan, folder: Path, progress: Progress, span: range | None = None
    ) -> TrainingResult:
        """Train the network of ``plan`` in place; after its last cut it becomes sparse."""
        recipe, labelled = self.params.finetune.recipe, self.data.dataset.task.labelled
        recipe = recipe.for_trained(self.data.batch_size(recipe))
        return self.data.train(
            small,
            recipe if labelled or self.params.finetune.epochs == 0 else recipe.without_labels(),
            self.params.finetune.epochs,
            seed=self.params.finetune.seed,
            folder=folder,
            progress=progress,
            teacher=DenseTeacher(self.dense.model, self.space, plan),
            output=self.dense.output,
            span=span,
            sparse=self.params.finetune.sparse if span is None or span[-1] == self._epochs else None,
        )

    def _train_in_cuts(
        self, plan: PruningPlan, folder: Path, progress: Progress
    ) -> tuple[nn.Module, RefitReport | None, TrainingResult]:
        """``finetune.gradual``: the network, what its last refit did, and its training."""
        settings = self.params.finetune
        gradual = settings.gradual
        assert gradual is not None
        rated_by = criterion_data(gradual.criterion, self.data.dataset, self._images(), self.dense.output)
        plans = nested_plans(self.space, plan, gradual.cuts, criterion=gradual.criterion, data=rated_by)
        spans = divide_epochs(self._epochs, gradual.cuts, gradual.share)
        cuts = [Cut(number, *cut) for number, cut in enumerate(zip(plans, spans, strict=True), start=1)]
        reports: list[RefitReport | None] = []

        def prune(model: nn.Module, space: SearchSpace, plan: PruningPlan) -> nn.Module:
            small, report = self._pruned(model, space, plan)
            reports.append(report)
            if len(reports) == len(cuts):
                self._prepare(small, pruned_space(space, plan, small))
            return small

        def train(small: nn.Module, cut: Cut) -> TrainingResult:
            macs = self.space.cost(cut.plan.widths).macs / self.space.cost().macs
            _log.info("cut %d of %d, to %.1f %% of the MACs", cut.number, len(cuts), 100 * macs)
            return self._train(small, cut.plan, folder / f"cut-{cut.number}", progress, cut.epochs)

        small, result = train_in_cuts(self.dense.model, self.space, cuts, prune=prune, train=train)
        return small, reports[-1], result

    def _pruned(self, model: nn.Module, space: SearchSpace, plan: PruningPlan) -> tuple[nn.Module, RefitReport | None]:
        """A part of ``model`` with statistics as the finalists had them; what a refit did, where it is kept."""
        images, settings = self._images(), self.calibration
        _log.info("recalibrating on %d images", min(len(images), settings["num_images"] or len(images)))
        return prune_and_refit(
            model,
            space,
            plan,
            images,
            recovery=self.params.finetune.recovery,
            recalibrate=lambda network: recalibrate(network, images, **settings),
            losses=self._losses,
            device=self.data.device,
        )

    def _prepare(self, small: nn.Module, space: SearchSpace) -> None:
        """What ``finetune.sparsity`` asks for before training, in place; ``space`` is that of ``small``."""
        sparse = self.params.finetune.sparse
        if sparse is not None:
            prepare_sparsity(small, sparse.sparsity, space)
            if not self._becomes_sparse:
                self._make_sparse(small)

    def _make_sparse(self, small: nn.Module) -> None:
        """All zeros at once, and statistics that go with them."""
        sparsity = self.params.finetune.sparsity
        assert sparsity is not None
        sparsify(small, sparsity)
        recalibrate(small, self._images(), **self.calibration)

    @property
    def _becomes_sparse(self) -> bool:
        """Whether weights become zero while training goes on."""
        sparse = self.params.finetune.sparse
        return sparse is not None and sparse.sparsifier.steps(1) > 0

    @property
    def _epochs(self) -> int:
        """Of the whole training."""
        return self.data.length(self.params.finetune.recipe, self.params.finetune.epochs).epochs

    def _losses(self, networks: Sequence[nn.Module]) -> list[float]:
        """Of networks on the score split, by what ranked the candidates."""
        scorer, split = self.scorer, self.data.split("score")
        batches = (
            (split.prepare(stored), labels if scorer.needs_labels else None)
            for stored, labels in split.batches(_BATCH_SIZE)
        )
        judge = loss_scorer(scorer)
        return held_out_losses(networks, self.dense.model, batches, scorer=judge, output=self.dense.output)

    def _images(self) -> Tensor:
        """Those that statistics, refits and criteria look at, normalised."""
        stored = self.data.dataset.split("calibration").images(self.params.score.calibration_images)
        return self.data.dataset.normalise(stored)
