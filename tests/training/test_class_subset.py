"""A part of the images: by the seed, balanced, and trained on as if there were no others."""

import pytest
import torch

from eyas.training import TensorSplit, train
from eyas.training.class_subset import PartialSplit, class_subset, part_of
from eyas.training.recipes import Recipe
from eyas.training.recipes.sgd import SGD
from tests.training.helpers import state_hash, train_killed

LABELS = torch.tensor([0] * 40 + [1] * 11 + [2] * 3)[torch.randperm(54, generator=torch.Generator().manual_seed(0))]


@pytest.mark.parametrize("fraction", [0.1, 0.25, 0.5, 0.9, 1.0])
def test_every_class_has_its_share(fraction):
    rows = class_subset(LABELS, fraction, seed=3)
    assert torch.equal(rows, rows.unique())
    kept, there = LABELS[rows].bincount(minlength=3), LABELS.bincount()
    assert kept.tolist() == [max(1, round(fraction * count)) for count in there.tolist()]


def test_it_repeats_under_a_seed_and_a_smaller_one_is_inside():
    assert torch.equal(class_subset(LABELS, 0.5, 1), class_subset(LABELS, 0.5, 1))
    assert not torch.equal(class_subset(LABELS, 0.5, 1), class_subset(LABELS, 0.5, 2))
    assert set(class_subset(LABELS, 0.2, 1).tolist()) < set(class_subset(LABELS, 0.5, 1).tolist())


def test_masks_are_drawn_whole():
    assert len(class_subset(torch.zeros(10, 4, 4, dtype=torch.uint8), 0.3, 0)) == 3


def test_a_part_is_a_split_of_its_own(digits):
    rows = torch.tensor([5, 2, 9, 40])
    part = PartialSplit(digits[0], rows)
    assert (len(part), part.task) == (4, digits[0].task)
    images, labels = zip(*part.batches(2), strict=True)
    assert torch.equal(torch.cat(images), digits[0].images[rows])
    assert torch.equal(torch.cat(labels), part.labels)
    ((shuffled, _),) = part.batches(4, torch.tensor([3, 0, 1, 2]))
    assert torch.equal(shuffled, digits[0].images[rows[[3, 0, 1, 2]]])
    assert part_of(digits[0], 1.0) is digits[0]


def test_training_on_a_part_is_training_on_those_images_alone(digits, tiny, tmp_path):
    recipe = Recipe.parse({"kind": "sgd", "batch_size": 32, "learning_rate": 0.1, "fraction": 0.5})
    rows = class_subset(digits[0].labels, 0.5, seed=7)
    alone = TensorSplit(digits[0].images[rows], digits[0].labels[rows])
    first, second, resumed, teacher = tiny(), tiny(), tiny(), tiny()
    before = state_hash(teacher)
    result = train(first, *digits[:2], recipe=recipe, epochs=3, seed=7, teacher=teacher)
    train(second, alone, digits[1], recipe=SGD(batch_size=32, learning_rate=0.1), epochs=3, seed=7, teacher=teacher)
    assert state_hash(first) == state_hash(second)
    assert result.length.images == len(rows)
    assert state_hash(teacher) == before
    options = {"recipe": recipe, "epochs": 3, "seed": 7, "teacher": teacher, "resume_folder": tmp_path}
    train_killed(tiny(), *digits[:2], **options)
    train(resumed, *digits[:2], **options)
    assert state_hash(resumed) == state_hash(first)


@pytest.mark.parametrize("fraction", [0, -0.5, 1.5])
def test_a_share_out_of_its_range_is_refused(fraction):
    with pytest.raises(ValueError, match="fraction"):
        Recipe.parse({"kind": "sgd", "fraction": fraction})
