"""Training by the teacher alone: no label is read, and what is judged is agreement."""

import pytest
import torch
from torch import nn

from eyas.data.tasks import IGNORED, Task
from eyas.errors import ParameterError
from eyas.training import evaluate, train, write_history
from eyas.training.labelled_images import TensorSplit
from eyas.training.recipes import Recipe


def network(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 4))


def images(seed: int, count: int = 256) -> torch.Tensor:
    return torch.randn(count, 1, 8, 8, generator=torch.Generator().manual_seed(seed))


def test_the_student_comes_to_agree_with_its_teacher(tmp_path) -> None:
    teacher, student = network(0).eval(), network(1)
    unlabelled = TensorSplit(images(0), torch.full((256,), IGNORED))
    with torch.inference_mode():
        answers = teacher(images(1)).argmax(1)
    judged = TensorSplit(images(1), answers, task=Task.parse("unlabelled"))
    before = evaluate(student, judged)
    recipe = Recipe.parse({"kind": "sgd", "batch_size": 32, "augmentation": "none"}).without_labels()
    result = train(student, unlabelled, judged, recipe=recipe, epochs=6, teacher=teacher)
    assert result.best.value > before.value + 0.2
    assert set(result.best.metrics("score")) == {"score_agreement", "score_cross_entropy"}
    assert result.best.words == "agreement"
    write_history(result.history, tmp_path / "history.csv", result.best.measure)
    header = (tmp_path / "history.csv").read_text().splitlines()[0]
    assert header == "epoch,train_loss,score_agreement,learning_rate,score_cross_entropy"


def test_the_loss_is_the_same_whatever_labels_say() -> None:
    recipe = Recipe.parse("sgd").without_labels()
    logits, teacher = torch.randn(2, 8, 4, generator=torch.Generator().manual_seed(0))
    losses = [recipe.loss(logits, torch.full((8,), label), teacher) for label in (0, 3, IGNORED)]
    assert losses[0] == losses[1] == losses[2]
    assert bool(losses[0].isfinite())


@pytest.mark.parametrize("distillation", [None, {"alpha": 0.5}])
def test_a_recipe_that_reads_labels_says_so(distillation: object) -> None:
    with pytest.raises(ParameterError, match="`distillation`"):
        Recipe.parse({"kind": "sgd", "distillation": distillation}).without_labels()


def test_with_labels_the_weight_is_as_it_was() -> None:
    logits, teacher = torch.randn(2, 8, 4, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(8) % 4
    one, other = (Recipe.parse({"kind": "sgd", "distillation": chosen}) for chosen in ({}, {"alpha": 0.9}))
    assert one.loss(logits, labels, teacher) == other.loss(logits, labels, teacher)
