"""Public functions take a member alike: by its kind, by a mapping, or ready; and refuse others in one way."""

import copy
from collections import UserDict
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import eyas
from eyas.adaptation.adapters import Adapter
from eyas.calibration import Calibrator
from eyas.component import Component
from eyas.errors import ParameterError
from eyas.pruning.criteria import Criterion
from eyas.pruning.nested_plans import nested_plans
from eyas.pruning.sparsity import Sparsity
from eyas.recovery import Recovery
from eyas.sampling.budget import Budget
from eyas.sampling.generations import Generations
from eyas.sampling.samplers import Sampler
from eyas.scoring import Rung
from eyas.scoring.priors import Prior
from eyas.scoring.scorers import Scorer
from eyas.training import SparseTraining, train
from eyas.training.labelled_images import TensorSplit
from eyas.training.recipes import Recipe
from eyas.training.sparsifiers import Sparsifier

Use = Callable[[Any], Any]


def network() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(1, 6, 3, bias=False), nn.BatchNorm2d(6), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
            nn.Linear(6, 3),
        ).eval()  # fmt: skip


MODEL, IMAGES, LABELS = (
    network(),
    torch.randn(16, 1, 6, 6, generator=torch.Generator().manual_seed(1)),
    torch.arange(16) % 3,
)
SPACE = eyas.trace(MODEL, (IMAGES[:2],))
BUDGET = Budget.of(SPACE, "macs", 0.5, 0.1)
PLAN = SPACE.plan({"0": 3})
RUNGS = [Rung(images=16)]


def scored(**how: Any) -> list[float]:
    plans = [SPACE.plan({"0": width}) for width in (2, 3)]
    return eyas.score(MODEL, SPACE, plans, IMAGES, IMAGES, LABELS, rungs=RUNGS, **how).score.tolist()


def searched(**how: Any) -> list[list[int]]:
    options = eyas.SearchOptions(rungs=RUNGS, scorer="cross_entropy", tolerance=0.1)
    how = {"sampler": "budget", "candidates": 2, "options": options} | how
    return eyas.search(MODEL, SPACE, {"macs": 0.5}, IMAGES, IMAGES, LABELS, **how).candidates.widths.tolist()


def refitted(recovery: Any) -> Any:
    small = eyas.prune(MODEL, SPACE, PLAN)
    eyas.refit(MODEL, small, SPACE, PLAN, IMAGES, recovery=recovery)
    return [value.sum().item() for value in small.state_dict().values()]


def trained(recipe: Any) -> float:
    split = TensorSplit(IMAGES, LABELS, task="classification")  # type: ignore[arg-type]
    return train(copy.deepcopy(MODEL), split, split, recipe=recipe, epochs=1).best.cross_entropy


def sums(model: nn.Module) -> list[float]:
    return [value.double().sum().item() for value in model.state_dict().values()]


def calibrated(calibrator: Any) -> list[float]:
    model = copy.deepcopy(MODEL)
    eyas.recalibrate(model, IMAGES, calibrator=calibrator)
    return sums(model)


USES: dict[str, tuple[type[Component], str, dict[str, Any], Use]] = {
    "plan": (Criterion, "l2_norm", {}, lambda it: SPACE.plan({"0": 3}, it)),
    "planner": (Criterion, "random", {"seed": 3}, lambda it: SPACE.planner(it)({"0": 3})),
    "ranking": (Criterion, "random", {"seed": 3}, lambda it: SPACE.ranking(it)[0].tolist()),
    "nested_plans": (Criterion, "random", {"seed": 3}, lambda it: nested_plans(SPACE, PLAN, 2, criterion=it)),
    "search by a criterion": (Criterion, "l1_norm", {}, lambda it: searched(criterion=it)),
    "search by a sampler": (Sampler, "budget", {"floor": 0.2}, lambda it: searched(sampler=it)),
    "generations": (
        Sampler, "budget", {"floor": 0.2}, lambda it: Generations(SPACE, BUDGET, it, candidates=2).first().tolist()
    ),
    "score by a scorer": (Scorer, "dense_probe", {"ridge": 0.5}, lambda it: scored(scorer=it)),
    "score by a calibrator": (Calibrator, "moving_average", {"momentum": 0.5}, lambda it: scored(calibrator=it)),
    "score with a prior": (
        Prior, "log_widths", {"weight": 0.5}, lambda it: scored(options=eyas.ScoreOptions(prior=it))
    ),
    "recalibrate": (Calibrator, "moving_average", {"momentum": 0.5}, calibrated),
    "refit": (Recovery, "least_squares", {"images": 8}, refitted),
    "adapt": (Adapter, "alpha_bn", {"source_weight": 0.5}, lambda it: sums(eyas.adapt(MODEL, IMAGES, it))),
    "sparsify": (
        Sparsity, "unstructured", {"zeros": 0.3},
        lambda it: {name: int(mask.sum()) for name, mask in eyas.sparsify(copy.deepcopy(MODEL), it).items()},
    ),
    "train": (Recipe, "sgd", {"learning_rate": 0.01}, trained),
    "sparse training of a pattern": (Sparsity, "n_m", {"n": 1}, lambda it: SparseTraining(it, "at_once")),  # type: ignore[arg-type]
    "sparse training by a sparsifier": (Sparsifier, "granet", {"every": 3}, lambda it: SparseTraining("n_m", it)),  # type: ignore[arg-type]
}  # fmt: skip


@pytest.mark.parametrize("how", USES)
def test_a_name_a_mapping_and_a_member_are_the_same(how: str) -> None:
    family, kind, options, use = USES[how]
    mapping = {"kind": kind, **options}
    expected = use(family.parse(mapping))
    assert use(mapping) == use(UserDict(mapping)) == expected
    assert use(kind) == use(family.parse(kind))


@pytest.mark.parametrize("how", USES)
def test_what_is_wrong_is_told_alike(how: str) -> None:
    family, kind, _, use = USES[how]
    with pytest.raises(
        ParameterError, match=f"^unknown {family.family} kind 'nonesuch' in 'nonesuch'.*; available: .*{kind}"
    ):
        use("nonesuch")
    with pytest.raises(ParameterError, match=f"^`{family.family}` .*: salt: no such parameter; {kind} knows kind"):
        use({"kind": kind, "salt": 1})
    with pytest.raises(ParameterError, match=f"^unknown {family.family} kind None in 3.*; available"):
        use(3)


def test_the_task_of_a_split_is_taken_by_its_kind() -> None:
    assert TensorSplit(IMAGES, LABELS).task is None
    with pytest.raises(ParameterError, match=r"unknown task kind 'classifcation' .*did you mean 'classification'"):
        TensorSplit(IMAGES, LABELS, task="classifcation")  # type: ignore[arg-type]
    assert np.array_equal(TensorSplit(IMAGES, LABELS).labels, LABELS)
