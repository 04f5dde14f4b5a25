"""Every task counts right answers as a loop over single answers does; mean IoU by its definition."""

import pytest
import torch

from eyas.data.tasks import IGNORED, Tally, Task, mean_iou
from eyas.data.tasks.tally import class_overlap

KINDS = sorted(Task.registry)
CLASSES = 4


def answers_and_labels(task: Task, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shape = (7, *task.answer_shape((3, 5, 6)))
    answers, labels = torch.randint(0, CLASSES, (2, *shape), generator=generator)
    if labels.ndim > 1:
        labels[torch.rand(shape, generator=generator) < 0.3] = IGNORED
    return answers, labels


@pytest.mark.parametrize("kind", [kind for kind in KINDS if Task.members()[kind].labelled])
def test_a_task_is_known_by_its_labels(kind: str) -> None:
    task = Task.parse(kind)
    _, labels = answers_and_labels(task)
    assert labels.ndim == task.label_dims
    assert Task.of(labels).label_dims == task.label_dims


@pytest.mark.parametrize("kind", KINDS)
def test_right_answers_are_those_of_a_loop(kind: str) -> None:
    task = Task.parse(kind)
    answers, labels = answers_and_labels(task)
    tally = task.tally(answers, labels, CLASSES)
    for image in range(len(labels)):
        pairs = list(zip(answers[image].flatten().tolist(), labels[image].flatten().tolist(), strict=True))
        labelled = [pair for pair in pairs if pair[1] != IGNORED]
        assert (int(tally.right[image]), int(tally.labelled[image])) == (
            sum(answer == label for answer, label in labelled),
            len(labelled),
        )
    assert 0 <= task.value(tally) <= 1


@pytest.mark.parametrize("kind", KINDS)
def test_batches_joined_are_the_whole(kind: str) -> None:
    task = Task.parse(kind)
    answers, labels = answers_and_labels(task)
    parts = [task.tally(answers[rows], labels[rows], CLASSES) for rows in torch.arange(len(labels)).split(3)]
    assert Tally.joined(parts).measures() == task.tally(answers, labels, CLASSES).measures()


@pytest.mark.parametrize("kind", KINDS)
def test_right_everywhere_is_one(kind: str) -> None:
    task = Task.parse(kind)
    _, labels = answers_and_labels(task)
    assert task.value(task.tally(labels.clamp(min=0), labels, CLASSES)) == 1.0


def test_mean_iou_by_sets_of_pixels() -> None:
    answers, labels = answers_and_labels(Task.parse("segmentation"))
    ious = []
    for label in range(CLASSES):
        here = [(n, pixel) for n in range(len(labels)) for pixel in range(30) if labels[n].flatten()[pixel] != IGNORED]
        answered = {place for place in here if answers[place[0]].flatten()[place[1]] == label}
        true = {place for place in here if labels[place[0]].flatten()[place[1]] == label}
        ious.append(len(answered & true) / len(answered | true))
    assert mean_iou(class_overlap(answers, labels, CLASSES)) == pytest.approx(sum(ious) / CLASSES)


def test_a_class_that_nowhere_occurs_does_not_count() -> None:
    labels = torch.zeros(2, 3, 3, dtype=torch.long)
    assert mean_iou(class_overlap(labels, labels, 5)) == 1.0
    answers = labels.clone()
    answers[0, 0, 0] = 4  # answered once, never labelled: 17 of 18 for class 0, 0 for class 4
    assert mean_iou(class_overlap(answers, labels, 5)) == pytest.approx((17 / 18 + 0) / 2)
