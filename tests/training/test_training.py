"""The loop: it learns, repeats, and says what is wrong."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from eyas.errors import DataError, ParameterError
from eyas.training import Evaluation, TensorSplit, evaluate, train
from eyas.training.recipes.sgd import SGD, Distillation
from tests.training.helpers import RECIPE, state_hash


def test_it_learns(digits, tiny):
    train_split, score, test = digits
    model = tiny()
    before = evaluate(model, test)
    result = train(model, train_split, score, recipe=RECIPE, epochs=8)
    after = evaluate(model, test)
    assert before.accuracy < 0.25
    assert after.accuracy > 0.6
    assert after.cross_entropy < before.cross_entropy / 1.5
    assert [record.epoch for record in result.history] == list(range(1, 9))
    assert result.history[-1].train_loss < result.history[0].train_loss
    assert not model.training


def test_the_best_epoch_is_kept(digits, tiny):
    train_split, score, _ = digits
    model = tiny()
    result = train(model, train_split, score, recipe=RECIPE, epochs=6)
    best = max(result.history, key=lambda record: (record.score_accuracy, -record.score_cross_entropy))
    assert result.best_epoch == best.epoch
    evaluation = evaluate(model, score)
    assert evaluation == result.best
    assert evaluation.accuracy == best.score_accuracy


def test_ties_go_to_the_lower_cross_entropy_then_to_the_earlier_epoch(digits, tiny, monkeypatch):
    train_split, score, _ = digits
    told = iter([Evaluation(0.5, 1.0, 9), Evaluation(0.7, 0.9, 9), Evaluation(0.7, 0.8, 9), Evaluation(0.7, 0.8, 9)])
    monkeypatch.setattr("eyas.training.loop.evaluate", lambda *args, **kwargs: next(told))
    model, hashes = tiny(), []
    result = train(
        model, train_split, score, recipe=RECIPE, epochs=4, progress=lambda *args: hashes.append(state_hash(model))
    )
    assert result.best_epoch == 3
    assert len(set(hashes)) == 4
    assert state_hash(model) == hashes[2]


def test_same_seed_same_bytes_and_global_generator_untouched(digits, tiny):
    train_split, score, _ = digits
    hashes = []
    for seed in (5, 5, 6):
        model = tiny()
        torch.manual_seed(len(hashes))
        state = torch.get_rng_state()
        train(model, train_split, score, recipe=RECIPE, epochs=2, seed=seed)
        assert torch.equal(torch.get_rng_state(), state)
        hashes.append(state_hash(model))
    assert hashes[0] == hashes[1] != hashes[2]


def test_teacher_is_used_and_left_alone(digits, tiny):
    train_split, score, _ = digits
    teacher = tiny()
    train(teacher, train_split, score, recipe=RECIPE, epochs=6)
    before = state_hash(teacher)
    recipe = SGD(batch_size=32, distillation=Distillation(alpha=1.0))
    unlabelled = TensorSplit(train_split.images, torch.zeros_like(train_split.labels))
    student = tiny()
    train(student, unlabelled, score, recipe=recipe, epochs=8, teacher=teacher)
    assert state_hash(teacher) == before
    assert evaluate(student, score).accuracy > 0.5  # learned from outputs alone: every label said 0


def test_no_epochs_only_evaluates(digits, tiny):
    train_split, score, _ = digits
    model = tiny()
    before = state_hash(model)
    result = train(model, train_split, score, recipe=RECIPE, epochs=0)
    assert (result.history, result.best_epoch) == ((), 0)
    assert result.best == evaluate(model, score)
    assert state_hash(model) == before


@pytest.mark.parametrize("span", [range(2), range(2, 4), range(3, 3)])
def test_epochs_that_the_training_does_not_have_are_refused(digits, tiny, span):
    with pytest.raises(ParameterError, match=r"cannot be trained: the training has epochs 1 to 2"):
        train(tiny(), *digits[:2], recipe=RECIPE, epochs=2, span=span)


def test_parts_of_a_training_have_its_rates_and_orders(digits, tiny):
    whole, model = tiny(), tiny()
    history = train(whole, *digits[:2], recipe=SGD(batch_size=32, momentum=0), epochs=2).history
    parts = [
        train(model, *digits[:2], recipe=SGD(batch_size=32, momentum=0), epochs=2, span=range(epoch, epoch + 1))
        for epoch in (1, 2)
    ]
    assert [part.history[0] for part in parts] == list(history)
    assert [part.best_epoch for part in parts] == [1, 2]


def test_evaluate_against_one_image_at_a_time(digits, tiny):
    _, score, _ = digits
    model = tiny().train()
    evaluation = evaluate(model, score, batch_size=48)
    assert model.training
    assert model.bn.training
    model.eval()
    correct, loss = 0, 0.0
    with torch.no_grad():
        for image, label in zip(score.images, score.labels, strict=True):
            logits = model(image[None])
            correct += int(logits.argmax() == label)
            loss += float(functional.cross_entropy(logits, label[None]))
    assert evaluation.accuracy == correct / 128
    assert evaluation.cross_entropy == pytest.approx(loss / 128, rel=1e-5)
    assert evaluation.images == 128


def test_splits_normalise_after_they_are_stored(tiny):
    images = torch.randint(0, 255, (20, 1, 8, 8), dtype=torch.uint8)
    labels = torch.arange(20) % 10
    stored = TensorSplit(images, labels, lambda x: x.float() / 255)
    ready = TensorSplit(images.float() / 255, labels)
    model = tiny()
    assert evaluate(model, stored) == evaluate(model, ready)
    first, second = tiny(), tiny()
    train(first, stored, stored, recipe=RECIPE, epochs=1)
    train(second, ready, ready, recipe=RECIPE, epochs=1)
    assert state_hash(first) == state_hash(second)


def test_a_label_without_an_output(digits, tiny):
    train_split, score, _ = digits
    with pytest.raises(DataError, match=r"0 to 9, but the network has 7 outputs .*`num_classes`"):
        train(tiny(7), train_split, score, recipe=RECIPE, epochs=1)
    with pytest.raises(DataError, match="7 outputs"):
        evaluate(tiny(7), score)


def test_a_loss_that_explodes_says_what_to_lower(digits, tiny):
    train_split, score, _ = digits
    with pytest.raises(ParameterError, match=r"no longer finite in epoch 1 .*`learning_rate`"):
        train(tiny(), train_split, score, recipe=SGD(batch_size=32, learning_rate=1e30), epochs=1)


def test_too_few_images(digits, tiny):
    train_split, score, _ = digits
    one = TensorSplit(train_split.images[:1], train_split.labels[:1])
    with pytest.raises(DataError, match="two at least"):
        train(tiny(), one, score, recipe=RECIPE, epochs=1)
    nothing = TensorSplit(train_split.images[:0], train_split.labels[:0])
    with pytest.raises(DataError, match="empty"):
        evaluate(tiny(), nothing)


def test_fewer_images_than_a_batch_still_train(digits, tiny):
    train_split, score, _ = digits
    few = TensorSplit(train_split.images[:20], train_split.labels[:20])
    model = tiny()
    before = state_hash(model)
    result = train(model, few, score, recipe=RECIPE, epochs=1)
    assert state_hash(model) != before
    assert result.history[0].train_loss > 0


def test_bfloat16_trains_too(digits, tiny):
    train_split, score, _ = digits
    recipe = SGD(batch_size=32, learning_rate=0.1, precision="bfloat16")
    model = tiny()
    result = train(model, train_split, score, recipe=recipe, epochs=8)
    assert result.best.accuracy > 0.5
    assert all(value.dtype in (torch.float32, torch.int64) for value in model.state_dict().values())


def test_progress_counts_to_the_end(digits, tiny):
    train_split, score, _ = digits
    seen = []
    train(tiny(), train_split, score, recipe=RECIPE, epochs=2, progress=lambda *args: seen.append(args))
    assert seen[-1][:2] == (16, 16)
    assert "epoch 2/2" in seen[-1][2]
    assert [done for done, _, _ in seen] == sorted(done for done, _, _ in seen)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_cuda(digits, tiny):
    train_split, score, test = digits
    model = tiny()
    result = train(model, train_split, score, recipe=RECIPE, epochs=8, teacher=tiny(), device="cuda")
    assert result.best.accuracy > 0.5
    assert next(model.parameters()).is_cuda
    on_device = evaluate(model, test, device="cuda")
    assert evaluate(model.cpu(), test).accuracy == pytest.approx(on_device.accuracy, abs=0.02)


def test_any_module_is_taken():
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
    split = TensorSplit(torch.randn(12, 1, 2, 2), torch.arange(12) % 3)
    result = train(model, split, split, recipe=RECIPE, epochs=1)
    assert len(result.history) == 1
