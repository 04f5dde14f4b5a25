"""Adapters that learn from their own answers: merging, the teacher's average, the draws and the loss of the student."""

import copy

import pytest
import torch
from torch import nn

from eyas.adaptation.adapters import Adapter
from eyas.adaptation.adapters.conv_lora import ConvLora
from eyas.adaptation.adapters.ema_teacher import EmaTeacher, cut_mix
from eyas.adaptation.source_images import SourceImages
from tests.adaptation.adapters.conftest import draw


def follow(adaptation, images, batches=3):
    for batch in images.chunk(batches):
        adaptation.observe(batch)
    return adaptation


def test_deltas_change_nothing_at_first(model):
    adaptation = ConvLora().prepare(model)
    for name, value in adaptation.weights(adaptation.student).items():
        assert torch.equal(value, model.get_parameter(name)), name


def test_deltas_are_merged_at_the_end_and_of_low_rank(model, field):
    adaptation = follow(ConvLora(confidence=0, rate=1e-2).prepare(model), field[0])
    teacher, plain = adaptation.teacher, adaptation.finalise()
    for name in ("conv1", "conv2", "conv3"):
        delta = (plain.get_parameter(f"{name}.weight") - model.get_parameter(f"{name}.weight")).detach().flatten(1)
        factors = teacher[f"{name}.up"] @ teacher[f"{name}.down"].flatten(1) / 2
        torch.testing.assert_close(delta, factors, atol=1e-6, rtol=1e-4)
        assert 1 <= torch.linalg.matrix_rank(delta, rtol=1e-3) <= 2
    assert torch.equal(plain.linear.weight, model.linear.weight)
    assert torch.equal(adaptation.bases["conv1"], model.conv1.weight)  # kept, not added to and taken from


def test_deltas_are_few(model):
    learnt = ConvLora().prepare(model).student
    assert sum(tensor.numel() for name, tensor in learnt.items() if name.startswith("conv2")) == 2 * (8 * 9 + 8)


def test_grouped_convolutions_keep_their_weights(field):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 6, 3, groups=3), nn.BatchNorm2d(6), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    adaptation = follow(ConvLora(confidence=0).prepare(model), field[0])
    assert [*adaptation.student] == ["1.weight", "1.bias"]
    assert torch.equal(adaptation.finalise()[0].weight, model[0].weight)


def test_without_a_rate_deltas_are_ada_bn(model, field):
    adaptation = follow(ConvLora().model_copy(update={"rate": 0.0}).prepare(model), field[0])
    expected = follow(Adapter.parse("ada_bn").prepare(model), field[0]).finalise().state_dict()
    torch.testing.assert_close(adaptation.finalise().state_dict(), expected)


@pytest.mark.parametrize("kind", ["conv_lora", "ema_teacher"])
def test_the_teacher_is_the_average_of_its_students(kind, model, source, field):
    adapter = Adapter.parse({"kind": kind, "confidence": 0, "rate": 1e-3})
    adaptation = adapter.prepare(model, source=source if adapter.needs_source else None)
    name, students = next(name for name in adaptation.student if "norm1" in name), []
    for batch in field[0].chunk(4):
        adaptation.observe(batch)
        students.append(adaptation.student[name].detach().clone())
    torch.testing.assert_close(adaptation.teacher[name], torch.stack(students).mean(0))  # a is 0, 1/2, 2/3, 3/4
    assert torch.equal(adaptation.finalise().get_parameter(name).detach(), adaptation.teacher[name])


@pytest.mark.parametrize("kind", ["conv_lora", "ema_teacher"])
def test_the_teacher_never_stops_following(kind, model, source, field):
    """After 10,000 batches it keeps 0.999 of itself, not 0.9999."""
    adapter = Adapter.parse({"kind": kind, "confidence": 0, "rate": 1e-2})
    adaptation = adapter.prepare(model, source=source)
    adaptation.memory["batches"].fill_(10_000)
    before = {name: tensor.double() for name, tensor in adaptation.teacher.items()}
    adaptation.observe(field[0][:64])
    moved = [(adaptation.teacher[name] - tensor).sum() for name, tensor in before.items()]
    apart = [(adaptation.student[name].detach() - tensor).sum() for name, tensor in before.items()]
    assert float(sum(moved)) == pytest.approx(0.001 * float(sum(apart)), rel=0.02)


