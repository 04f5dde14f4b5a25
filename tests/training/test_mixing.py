"""Mixed images against loops over single ones, their labels' weights against counted pixels, and both in the loop."""

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from eyas.training import train
from eyas.training.mixing import cutmix, mixup
from eyas.training.optimiser_step import Networks
from eyas.training.recipes import Recipe
from eyas.training.recipes.sgd import SGD, Distillation
from tests.training.helpers import state_hash, train_killed


def seeded(number=0):
    return torch.Generator().manual_seed(number)


@pytest.mark.parametrize("seed", range(5))
def test_mixup_blends_each_image_with_the_one_whose_label_it_takes(seed):
    images, labels = torch.randn(6, 2, 4, 4), torch.arange(6)
    mixed, ((own, share), (others, rest)) = mixup(images, labels, 1.0, seeded(seed))
    assert share + rest == pytest.approx(1)
    assert torch.equal(own, labels)
    for image, before, other in zip(mixed, images, others.tolist(), strict=True):
        torch.testing.assert_close(image, share * before + rest * images[other])


@pytest.mark.parametrize("seed", range(8))
def test_cutmix_takes_a_box_and_weighs_labels_by_its_pixels(seed):
    images = torch.arange(6.0).view(6, 1, 1, 1).expand(6, 1, 7, 5)
    mixed, ((own, share), (others, rest)) = cutmix(images, torch.arange(6), 1.0, seeded(seed))
    for image, before, other in zip(mixed[:, 0], own.tolist(), others.tolist(), strict=True):
        taken = image == other
        assert ((image == before) | taken).all()
        if other != before:
            assert float(taken.float().mean()) == pytest.approx(rest)
            rows, columns = taken.any(1), taken.any(0)
            assert torch.equal(taken, rows[:, None] & columns)  # a box
    assert share + rest == pytest.approx(1)


def test_cutmix_moves_masks_with_their_images():
    masks = torch.randint(5, (6, 7, 5), dtype=torch.uint8)
    images = masks[:, None].float()
    mixed, ((moved, weight),) = cutmix(images, masks, 1.0, seeded(3))
    assert weight == 1
    assert torch.equal(mixed[:, 0], moved.float())
    assert not torch.equal(moved, masks)


@pytest.mark.parametrize(("alpha", "variance"), [(0.2, 1 / (4 * 1.4)), (1.0, 1 / 12), (8.0, 1 / (4 * 17))])
def test_shares_have_the_spread_of_the_beta_distribution(alpha, variance):
    generator, images, labels = seeded(), torch.zeros(2, 1, 1, 1), torch.zeros(2)
    shares = torch.tensor([mixup(images, labels, alpha, generator)[1][0][1] for _ in range(2000)])
    assert float(shares.mean()) == pytest.approx(0.5, abs=0.03)
    assert float(shares.var()) == pytest.approx(variance, rel=0.1)


def test_the_loss_is_that_of_both_labels_and_the_teacher_is_asked_about_the_blends():
    recipe = SGD(mixup=0.5, distillation=Distillation(alpha=0.4), label_smoothing=0.1)
    student, teacher = (nn.Sequential(nn.Flatten(), nn.Linear(9, 4)) for _ in range(2))
    images, labels = torch.randn(5, 1, 3, 3), torch.tensor([0, 1, 2, 3, 0])
    mixed, answers = recipe.mix(images, labels, seeded(1))
    assert len(answers) == 2
    logits = student(mixed)
    hard = sum(share * cross_entropy(logits, them, label_smoothing=0.1) for them, share in answers)
    expected = 0.6 * hard + 0.4 * Distillation()(logits, teacher(mixed))
    torch.testing.assert_close(recipe.objective(Networks(student, teacher))(mixed, answers), expected)


def test_a_coin_decides_between_the_two():
    recipe, generator = SGD(mixup=1.0, cutmix=1.0), seeded()
    images = torch.arange(4.0).view(4, 1, 1, 1).expand(4, 1, 8, 8)
    boxes = 0
    for _ in range(200):
        mixed, _ = recipe.mix(images, torch.arange(4), generator)
        boxes += bool((mixed == mixed.round()).all())
    assert 70 < boxes < 130


def test_it_is_off_by_default_and_draws_nothing():
    generator = seeded()
    images = torch.randn(3, 1, 2, 2)
    same, answers = SGD().mix(images, torch.arange(3), generator)
    assert same is images
    assert [weight for _, weight in answers] == [1.0]
    assert torch.equal(generator.get_state(), seeded().get_state())


def test_training_learns_repeats_and_resumes(digits, tiny, tmp_path):
    recipe = Recipe.parse({"kind": "sgd", "batch_size": 32, "learning_rate": 0.1, "mixup": 0.4, "cutmix": 1.0})
    unbroken, resumed, teacher = tiny(), tiny(), tiny()
    history = train(unbroken, *digits[:2], recipe=recipe, epochs=3, teacher=teacher).history
    assert history[-1].train_loss < history[0].train_loss

    train_killed(tiny(), *digits[:2], recipe=recipe, epochs=3, teacher=teacher, resume_folder=tmp_path)
    result = train(resumed, *digits[:2], recipe=recipe, epochs=3, teacher=teacher, resume_folder=tmp_path)
    assert result.resumed_from == 2
    assert state_hash(resumed) == state_hash(unbroken)
