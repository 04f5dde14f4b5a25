"""EcoTTA: what learns, what it is held to, and what it keeps in memory."""

import copy
import weakref

import pytest
import torch
from torch import nn
from torch.nn import functional

import models
from eyas.adaptation.adapters.eco_tta import EcoTta, SideNetwork, sure_answers, sure_entropy
from eyas.adaptation.adapters.tent import Tent
from eyas.errors import ParameterError
from tests.adaptation.adapters.conftest import draw
from tests.adaptation.adapters.test_network_parts import TwoPaths


def follow(adaptation, images, batches=3):
    for batch in images.chunk(batches):
        adaptation.observe(batch)
    return adaptation


def learnt(adaptation):
    return {name: value.detach().clone() for name, value in adaptation.memory.items() if name.startswith("side.")}


def test_side_networks_learn_and_the_frozen_network_does_not(model, source, field):
    adaptation = EcoTta().prepare(model, source=source)
    before = learnt(adaptation)
    follow(adaptation, field[0])
    assert all(parameter.grad is None for parameter in adaptation.model.parameters())
    assert all(map(torch.equal, adaptation.model.parameters(), model.parameters()))
    assert not any(torch.equal(value, before[name]) for name, value in learnt(adaptation).items())


def test_with_its_own_statistics_nothing_of_the_network_changes(model, source, field):
    adaptation = follow(EcoTta(source_weight=1).prepare(model, source=source), field[0])
    for name, value in adaptation.model.state_dict().items():
        torch.testing.assert_close(value, model.state_dict()[name], msg=name)


def test_it_starts_beside_the_network_and_answers_as_it_does(model, source):
    """Without a warm-up side networks give on nearly what the parts make; behind it they answer alike."""
    answers = model(source).argmax(1)
    for warm_up in (0, 10):
        adaptation = EcoTta(warm_up=warm_up, source_weight=1).prepare(model, source=source)
        assert (adaptation.observe(source).argmax(1) == answers).float().mean() > 0.9


def test_what_is_given_on_is_that_of_the_formula():
    torch.manual_seed(0)
    side, inputs, frozen = SideNetwork(3, 6), torch.randn(4, 3, 8, 8), torch.randn(4, 6, 4, 4)
    for parameter in side.parameters():
        nn.init.normal_(parameter)
    depthwise = functional.conv2d(functional.avg_pool2d(inputs, 2), side.depthwise.weight, padding=1, groups=3)
    beside = torch.einsum("oi,nihw->nohw", side.pointwise.weight[:, :, 0, 0], depthwise)

    def normalised(x, norm):
        variance, mean = torch.var_mean(x, (0, 2, 3), correction=0, keepdim=True)
        return (x - mean) / (variance + norm.eps).sqrt() * norm.weight[:, None, None] + norm.bias[:, None, None]

    expected = normalised(frozen, side.meta) + normalised(beside, side.norm).relu()
    torch.testing.assert_close(side(inputs, frozen), expected)


@torch.no_grad()
def test_the_penalty_is_none_where_nothing_stands_beside(model, source):
    adaptation = EcoTta(warm_up=0).prepare(model, source=source)
    side, frozen = adaptation.sides[0], 3 * torch.randn(16, 8, 8, 8) + 1
    side.pointwise.weight.zero_()
    variance, mean = torch.var_mean(frozen, (0, 2, 3), correction=0)
    side.meta.weight.copy_((variance + side.meta.eps).sqrt())
    side.meta.bias.copy_(mean)
    assert float(adaptation.penalty(side(source[:16], frozen), frozen)) == pytest.approx(0, abs=1e-5)
    side.meta.bias += 1
    assert float(adaptation.penalty(side(source[:16], frozen), frozen)) == pytest.approx(0.5, abs=1e-5)


