"""``eyas.search``: from a budget to the best sub-network, in one call.

A sampler proposes, a criterion says which channels stay at those widths, the race of :func:`eyas.score` decides. The
stages ``sample``, ``score`` and ``finetune`` do the same by the same functions, with files in between.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from numbers import Integral
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from eyas.calibration import Calibrator
from eyas.calibration.recalibrate import recalibrate
from eyas.data.image_tensors import normalised_images
from eyas.errors import DataError, ParameterError
from eyas.pruning.criteria import Criterion
from eyas.recovery import Recovery
from eyas.recovery.prune_and_refit import prune_and_refit
from eyas.sampling.budget import Budget
from eyas.sampling.generations import Generations
from eyas.sampling.samplers import Sampler
from eyas.scoring.arguments import check_options, choose_scorer, search_scorer
from eyas.scoring.candidates import GrowingPlans
from eyas.scoring.device_copy import on_device
from eyas.scoring.diagnosis import diagnose
from eyas.scoring.engine import EXAMPLES
from eyas.scoring.finalist import calibration_of, held_out_losses, loss_scorer
from eyas.scoring.image_arguments import cast_like_weights, check_alike
from eyas.scoring.label_readers import images_to_read
from eyas.scoring.outputs import example_output
from eyas.scoring.race.rungs import REFITTED_RUNGS, Rung
from eyas.scoring.race.score_table import ScoreTable
from eyas.scoring.score_options import ScoreOptions
from eyas.scoring.score_plans import score
from eyas.scoring.scorers import Scorer

if TYPE_CHECKING:
    from eyas.pruning.cost import Cost
    from eyas.pruning.plan import PruningPlan
    from eyas.pruning.space import SearchSpace

_BATCH_SIZE = 256


@dataclass(frozen=True, kw_only=True)
class SearchOptions(ScoreOptions):
    """Options of :func:`eyas.search`: those of :func:`eyas.score`, and how candidates are raced."""

    rungs: Sequence[Rung | dict[str, Any]] | None = None
    """Images, mode and survivors of each round, as :func:`eyas.score` takes them; without any every candidate is
    refitted before it is judged (:data:`eyas.scoring.REFITTED_RUNGS`), and trained where there is ``training``."""
    scorer: Scorer | str | Mapping[str, Any] | None = None
    """What ranks; without one ``dense_probe`` where a linear layer makes the answers, else ``cross_entropy`` with
    labels, ``dense_kl`` without."""
    calibrator: Calibrator | str | Mapping[str, Any] = "pooled"
    """Who re-estimates the statistics in held-out rungs, and of the network that is built."""
    tolerance: float = 0.005
    """Half the width of the band around the budget, as a share of the dense cost; see :meth:`.Budget.parse`."""
    calibration_labels: Tensor | None = None
    """Integers, one per calibration image, for a criterion or a sampler that reads labels; nothing else reads them."""


@dataclass(frozen=True, eq=False, repr=False)
class SearchResult:
    """The winner of a search, and what it takes to build it."""

    plan: "PruningPlan"
    """Of the winner."""
    table: ScoreTable
    """Scores of all candidates, those of later generations behind those of earlier ones."""
    candidates: GrowingPlans
    """Aligned with ``table``: plans by number, ``candidates.widths`` as a matrix."""
    cost: "Cost"
    """Of the winner, per image."""
    uniform: "PruningPlan | None"
    """The same share of every group at the same budget, by the same criterion; None where no such widths are in the
    band."""
    model: nn.Module
    """The dense network."""
    space: "SearchSpace"
    """Its search space."""
    budget: Budget
    """The limits with their bands."""
    calibration_images: Tensor
    """As they were given; empty where there were none."""
    scoring_images: Tensor
    """As they were given."""
    scoring_labels: Tensor | None
    """As they were given."""
    scorer: Scorer
    """What ranked."""
    seed: int
    """Of candidates and images."""
    options: SearchOptions
    """As they were given."""

    @property
    def diagnosis(self) -> tuple[str, ...]:
        """Whether the winner is predicted to beat uniform widths, and what to do where scores say little, in words."""
        share = self.cost.macs / self.space.cost().macs
        return diagnose(self.table, macs_share=share, uniform_in_band=self.uniform is not None)

    @property
    def binding(self) -> str:
        """The limit that the winner meets, such as ``macs``: of several the one that it is closest to."""
        (binding,) = self.budget.binding(self.space, self.candidates.widths[[self.table.winner]])
        return binding

    @property
    def widths(self) -> dict[str, int]:
        """Channels that the winner keeps, by group."""
        return self.plan.widths

    def build(self, refit: bool | Recovery | str | Mapping[str, Any] = True) -> nn.Module:
        """The winner as a new network, ready to train or to export; the dense one stays as it is.

        It is pruned, refitted by :func:`eyas.refit` where that does not raise its loss on the scoring images, and has
        the statistics that it was judged with. The loss is cross-entropy where the race ranked by labels, else the
        distance to the dense network's answers; labels are read in no other place.

        Args:
            refit: False leaves the weights as they are; a recovery, or its name, stands in place of least squares.

        Raises:
            ParameterError: there is no such recovery.
        """
        recovery = None if refit is False else Recovery.parse("least_squares" if refit is True else refit)
        calibrator = Calibrator.parse(self.options.calibrator)
        calibration = calibration_of(self.table.settings, calibrator, self.seed)
        images = self.calibration_images if len(self.calibration_images) else self.scoring_images
        small, _ = prune_and_refit(
            self.model,
            self.space,
            self.plan,
            images,
            recovery=recovery,
            recalibrate=lambda network: recalibrate(network, images, **calibration),
            losses=self._losses,
            device=next(self.model.parameters()).device,
        )
        return small.eval()

    def _losses(self, networks: Sequence[nn.Module]) -> list[float]:
        labels = self.scoring_labels if self.scorer.needs_labels else None
        parts = range(0, len(self.scoring_images), _BATCH_SIZE)
        batches = (
            (self.scoring_images[at : at + _BATCH_SIZE], None if labels is None else labels[at : at + _BATCH_SIZE])
            for at in parts
        )
        judge = loss_scorer(self.scorer)
        return held_out_losses(networks, self.model, batches, scorer=judge, output=self.options.output)


def search(  # noqa: PLR0917
    model: nn.Module,
    space: "SearchSpace",
    budget: Mapping[str, float] | Budget,
    calibration_images: Tensor | None,
    scoring_images: Tensor,
    scoring_labels: Tensor | None = None,
    *,
    training: tuple[Tensor, Tensor | None] | Tensor | None = None,
    criterion: Criterion | str | Mapping[str, Any] = "weight_activation",
    sampler: Sampler | str | Mapping[str, Any] = "evolution",
    candidates: int = 200,
    device: str = "cpu",
    seed: int = 0,
    options: SearchOptions | None = None,
) -> SearchResult:
    """Find the sub-network that will be the most accurate at a budget; the network itself is not touched.

    Args:
        model: the dense network that ``space`` was traced from.
        space: its search space.
        budget: limits of ``macs``, ``params``, ``activation_bytes`` or ``file_bytes``, up to 1 a share of the dense
            cost; ``latency_ms``, or ``latency`` as a share of the dense network's, with ``options.latency``. Of
            several a candidate meets one and keeps within the others.
        calibration_images: normalised floats ``(N, C, H, W)``: they re-estimate statistics, rate channels where the
            criterion looks at activations, and refit; None only where one fused rung is raced.
        scoring_images: normalised floats ``(M, C, H, W)``, disjoint from them.
        scoring_labels: integers ``(M,)``; without them candidates are compared to the dense network's outputs.
        training: images, alone or with labels, apart from both: finalists are trained on them for a few
            steps before they are judged; rungs with steps need them.
        criterion: which channels of a group are kept.
        sampler: who proposes widths; one that learns is asked again while the race runs.
        candidates: how many at most.
        device: where candidates are scored: ``cpu``, ``cuda`` or ``cuda:N``.
        seed: draws the candidates and shuffles the images.
        options: rungs, scorer, calibrator, tolerance, latency; batch size, workers, journal, progress: see
            :class:`SearchOptions`.

    Returns:
        The winner: ``.plan``, ``.widths``, ``.cost``, ``.binding``, ``.table``, ``.uniform``; ``.build()`` makes the
        network.

    Raises:
        BudgetError: no candidate can meet the budget; states the reachable range.
        ParameterError: an argument makes no sense.
        DataError, PlanError, BusyError, StorageError, EyasError: as :func:`eyas.score` does.

    Example::

        space = eyas.trace(model, (calibration_images[:2],))
        result = eyas.search(model, space, {"macs": 0.25}, calibration_images, scoring_images)
        small = result.build()
    """
    options = _with_training(options or SearchOptions(), training)
    check_options(options, device=device, seed=seed)
    candidates, seed = _whole_number("candidates", candidates, 1), _whole_number("seed", seed, 0)
    band = Budget.parse(space, budget, options.tolerance, options.latency)
    calibration, scoring = _images_of(model, calibration_images, scoring_images)
    chosen = Criterion.parse(criterion)
    of_calibration = partial(images_to_read, labels=options.calibration_labels, output=options.output)
    data = of_calibration(chosen, calibration, scoring)
    local = device if options.cluster is None else "cpu"
    dense = on_device(model, local)
    if len(scoring):
        example_output(dense, scoring[:EXAMPLES].to(local), select=lambda output, _: output)
    planner = space.planner(chosen, model=dense, data=data)
    scorer = options.scorer
    if scorer is None:
        scorer = search_scorer(dense, scoring[:EXAMPLES], scoring_labels, options.output)
    proposer = Sampler.parse(sampler)
    proposer.check_space(space)
    seen = of_calibration(proposer, calibration, scoring)
    if seen is None and proposer.trains:
        msg = f"sampler {proposer.kind} trains on calibration images, and has none: give some, or take evolution"
        raise DataError(msg)
    images, labels = (scoring, None) if seen is None else (seen.images, seen.labels)
    table = proposer.measure_with(dense, space, planner, images, labels=labels, budget=band, output=options.output)
    generations = Generations(space, band, proposer, candidates=candidates, seed=seed, table=table)
    plans = GrowingPlans(generations.first(), planner, generations)
    scores = score(
        model,
        space,
        plans,
        calibration,
        scoring,
        scoring_labels,
        rungs=REFITTED_RUNGS if options.rungs is None and options.training is None else options.rungs,
        device=device,
        seed=seed,
        calibrator=options.calibrator,
        scorer=scorer,
        options=options,
    )
    plan = plans[scores.winner]
    return SearchResult(
        plan=plan,
        table=scores,
        candidates=plans,
        cost=space.cost(plan.widths),
        uniform=plans.uniform_plan(),
        model=model,
        space=space,
        budget=band,
        calibration_images=calibration,
        scoring_images=scoring,
        scoring_labels=None if scoring_labels is None else torch.as_tensor(scoring_labels),
        scorer=choose_scorer(scorer, scoring_labels),
        seed=seed,
        options=options,
    )


def _with_training(options: SearchOptions, training: tuple[Tensor, Tensor | None] | Tensor | None) -> SearchOptions:
    """The options with the training images, which stand among them or are an argument."""
    if training is None:
        return options
    if options.training is not None:
        msg = "training images are given twice, by themselves and among the options: give them once"
        raise ParameterError(msg)
    return replace(options, training=training)


def _whole_number(name: str, value: Any, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        msg = f"`{name}` {value!r}: give a whole number from {least} on"
        raise ParameterError(msg)
    return int(value)


def _images_of(model: nn.Module, calibration: Any, scoring: Any) -> tuple[Tensor, Tensor]:
    """Normalised images in the dtype of the weights, to calibrate (perhaps none) and to score."""
    scoring = cast_like_weights(model, normalised_images("scoring_images", scoring))
    if calibration is None:
        return scoring[:0], scoring
    calibration = cast_like_weights(model, normalised_images("calibration_images", calibration))
    check_alike("calibration_images", calibration, scoring)
    return calibration, scoring