def test_mixed_images_count_by_their_shares_and_by_how_sure_the_teacher_is(model, source, field):
    """All of it again from the formula, with labels of the field that are not those of the source."""
    adaptation, images = EmaTeacher().prepare(model, source=source), field[0][:32]
    labels = torch.full((32,), 7)
    generator = torch.Generator().manual_seed(4)
    drawn, drawn_labels = adaptation.source.draw(32, 0.01, generator)
    mixed, share = cut_mix(images, drawn, generator)
    assert 0.55 < share < 0.95  # swapped shares would differ
    logs = [adaptation.answer(batch).log_softmax(1).detach() for batch in (drawn, mixed)]
    rows = torch.arange(32)
    by_source = -logs[0][rows, drawn_labels].mean()
    of_field, of_source = -logs[1][rows, labels].mean(), -logs[1][rows, drawn_labels].mean()
    for sure in (0.25, 1.0):
        expected = by_source + sure * ((1 - share) * of_field + share * of_source)
        loss = adaptation.loss(images, labels, sure, torch.Generator().manual_seed(4))
        assert float(loss.detach()) == pytest.approx(float(expected), rel=1e-5)


def test_without_sure_answers_the_student_learns_the_source_alone(model, source, field):
    adaptation = EmaTeacher().prepare(model, source=source)
    drawn, labels = adaptation.source.draw(64, 0.01, torch.Generator().manual_seed(4))
    expected = nn.functional.cross_entropy(adaptation.answer(drawn), labels)
    wrong = torch.zeros(64, dtype=torch.int64)
    loss = adaptation.loss(field[0][:64], wrong, 0.0, torch.Generator().manual_seed(4))
    assert float(loss.detach()) == float(expected.detach())
    surer = adaptation.loss(field[0][:64], wrong, 1.0, torch.Generator().manual_seed(4))
    assert surer > loss


def test_the_student_normalises_by_its_batch(model, source):
    adaptation = EmaTeacher().prepare(model, source=source)
    trained = copy.deepcopy(model).train()
    trained.head.eval()  # dropout
    torch.testing.assert_close(adaptation.answer(source).detach(), trained(source).detach())
    assert not any(module.training for module in adaptation.model.modules())


def test_classes_are_drawn_by_the_formula():
    labels = torch.tensor([0] * 60 + [1] * 30 + [4] * 10)
    source = SourceImages(torch.arange(100.0)[:, None, None, None], labels)
    classes, shares = source.class_shares(0.5)
    weights = torch.tensor([0.4, 0.7, 0.9]).div(0.5).exp()
    assert classes.tolist() == [0, 1, 4]
    torch.testing.assert_close(shares, weights / weights.sum())
    images, drawn = source.draw(6000, 0.5, torch.Generator().manual_seed(0))
    assert torch.equal(labels[images.flatten().long()], drawn)
    seen = torch.tensor([(drawn == label).float().mean() for label in classes])
    torch.testing.assert_close(seen, shares, atol=0.02, rtol=0)
    assert (images[drawn == 4].unique().numel(), images[drawn == 1].unique().numel()) == (10, 30)


def test_one_rectangle_is_pasted_and_measured():
    images, source = torch.zeros(4, 3, 8, 8), torch.ones(4, 3, 8, 8)
    shares = []
    for seed in range(50):
        mixed, share = cut_mix(images, source, torch.Generator().manual_seed(seed))
        assert float(mixed.mean()) == pytest.approx(share)
        assert torch.equal(mixed[0], mixed[3])
        shares.append(share)
    assert not images.any()
    assert 0.35 < sum(shares) / 50 < 0.65


def test_a_darker_field_is_followed(trained, model, source, field):
    images, labels = field
    before = (model(images).argmax(1) == labels).float().mean()
    for kind in ("conv_lora", "ema_teacher", "dann"):
        adapter = Adapter.parse(kind)
        adaptation = adapter.prepare(model, source=source if adapter.needs_source else None)
        follow(adaptation, images)
        assert (adaptation.finalise()(images).argmax(1) == labels).float().mean() > before + 0.2


def test_source_answers_are_the_networks_own(trained, model, source):
    answered = SourceImages.answered(model, source, batch_size=50)
    assert torch.equal(answered.labels, model(source).argmax(1))
    assert (answered.labels == draw(trained[1], 128, seed=1000)[1]).float().mean() > 0.9
