"""The key-value bottleneck: what labels change and what they do not, against autograd and a plain search."""

import pytest
import torch
from torch import nn
from torch.nn import functional

import eyas
from eyas.adaptation.adapters import Adapter
from eyas.adaptation.adapters.key_value_bottleneck import KeyValueBottleneck, fitted_keys, mean_by_key, nearest
from eyas.errors import DataError, ParameterError
from tests.adaptation.adapters.conftest import draw


@pytest.fixture
def adaptation(model, source):
    return KeyValueBottleneck(codebooks=4, keys=16, size=4).prepare(model, source=source)


def hits_of(adaptation, images):
    return adaptation._answer(images)[1]


def test_labels_change_no_answer_to_an_image_that_hits_other_keys(adaptation, trained):
    images, labels = draw(trained[1], 256, seed=5)
    hits = hits_of(adaptation, images)
    first = images[:8]
    apart = ~(hits[:, :8, None] == hits[:, None, 8:]).any(0).any(0)
    later = torch.arange(8, 256)[apart]
    assert len(later) > 8
    adaptation.observe(first, labels[:8])
    learnt = adaptation.observe(first)
    before = adaptation.observe(images[later])
    adaptation.observe(images[later], labels[later])
    assert torch.equal(adaptation.observe(first), learnt)
    assert not torch.equal(adaptation.observe(images[later]), before)


def test_one_step_is_down_the_gradient_and_at_the_keys_that_were_hit_alone(model, source, field):
    adaptation = KeyValueBottleneck(codebooks=3, keys=8, rate=0.2, steps=1).prepare(model, source=source)
    images, labels = field[0][:12], field[1][:12]
    values, hits = adaptation.memory["values"].clone().requires_grad_(), hits_of(adaptation, images)
    logits = torch.stack([values[codebook, hits[codebook]] for codebook in range(3)]).mean(0)
    (3 * functional.cross_entropy(logits, labels, reduction="sum")).backward()
    torch.testing.assert_close(adaptation.observe(images, labels), logits.detach())
    torch.testing.assert_close(adaptation.memory["values"], (values - 0.2 * values.grad).detach())
    for codebook in range(3):
        moved = (adaptation.memory["values"] != values)[codebook].any(1).nonzero().flatten()
        assert moved.tolist() == hits[codebook].unique().tolist()


def test_labels_are_learnt_and_nothing_but_values_moves(model, field):
    images, labels = field
    adaptation = KeyValueBottleneck(codebooks=8, keys=32, size=4).prepare(model, source=images)
    before = adaptation.snapshot()
    wrong = (adaptation.observe(images).argmax(1) != labels).sum()
    assert all(torch.equal(value, before[name]) for name, value in adaptation.snapshot().items())  # no labels yet
    for _ in range(5):
        for batch, of_batch in zip(images.split(64), labels.split(64), strict=True):
            adaptation.observe(batch, of_batch)
    assert (adaptation.observe(images).argmax(1) != labels).sum() < wrong / 2
    moved = {name for name, value in adaptation.state().items() if not torch.equal(value, before[name])}
    assert moved == {"memory.values"}


def test_it_begins_by_the_logits_of_the_network(model, source):
    adaptation = KeyValueBottleneck(codebooks=5, keys=4).prepare(model, source=source)
    logits, hits = model(source).detach(), hits_of(adaptation, source)
    for codebook in range(5):
        for key in range(4):
            mean = logits[hits[codebook] == key].mean(0).nan_to_num()
            torch.testing.assert_close(adaptation.memory["values"][codebook, key], mean)


def test_the_nearest_key_is_found():
    projected, keys = torch.randn(2, 7, 3), torch.randn(2, 5, 3)
    expected = [
        [min(range(5), key=lambda m: float(((x - keys[c, m]) ** 2).sum())) for x in projected[c]] for c in range(2)
    ]
    assert nearest(projected, keys).tolist() == expected
    assert mean_by_key(projected, torch.zeros(2, 7, dtype=torch.int64), 2)[:, 1].abs().sum() == 0


def test_keys_end_in_the_middle_of_what_they_stand_for():
    torch.manual_seed(0)
    centres = torch.tensor([[-10.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    images = centres[torch.arange(300) % 3] + 0.1 * torch.randn(4, 300, 2)
    keys = fitted_keys(images, 12)
    hits = nearest(images, keys)
    to_key = (images - keys.gather(1, hits[..., None].expand(-1, -1, 2))).norm(dim=2)
    assert float(to_key.mean()) < 0.2
    drawn = images[:, torch.randperm(300)[:12]]
    to_drawn = torch.cdist(images, drawn).min(2).values
    assert to_key.mean() < to_drawn.mean()


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        (torch.zeros(4), "`labels` are torch.float32 of the shape .4,.: give 4 integers from 0"),
        (torch.zeros(3, dtype=torch.int64), "`labels` are torch.int64 of the shape .3,.: give 4 integers"),
        (torch.full((4,), -1), "`labels` are torch.int64"),
        (torch.full((4,), 10), "`labels` name class 10: the network has 10, from 0"),
    ],
)
def test_labels_that_are_none_are_refused_and_change_nothing(labels, says, adaptation, field):
    before = adaptation.snapshot()
    with pytest.raises(DataError, match=says):
        adaptation.observe(field[0][:4], labels)
    assert all(torch.equal(value, before[name]) for name, value in adaptation.snapshot().items())


@pytest.mark.parametrize("kind", [kind for kind in sorted(Adapter.registry) if not Adapter.registry[kind].needs_labels])
def test_labels_are_refused_by_whoever_reads_none(kind, model, source, field):
    adapter = Adapter.parse(kind)
    adaptation = adapter.prepare(model, source=source if adapter.needs_source else None)
    with pytest.raises(ParameterError, match=f"`labels` are read by no {kind}: leave them out"):
        adaptation.observe(*field)


def test_an_adapter_of_labels_is_refused_where_there_are_none(model, field):
    class OwnOfLabels(Adapter):
        needs_labels = True

    with pytest.raises(ParameterError, match="`adapter` .*learns from labels: use observe with images and labels"):
        eyas.adapt(model, field[0], OwnOfLabels())


def test_a_network_without_a_linear_layer_is_refused(source):
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    with pytest.raises(ParameterError, match="`model` has no linear layer: this adapter goes by what"):
        KeyValueBottleneck().prepare(model, source=source)
