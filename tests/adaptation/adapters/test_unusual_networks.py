"""Networks and modes that members have stumbled over: every adapter works there, or refuses in one line."""

import copy
import logging

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

import eyas
from eyas.adaptation.adapters import Adapter
from eyas.errors import BadInputError, DataError, ParameterError
from tests.adaptation.adapters.conftest import Net
from tests.adaptation.adapters.test_contract import FOLDABLE, KINDS, prepare, same

BACKWARD = [kind for kind in KINDS if Adapter.registry[kind].needs_backward]


class Shared(Net):
    """One batch-norm under two names."""

    def __init__(self):
        super().__init__()
        self.norm2 = self.norm1


class CalledTwice(Net):
    """One convolution and its batch-norm in two places, under one name."""

    def forward(self, images):
        shallow = self.norm1(self.conv1(images)).relu()
        middle = self.norm2(self.conv2(self.norm2(self.conv2(shallow)).relu())).relu()
        return self.linear(self.head(self.norm3(self.conv3(middle)).relu()))


class Tied(Net):
    """Two convolutions with one weight, two batch-norms with one weight and bias, but statistics of their own."""

    def __init__(self):
        super().__init__()
        self.again, self.norm = nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.again.weight = self.conv2.weight
        self.norm.weight, self.norm.bias = self.norm2.weight, self.norm2.bias

    def forward(self, images):
        shallow = self.norm1(self.conv1(images)).relu()
        middle = self.norm(self.again(self.norm2(self.conv2(shallow)).relu())).relu()
        return self.linear(self.head(self.norm3(self.conv3(middle)).relu()))


class Computed(Net):
    """Weights that are computed: weight-norm, as torch parametrises it."""

    def __init__(self):
        super().__init__()
        for layer in (self.conv1, self.conv2):
            parametrizations.weight_norm(layer)


@pytest.mark.parametrize("network", [Shared, CalledTwice, Tied, Computed])
@pytest.mark.parametrize("kind", KINDS)
def test_shared_and_computed_weights(kind, network, source, field):
    torch.manual_seed(0)
    model = network().eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    if (kind, network) == ("hebbian", Shared):
        with pytest.raises(ParameterError, match="`model` does not begin with a convolution"):
            prepare(kind, model, source).observe(field[0][:64])
        return
    adaptation = prepare(kind, model, source)
    names, parameters = adaptation.state().keys(), {name for name, _ in adaptation.model.named_parameters()}
    for batch in field[0].split(64):
        assert adaptation.observe(batch).isfinite().all()
    assert adaptation.state().keys() == names
    assert {name for name, _ in adaptation.model.named_parameters()} == parameters
    adaptation.restore(adaptation.snapshot())
    if kind in FOLDABLE:
        plain = adaptation.finalise()
        assert {name for name, _ in plain.named_parameters()} == {name for name, _ in model.named_parameters()}
        assert plain(field[0]).isfinite().all()
    assert same(model.state_dict(), before)


@pytest.mark.parametrize("kind", ["conv_lora", "ema_teacher"])
@pytest.mark.parametrize("network", [Shared, CalledTwice, Tied])
def test_a_student_that_changed_nothing_answers_as_the_network_does(kind, network, source):
    """What several modules share is put into all of them."""
    torch.manual_seed(0)
    adaptation = prepare(kind, network().eval(), source)
    trained = copy.deepcopy(adaptation.model).train()
    trained.head.eval()  # dropout
    with torch.no_grad():
        for name, tensor in adaptation.student.items():
            if name.endswith((".weight", ".bias")):
                tensor.mul_(1.5)
                trained.get_parameter(name).mul_(1.5)
    torch.testing.assert_close(adaptation.answer(source).detach(), trained(source).detach())


def test_conv_lora_leaves_computed_weights(source, field):
    torch.manual_seed(0)
    model = Computed().eval()
    adaptation = Adapter.parse({"kind": "conv_lora", "confidence": 0, "rate": 1e-2}).prepare(model)
    for batch in field[0].split(64):
        adaptation.observe(batch)
    plain = adaptation.finalise()
    assert torch.equal(plain.conv1.weight, model.conv1.weight)
    assert not torch.equal(plain.conv3.weight, model.conv3.weight)


