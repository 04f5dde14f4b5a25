"""Training and judging a class per pixel: each labelled pixel is an answer, ignored ones do not exist."""

from typing import Literal

import pytest
import torch
from torch import nn
from torch.nn import functional

from eyas.data.tasks import IGNORED, mean_iou
from eyas.errors import DataError, ParameterError
from eyas.training import TensorSplit, evaluate, train
from eyas.training.labelled_pixels import augmented, labelled_loss
from eyas.training.recipes import Recipe

K = 3


def pixels(images: int = 12, size: int = 8, seed: int = 0) -> TensorSplit:
    """Images whose channels tell the class of each pixel, some of which is ignored."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, K, (images, size // 2, size // 2), generator=generator)
    labels = labels.repeat_interleave(2, 1).repeat_interleave(2, 2)
    clear = functional.one_hot(labels, K).permute(0, 3, 1, 2).float()
    noisy = clear + 0.5 * torch.randn(images, K, size, size, generator=generator)
    labels[torch.rand(labels.shape, generator=generator) < 0.2] = IGNORED
    return TensorSplit(noisy, labels.short())


def network() -> nn.Module:
    torch.manual_seed(0)
    first = nn.Conv2d(K, 8, 3, padding=1)
    return nn.Sequential(first, nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, K, 1))


def test_the_loss_is_the_mean_over_labelled_pixels_with_and_without_a_teacher() -> None:
    torch.manual_seed(0)
    logits, teacher = torch.randn(2, 4, K, 5, 5)
    labels = pixels(4, 6).labels[:, :5, :5]
    alpha, temperature = 0.7, 3.0
    recipe = Recipe.parse({"kind": "sgd", "distillation": {"alpha": alpha, "temperature": temperature}})
    hard, soft = [], []
    for n, y, x in (labels != IGNORED).nonzero().tolist():
        student, known = logits[n, :, y, x], teacher[n, :, y, x]
        hard.append(-student.log_softmax(0)[int(labels[n, y, x])])
        target = (known / temperature).softmax(0)
        soft.append((target * (target.log() - (student / temperature).log_softmax(0))).sum() * temperature**2)
    hard_mean, soft_mean = torch.stack(hard).mean(), torch.stack(soft).mean()
    torch.testing.assert_close(labelled_loss(recipe, logits, labels, None), hard_mean)
    mixed = (1 - alpha) * hard_mean + alpha * soft_mean
    torch.testing.assert_close(labelled_loss(recipe, logits, labels, teacher), mixed)


def test_ignored_pixels_get_no_gradient_and_a_batch_of_nothing_else_is_no_step() -> None:
    logits, labels = torch.randn(2, K, 4, 4, requires_grad=True), torch.zeros(2, 4, 4, dtype=torch.int16)
    labels[0] = IGNORED
    labelled_loss(Recipe.parse("sgd"), logits, labels, None).backward()
    assert logits.grad is not None
    assert not logits.grad[0].any()
    assert logits.grad[1].any()
    nothing = labelled_loss(Recipe.parse("sgd"), logits, torch.full_like(labels, IGNORED), None)
    assert nothing.item() == 0.0
    assert nothing.requires_grad


@pytest.mark.parametrize("how", ["none", "shift", "shift_flip", "resized_crop_flip"])
def test_masks_are_moved_as_their_images(how: str) -> None:
    recipe = Recipe.parse({"kind": "sgd", "augmentation": how})
    labels = torch.randint(0, 5, (20, 3, 3)).repeat_interleave(8, 1).repeat_interleave(8, 2).short()
    images = labels[:, None].float().expand(-1, 3, -1, -1).contiguous()  # each pixel shows its class
    generator, alone = torch.Generator().manual_seed(3), torch.Generator().manual_seed(3)
    moved, masks = augmented(recipe, images, labels, generator)
    assert masks.dtype == labels.dtype
    assert torch.equal(moved, recipe.augment(images, alone))  # the images are what they are without masks
    assert torch.equal(generator.get_state(), alone.get_state())
    inside = (moved[:, 0] - moved[:, 0].round()).abs() < 1e-4  # between two classes crops are blended
    same = moved[:, 0].round() == masks
    assert float(same[inside].float().mean()) > 0.97
    assert set(masks.unique().tolist()) <= set(range(5))
    if how != "none":
        assert not torch.equal(masks, labels)


def test_a_recipe_that_moves_images_has_to_say_how_masks_follow() -> None:
    class Mirror(Recipe):
        kind: Literal["mirror for test"] = "mirror for test"

        def augment(self, images_NCHW, generator):
            return images_NCHW.flip(3)

    try:
        split = pixels()
        with pytest.raises(ParameterError, match="changes images and not their masks"):
            augmented(Mirror(), split.images, split.labels, torch.Generator())
    finally:
        del Recipe.registry["mirror for test"]


def test_evaluation_counts_labelled_pixels() -> None:
    split, model = pixels(), network().eval()
    evaluation = evaluate(model, split, batch_size=5)
    logits, here = model(split.images), split.labels != IGNORED
    answers = logits.argmax(1)
    assert evaluation.accuracy == pytest.approx(float((answers == split.labels)[here].float().mean()))
    rows = logits.movedim(1, -1)[here]
    loss = functional.cross_entropy(rows, split.labels[here].long())
    assert evaluation.cross_entropy == pytest.approx(loss.item(), abs=1e-5)
    assert evaluation.mean_iou == mean_iou(evaluation.overlap) == evaluation.value
    assert evaluation.overlap.shape == (2, len(split), K)


def test_a_network_learns_pixels_and_a_resumed_training_ends_alike(tmp_path) -> None:
    recipe = Recipe.parse({"kind": "sgd", "batch_size": 4, "learning_rate": 0.1, "augmentation": "shift_flip"})
    data, held_out = pixels(24), pixels(8, seed=1)
    whole = network()
    result = train(whole, data, held_out, recipe=recipe, epochs=6)
    assert result.best.mean_iou is not None
    assert result.best.mean_iou > 0.7
    assert result.history[result.best_epoch - 1].score_mean_iou == result.best.mean_iou
    assert result.best.mean_iou == max(record.score_mean_iou or 0.0 for record in result.history)
    halves = network()
    for epochs in (range(1, 4), range(1, 7)):
        again = train(halves, data, held_out, recipe=recipe, epochs=6, resume_folder=tmp_path, span=epochs)
    assert again.resumed_from == 3
    assert again.history == result.history
    assert torch.equal(again.best.overlap, result.best.overlap)
    assert all(
        torch.equal(a, b) for a, b in zip(whole.state_dict().values(), halves.state_dict().values(), strict=True)
    )


def test_labels_that_do_not_fit_the_answers() -> None:
    split = pixels()
    with pytest.raises(DataError, match=r"labels of shape \(12, 8, 8\) do not fit logits of shape"):
        evaluate(nn.Sequential(network(), nn.AdaptiveAvgPool2d(1), nn.Flatten()), split)
    with pytest.raises(DataError, match="labels go from 0 to 3"):
        evaluate(network(), TensorSplit(split.images, split.labels.clone().index_fill_(0, torch.tensor([2]), 3)))
