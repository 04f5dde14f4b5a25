"""UnMix-TNS against instance normalisation, its closed forms and a stream that shows one class after the other."""

import contextlib

import pytest
import torch
from torch import nn
from torch.nn import functional

from eyas.adaptation.adapters import Adapter
from eyas.adaptation.adapters.unmix_tns import UnmixTns, initial_components
from eyas.errors import DataError, ParameterError
from tests.adaptation.adapters.conftest import draw


def layer_alone(channels=3):
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(channels)
    with torch.no_grad():
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
        norm.weight.uniform_(0.5, 2)
        norm.bias.normal_()
    return nn.Sequential(norm).eval()


def test_one_component_is_instance_normalisation(field):
    model = layer_alone()
    answers = UnmixTns(components=1).prepare(model).observe(field[0])
    expected = functional.instance_norm(field[0], weight=model[0].weight, bias=model[0].bias, eps=model[0].eps)
    torch.testing.assert_close(answers, expected, atol=1e-4, rtol=1e-4)


def test_equal_components_mix_an_image_in_by_their_number(model):
    adaptation = UnmixTns(components=4).prepare(model)
    means = adaptation.memory["norm1.means"]
    means.copy_(model.norm1.running_mean.expand_as(means))
    image_mean, image_variance = torch.randn(5, 8), torch.rand(5, 8)
    mean, _ = adaptation.mixture("norm1", image_mean, image_variance)
    torch.testing.assert_close(mean, 0.75 * model.norm1.running_mean + image_mean / 4)


def test_the_mixture_begins_with_the_statistics_of_the_layer():
    mean, variance = torch.tensor([3.0]), torch.tensor([4.0])
    for count in (1, 2, 16):
        means, variances = initial_components(mean, variance, count)
        assert float(means.mean()) == pytest.approx(3)
        assert float(variances.mean() + means.var(correction=0)) == pytest.approx(4)


def test_a_layer_is_normalised_by_the_formula(field):
    model, images = layer_alone(), field[0][:3]
    adaptation = UnmixTns(components=2, between=True).prepare(model)
    means, variances = (adaptation.memory[f"0.{part}"].clone() for part in ("means", "variances"))
    answers, eta = adaptation.observe(images), 1 - 0.9 ** (3 / 64)
    shares = []
    for image, answer in zip(images, answers, strict=True):
        own_mean, own_variance = image.mean((1, 2)), image.var((1, 2), correction=0)
        share = torch.stack([functional.cosine_similarity(own_mean, component, dim=0) for component in means])
        share = (share / 0.07).softmax(0)[:, None]
        shares.append(share)
        mean = (1 - share) * means + share * own_mean
        variance = (1 - share) * variances + share * own_variance + share * (1 - share) * (own_mean - means) ** 2
        mixed = variance.mean(0) + (mean**2).mean(0) - mean.mean(0) ** 2
        whole = (image - mean.mean(0)[:, None, None]) / (mixed + model[0].eps).sqrt()[:, None, None]
        expected = whole * model[0].weight[:, None, None] + model[0].bias[:, None, None]
        torch.testing.assert_close(answer, expected, atol=1e-4, rtol=1e-4)
    moved = torch.stack([s * (i.mean((1, 2)) - means) for s, i in zip(shares, images, strict=True)]).mean(0)
    torch.testing.assert_close(adaptation.memory["0.means"], means + eta * moved)


def test_the_order_inside_a_batch_changes_nothing_but_the_order_of_answers(model, field):
    images, order = field[0][:32], torch.randperm(32)
    one, other = UnmixTns().prepare(model), UnmixTns().prepare(model)
    torch.testing.assert_close(one.observe(images)[order], other.observe(images[order]))
    for name, tensor in one.state().items():
        torch.testing.assert_close(tensor, other.state()[name])


def test_another_seed_draws_other_components(model):
    drawn = [UnmixTns().prepare(model, seed=seed).memory["norm1.means"] for seed in (0, 0, 1)]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_a_stream_of_one_class_after_the_other_is_answered_better_than_by_its_own_statistics(trained, model):
    images, labels = draw(trained[1], 320, seed=5)
    images, labels = images[labels.argsort()], labels.sort().values
    wrong = {}
    for kind in ("ada_bn", "unmix_tns"):
        adaptations = [Adapter.parse(kind).prepare(model)] if kind == "unmix_tns" else None
        answers = []
        for batch in images.split(32):
            adaptation = adaptations[0] if adaptations else Adapter.parse(kind).prepare(model)  # ada_bn by batch
            answers.append(adaptation.observe(batch).argmax(1))
        wrong[kind] = int((torch.cat(answers) != labels).sum())
    assert wrong["unmix_tns"] < wrong["ada_bn"] / 2


def test_layers_of_single_values_keep_their_statistics(field):
    pooled = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.BatchNorm1d(3)).eval()
    with pytest.raises(ParameterError, match="`model` has batch-norm of single values alone"):
        UnmixTns().prepare(pooled)
    model = nn.Sequential(nn.BatchNorm2d(3), *pooled).eval()
    adaptation = UnmixTns().prepare(model)
    adaptation.observe(field[0])
    assert torch.equal(adaptation.model[3].running_mean, model[3].running_mean)


@pytest.mark.parametrize("between", [False, True])
def test_what_no_layer_can_work_with_is_refused_and_leaves_the_components(model, field, between):
    adaptation = UnmixTns(between=between).prepare(model)
    adaptation.observe(field[0][:64])
    state = adaptation.snapshot()
    with pytest.raises(DataError, match="`images` hold values that no layer can work with"):
        adaptation.observe(field[0][:64] * 1e20)
    assert all(torch.equal(tensor, state[name]) for name, tensor in adaptation.snapshot().items())
    for scale in (1e17, 1e12, 1.0):
        with contextlib.suppress(DataError):
            adaptation.observe(field[0][64:128] * scale)
    assert adaptation.observe(field[0][128:]).isfinite().all()
    assert all(tensor.isfinite().all() for tensor in adaptation.snapshot().values())