@pytest.mark.parametrize("kind", ["tent", "osuda"])
def test_shared_weights_take_one_step(kind, field):
    torch.manual_seed(0)
    adaptation = Adapter.parse(kind).prepare(Tied().eval())
    assert [name for name in adaptation.affine if name.startswith("norm.")] == []
    assert "norm2.weight" in adaptation.affine


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("kind", KINDS)
def test_weights_that_cannot_be_copied_are_told(kind, source):
    model = Net().eval()
    torch.nn.utils.weight_norm(model.conv1)
    with pytest.raises(ParameterError, match="`model` cannot be copied .* fix them by remove_weight_norm"):
        prepare(kind, model, source)


@pytest.mark.parametrize("kind", KINDS)
def test_a_network_of_no_size_yet_or_with_no_numbers_is_refused(kind, model, source):
    lazy = nn.Sequential(nn.LazyConv2d(8, 3), nn.LazyBatchNorm2d(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with pytest.raises(ParameterError, match="`model` has no size in 0.weight yet"):
        prepare(kind, lazy, source)
    with torch.no_grad():
        model.conv2.weight[0] = torch.nan
    with pytest.raises(DataError, match="`model` has values in conv2.weight that are not finite"):
        prepare(kind, model, source)


@pytest.mark.parametrize("kind", KINDS)
def test_under_inference_mode_it_does_what_it_does_outside(kind, model, source, field):
    expected, plain = prepare(kind, model, source), None
    answers = [expected.observe(batch) for batch in field[0].split(64)]
    with torch.inference_mode():
        loaded, images = copy.deepcopy(model), field[0].clone()
        adaptation = prepare(kind, loaded, source.clone())
        assert all(
            torch.equal(answer, adaptation.observe(batch))
            for answer, batch in zip(answers, images.split(64), strict=True)
        )
        adaptation.restore(adaptation.snapshot())
        plain = adaptation.finalise() if kind in FOLDABLE else None
    assert same(adaptation.snapshot(), expected.snapshot())
    assert adaptation.observe(field[0][:64]).isfinite().all()
    if plain is not None:
        nn.functional.cross_entropy(plain(field[0]), field[1]).backward()  # it can be trained on
        assert plain.linear.weight.grad is not None


@pytest.mark.parametrize("kind", KINDS)
def test_no_gradient_goes_into_what_the_caller_gave(kind, model, source, field):
    images, source = field[0].clone().requires_grad_(), source.clone().requires_grad_()
    adaptation = prepare(kind, model, source)
    answers = [adaptation.observe(batch) for batch in images.split(64)]
    expected = prepare(kind, model, source.detach())
    assert all(map(torch.equal, answers, [expected.observe(batch) for batch in field[0].split(64)]))
    assert images.grad is None
    assert source.grad is None
    assert not any(answer.requires_grad for answer in answers)


@pytest.mark.parametrize("precision", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("kind", KINDS)
def test_half_precision_works_or_is_refused_where_gradients_are_taken(kind, precision, model, source, field):
    coarse = copy.deepcopy(model).to(precision)
    if kind in BACKWARD:
        with pytest.raises(
            ParameterError, match=rf"`model` has {precision} in .*give it in 32 bits \(model.float\(\)\)"
        ):
            prepare(kind, coarse, source)
        assert prepare(kind, coarse.float(), source).observe(field[0][:64]).isfinite().all()  # what the message says
        return
    adaptation, fine = prepare(kind, coarse, source), prepare(kind, model, source)
    for batch, labels in zip(field[0].split(64), field[1].split(64), strict=True):
        labels = labels if Adapter.registry[kind].needs_labels else None
        answers = adaptation.observe(batch, labels)
        assert answers.dtype == precision
        assert (answers.argmax(1) == fine.observe(batch, labels).argmax(1)).float().mean() > 0.8
    adaptation.restore(adaptation.snapshot())


def test_half_precision_that_is_left_is_told(model, field):
    with torch.no_grad():
        model.conv1.weight *= 3e3
    with pytest.raises(DataError, match="`images` lead to values that torch.float16, .* give `model` in 32 bits"):
        eyas.adapt(copy.deepcopy(model).half(), field[0], "ada_bn")
    eyas.adapt(model, field[0], "ada_bn")


class Fails(nn.Module):
    """A network that raises in its forward pass once it is told to."""

    def __init__(self, network):
        super().__init__()
        self.network, self.error, self.after = network, None, 0

    def forward(self, images):
        answer = self.network(images)
        if self.error is not None:
            self.after -= 1
            if self.after < 0:
                raise self.error
        return answer


@pytest.mark.parametrize("error", [AttributeError("no such\nthing"), RuntimeError("broken"), KeyboardInterrupt()])
@pytest.mark.parametrize("kind", KINDS)
def test_whatever_is_raised_the_adaptation_stands_where_it_stood(kind, error, model, source, field):
    adaptation, never = prepare(kind, Fails(model), source), prepare(kind, Fails(model), source)
    adaptation.observe(field[0][:64]), never.observe(field[0][:64])
    before, modes = adaptation.snapshot(), [module.training for module in adaptation.model.modules()]
    raised = []
    for after in range(3):
        adaptation.model.error, adaptation.model.after = error, after
        try:
            adaptation.observe(field[0][64:128])
        except (BadInputError, KeyboardInterrupt) as told:
            raised.append(told)
        else:
            adaptation.restore(before)  # there are fewer passes than that
        assert same(adaptation.snapshot(), before)
        assert [module.training for module in adaptation.model.modules()] == modes
    assert raised
    assert all(isinstance(told, BadInputError) == isinstance(error, Exception) for told in raised)
    assert not any("\n" in str(told) for told in raised)
    adaptation.model.error = None
    assert torch.equal(adaptation.observe(field[0][64:128]), never.observe(field[0][64:128]))


def test_labels_that_are_truth_values_are_refused(model, source, field):
    adaptation = prepare("key_value_bottleneck", model, source)
    for labels in (field[1] > 4, field[1].to(torch.complex64)):
        with pytest.raises(DataError, match=f"`labels` are {labels.dtype} of the shape"):
            adaptation.observe(field[0], labels)


@pytest.mark.parametrize("kind", KINDS)
def test_pixels_that_are_not_normalised_are_said(kind, model, source, field, caplog):
    adaptation, pixels = prepare(kind, model, source), (40 * field[0][:64] + 128).clamp(0, 255)
    with caplog.at_level(logging.WARNING):
        adaptation.observe(field[0][:64])
        prepare(kind, model, source).observe(field[0][:64].abs())
    assert "pixels" not in caplog.text
    with caplog.at_level(logging.WARNING):
        prepare(kind, model, source).observe(pixels)
    assert "`images` lie in " in caplog.text
    assert "as pixels do before they are normalised" in caplog.text


class BesideOthers(Net):
    """Batch-norm beside layers that normalise otherwise."""

    def __init__(self):
        super().__init__()
        self.norm2 = nn.InstanceNorm2d(8, affine=True, track_running_stats=True)
        self.head = nn.Sequential(nn.GroupNorm(2, 16), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.LayerNorm(64))


@pytest.mark.parametrize("kind", KINDS)
def test_layers_that_are_not_followed_are_listed(kind, model, source, caplog):
    with caplog.at_level(logging.WARNING):
        assert prepare(kind, model, source).skipped == []
    assert caplog.text == ""
    with caplog.at_level(logging.WARNING):
        assert prepare(kind, BesideOthers().eval(), source).skipped == ["norm2", "head.0", "head.3"]
    assert f"{kind} leaves norm2 as in the training: no torch.nn.BatchNorm" in caplog.text


def test_unmix_lists_batch_norm_of_single_values_too():
    tail = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.BatchNorm1d(8), nn.Linear(8, 5))
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), tail).eval()
    assert Adapter.parse("unmix_tns").prepare(model).skipped == ["2.2"]
    assert Adapter.parse("ada_bn").prepare(model).skipped == []