class InPlace(nn.Module):
    """What stands behind a cut is changed in place."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, images):
        network = self.network
        shallow = network.norm1(network.conv1(images)).relu_()
        middle = network.norm2(network.conv2(shallow)).add_(shallow).relu_()
        return network.linear(network.head(network.norm3(network.conv3(middle)).relu_()))


@pytest.mark.parametrize("wrap", [lambda network: network, InPlace])
def test_gradients_part_by_part_are_those_of_the_whole(wrap, model, source, field):
    adaptation = EcoTta(warm_up=1).prepare(wrap(model), source=source)
    images = field[0][:64]
    with adaptation.beside(images) as passes:
        logits = adaptation.model(images)
    loss = functional.cross_entropy(logits, field[1][:64])
    expected = torch.autograd.grad(loss, [*adaptation.sides.parameters()])
    adaptation.sides.zero_grad()
    adaptation.descend(images, passes, logits, lambda logits: functional.cross_entropy(logits, field[1][:64]))
    assert len(passes) == 2 == len(adaptation.sides)
    for parameter, gradient in zip(adaptation.sides.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)


def test_a_step_is_that_of_sgd_down_both_terms(model, source, field):
    adaptation = EcoTta(strength=0.3, rate=1e-2, margin=0.9, source_weight=1).prepare(model, source=source)
    twin, images = copy.deepcopy(adaptation), field[0][:64]
    optimiser = torch.optim.SGD(twin.sides.parameters(), 1e-2, momentum=0.9)
    for _ in range(2):
        adaptation.observe(images)
        with twin.beside(images) as passes:
            logits = twin.model(images)
        entropy = torch.distributions.Categorical(logits=logits).entropy()
        loss = entropy[entropy < 0.9 * torch.tensor(10.0).log()].mean()
        for side, part in zip(twin.sides, passes, strict=True):
            held = side(part.inputs.detach(), part.frozen.detach()) - part.frozen.detach()
            loss = loss + 0.3 * held.abs().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    for ours, theirs in zip(adaptation.sides.parameters(), twin.sides.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-3)


def test_without_a_sure_answer_nothing_but_the_penalty_teaches(model, source, field):
    assert sure_answers(torch.zeros(3, 10), 0.99).tolist() == [False] * 3
    mixed = torch.tensor([[9.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    assert sure_answers(mixed, 0.4).tolist() == [True, False]
    alone = torch.distributions.Categorical(logits=mixed[:1]).entropy()
    assert float(sure_entropy(mixed, 0.4)) == pytest.approx(float(alone), rel=1e-3)
    adaptation = EcoTta(strength=0).model_copy(update={"margin": 0.0}).prepare(model, source=source)
    before = learnt(adaptation)
    follow(adaptation, field[0])
    assert all(torch.equal(value, before[name]) for name, value in learnt(adaptation).items())


def most_saved(adaptation, images):
    """The most bytes that autograd keeps at once for its backward passes, parameters aside; each storage once."""
    parameters = {p.untyped_storage().data_ptr() for p in adaptation.state().values()}
    kept, most = {}, [0]

    class Saved:
        def __init__(self, tensor):
            self.tensor = tensor

    def free(place):
        kept[place][0] -= 1
        if not kept[place][0]:
            del kept[place]

    def pack(tensor):
        saved, place = Saved(tensor.detach()), tensor.untyped_storage().data_ptr()
        if place not in parameters:
            kept.setdefault(place, [0, tensor.untyped_storage().nbytes()])[0] += 1
            weakref.finalize(saved, free, place)
            most[0] = max(most[0], sum(size for _, size in kept.values()))
        return saved

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda saved: saved.tensor):
        adaptation.observe(images)
    return most[0]


def test_it_keeps_little_more_than_half_of_the_activations_that_tent_keeps():
    torch.manual_seed(0)
    network, images = models.build("resnet20", 10).eval(), torch.randn(8, 3, 32, 32)
    ours = EcoTta(warm_up=0, margin=1).prepare(network, source=images)
    assert 0 < most_saved(ours, images) < 0.6 * most_saved(Tent().prepare(network), images)


def test_side_networks_are_small():
    network = models.build("resnet20", 10)
    adaptation = EcoTta(warm_up=0).prepare(network, source=torch.randn(8, 3, 32, 32))
    share = sum(p.numel() for p in adaptation.sides.parameters()) / sum(p.numel() for p in network.parameters())
    assert len(adaptation.sides) == 4
    assert share < 0.05


def test_back_on_clean_images_it_answers_as_before(trained, model, source, field):
    images, labels = draw(trained[1], 512, seed=3000)
    before = (model(images).argmax(1) == labels).float().mean()
    adaptation = follow(EcoTta().prepare(model, source=source), field[0])
    follow(adaptation, images[:256], 4)
    answers = torch.cat([adaptation.observe(batch) for batch in images[256:].split(64)]).argmax(1)
    assert (answers == labels[256:]).float().mean() > before - 0.01


def test_a_network_of_two_paths_is_refused(source):
    with pytest.raises(ParameterError, match="`model` has no stage that all its paths pass: eco_tta"):
        EcoTta().prepare(TwoPaths().eval(), source=source)
