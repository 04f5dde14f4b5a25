"""What every adapter promises; members are looked up, so that a new one is held to it by itself."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

import eyas
from eyas.adaptation.adapters import Adapter
from eyas.deploy.bn_statistics import bn_statistics
from eyas.errors import BadInputError, DataError, ParameterError

KINDS = sorted(Adapter.registry)
FOLDABLE = [kind for kind in KINDS if Adapter.registry[kind].foldable]
FORWARD_ONLY = [kind for kind in KINDS if not Adapter.registry[kind].needs_backward]


def prepare(kind, model, source, seed=0):
    adapter = Adapter.parse(kind)
    return adapter.prepare(model, source=source if adapter.needs_source else None, seed=seed)


def watch(adaptation, images):
    return [adaptation.observe(batch) for batch in images.split(64)]


def hooks(model):
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks) for m in model.modules())


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


@pytest.mark.parametrize("kind", KINDS)
def test_the_network_is_not_changed(kind, model, source, field):
    before = copy.deepcopy(model.state_dict())
    watch(prepare(kind, model.train(), source), field[0])
    assert same(model.state_dict(), before)
    assert all(module.training for module in model.modules())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())
    assert hooks(model) == 0


@pytest.mark.parametrize("kind", KINDS)
def test_answers_are_finite_logits_of_each_image(kind, model, source, field):
    logits = prepare(kind, model, source).observe(field[0][:48])
    assert logits.shape == (48, 10)
    assert logits.isfinite().all()
    assert not logits.requires_grad


@pytest.mark.parametrize("kind", KINDS)
def test_goes_back_to_a_snapshot_bit_for_bit(kind, model, source, field):
    images = field[0]
    adaptation = prepare(kind, model, source)
    start = adaptation.snapshot()
    adaptation.observe(images[:64])
    middle = adaptation.snapshot()
    first = watch(adaptation, images[64:])
    adaptation.restore(middle)
    assert same(adaptation.snapshot(), middle)
    assert all(map(torch.equal, first, watch(adaptation, images[64:])))
    adaptation.restore(start)
    assert torch.equal(adaptation.observe(images[:64]), prepare(kind, model, source).observe(images[:64]))


@pytest.mark.parametrize("kind", KINDS)
def test_a_snapshot_is_restored_by_another_adaptation(kind, model, source, field):
    """As one process after the other does on the device."""
    adaptation, other = prepare(kind, model, source), prepare(kind, model, source)
    adaptation.observe(field[0][:64])
    other.restore({name: tensor.clone() for name, tensor in adaptation.snapshot().items()})
    assert torch.equal(adaptation.observe(field[0][64:128]), other.observe(field[0][64:128]))


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_snapshot_is_refused_and_changes_nothing(kind, model, source, field):
    adaptation = prepare(kind, model, source)
    adaptation.observe(field[0][:64])
    whole = adaptation.snapshot()
    name = next(name for name in whole if name.endswith("running_var"))
    for damaged in (
        {key: tensor for key, tensor in whole.items() if key != name},
        whole | {name: torch.full_like(whole[name], torch.nan)},
        whole | {name: -whole[name]},
        whole | {name: whole[name][:-1]},
        whole | {name: whole[name][:0]},
    ):
        with pytest.raises(DataError, match="`state` is no snapshot of this adaptation"):
            adaptation.restore(damaged)
    assert same(adaptation.snapshot(), whole)


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_gives_the_same_answers(kind, model, source, field):
    """Whatever was drawn before, and without drawing for the caller."""
    runs = []
    for seed in (7, 8):
        torch.manual_seed(seed)
        state = torch.get_rng_state()
        runs.append(watch(prepare(kind, model, source, seed=3), field[0]))
        assert torch.equal(torch.get_rng_state(), state)
    assert all(map(torch.equal, *runs))


@pytest.mark.parametrize("kind", FORWARD_ONLY)
def test_without_backward_it_runs_in_inference_mode_and_changes_no_parameter(kind, model, source, field):
    adaptation = prepare(kind, model, source)
    expected = watch(prepare(kind, model, source), field[0])
    with torch.inference_mode():
        answers = watch(adaptation, field[0])
    assert all(map(torch.equal, expected, answers))
    before = dict(model.named_parameters())
    assert all(torch.equal(value, before[name]) for name, value in adaptation.model.named_parameters())


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in FORWARD_ONLY])
def test_gradients_are_taken_where_it_says_so(kind, model, source, field):
    adaptation = prepare(kind, model, source)
    before = {name: value.clone() for name, value in adaptation.state().items() if "running" not in name}
    watch(adaptation, field[0])
    assert any(not torch.equal(value, before[name]) for name, value in adaptation.state().items() if name in before)


@pytest.mark.parametrize("kind", FOLDABLE)
def test_it_ends_in_a_plain_network_that_answers_as_it_did(kind, model, source, field):
    adaptation = prepare(kind, model, source)
    watch(adaptation, field[0])
    plain = adaptation.finalise()
    assert type(plain) is type(model)
    assert hooks(plain) == 0
    assert [type(m) for m in plain.modules()] == [type(m) for m in model.modules()]
    assert plain.state_dict().keys() == model.state_dict().keys()
    assert all(parameter.requires_grad and parameter.grad is None for parameter in plain.parameters())
    assert not any(module.training for module in plain.modules())
    kept = plain(field[0]).detach()
    exported = torch.export.export(plain, (field[0][:2],)).module()
    torch.testing.assert_close(exported(field[0][:2]), kept[:2])
    adaptation.observe(field[0][:64])
    assert torch.equal(plain(field[0]), kept)


@pytest.mark.parametrize("kind", FOLDABLE)
def test_batch_norm_folds_into_the_convolutions(kind, source, field):
    torch.manual_seed(0)
    head = nn.Sequential(nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10))
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), head).eval()
    plain = eyas.adapt(model, field[0], kind, source=source if Adapter.registry[kind].needs_source else None)
    folded = nn.Sequential(fuse_conv_bn_eval(plain[0], plain[1]), plain[2])
    torch.testing.assert_close(folded(field[0]), plain(field[0]), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", sorted(set(KINDS) - set(FOLDABLE)))
def test_what_ends_in_no_plain_network_is_refused(kind, model, source, field):
    with pytest.raises(ParameterError, match="`adapter` .* ends in no plain network"):
        eyas.adapt(model, field[0], kind, source=source)
    with pytest.raises(ParameterError, match="`adapter` .* ends in no plain network"):
        prepare(kind, model, source).finalise()


@pytest.mark.parametrize("kind", KINDS)
def test_source_is_asked_for_where_it_is_needed(kind, model):
    if Adapter.registry[kind].needs_source:
        with pytest.raises(ParameterError, match=f"`source` is missing: {kind} reads"):
            Adapter.parse(kind).prepare(model)
    else:
        Adapter.parse(kind).prepare(model)


@pytest.mark.parametrize("kind", KINDS)
def test_statistics_of_the_export_are_where_it_starts(kind, model, source):
    bundle = bn_statistics(model, 100)
    lost = copy.deepcopy(model)
    for module in lost.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.zero_()
            module.running_var.fill_(1)
    adapter = Adapter.parse(kind)
    source = source if adapter.needs_source else None
    assert same(adapter.prepare(lost, bundle, source).snapshot(), adapter.prepare(model, None, source).snapshot())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda bundle, name: bundle.pop(name), "`statistics` hold no tensor"),
        (lambda bundle, name: bundle.update({name: torch.ones(3)}), "a tensor of the shape"),
        (lambda bundle, name: bundle[name].fill_(torch.nan), "`statistics`: .* not finite"),
        (lambda bundle, name: bundle[name].fill_(-1), "`statistics`: .* negative variance"),
        (
            lambda bundle, name: bundle["norm1.weight"].fill_(torch.nan),
            "`statistics`: .* 'norm1' has a weight that is not",
        ),
        (lambda bundle, name: bundle["norm1.bias"].fill_(torch.inf), "`statistics`: .* 'norm1' has a bias that is not"),
        (
            lambda bundle, name: bundle.update({name: torch.ones(8, dtype=torch.int64)}),
            r"hold torch.int64 as norm\d.var",
        ),
        (
            lambda bundle, name: bundle.update({"9.mean": torch.zeros(3)}),
            "hold 9.mean, which the network does not have",
        ),
        (lambda bundle, name: bundle.update({"norm2.eps": torch.tensor(0.5)}), "norm2.eps as 0.5, .* has 1e-05"),
        (lambda bundle, name: bundle.update({"norm2.eps": torch.ones(3)}), r"norm2.eps as \[1.0, 1.0, 1.0\]"),
    ],
)
def test_statistics_that_are_none_are_refused(kind, model, source, change, says):
    bundle = bn_statistics(model, 100)
    change(bundle, next(name for name in bundle if name.endswith(".var")))
    with pytest.raises(DataError, match=says):
        Adapter.parse(kind).prepare(model, bundle, source)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("images", "says"),
    [
        (torch.zeros(0, 3, 8, 8), "`images` holds 0 images"),
        (torch.zeros(4, 3, 8), r"`images` have shape \(4, 3, 8\): give \(N, C, H, W\)"),
        (torch.zeros(4, 3, 8, 8, dtype=torch.uint8), "`images` are torch.uint8"),
        (torch.full((4, 3, 8, 8), torch.inf), "`images` hold values that are not finite"),
        (torch.zeros(4, 1, 8, 8), "`images` of the shape .* do not go through the network"),
    ],
)
def test_images_that_are_none_are_refused_and_change_nothing(kind, model, source, field, images, says):
    adaptation = prepare(kind, model, source)
    before = adaptation.snapshot()
    with pytest.raises(BadInputError, match=says):
        adaptation.observe(images)
    assert same(adaptation.snapshot(), before)
    adaptation.observe(field[0][:64])
    with pytest.raises(DataError, match="takes images of one shape"):
        adaptation.observe(field[0][:64, :, :6, :6])


@pytest.mark.parametrize("kind", KINDS)
def test_too_few_images_at_once_are_refused(kind, model, source, field):
    fewest = Adapter.registry[kind].min_batch
    adaptation = prepare(kind, model, source)
    assert adaptation.observe(field[0][:fewest]).isfinite().all()
    with pytest.raises(DataError, match=f"needs at least {fewest}"):
        adaptation.observe(field[0][: fewest - 1])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("norm", [nn.GroupNorm(2, 8), nn.Identity(), nn.BatchNorm2d(8, track_running_stats=False)])
def test_a_network_without_batch_norm_is_refused(kind, norm, source):
    bare = nn.Sequential(nn.Conv2d(3, 8, 3), norm, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with pytest.raises(ParameterError, match="`model` has no batch-norm .* folded"):
        Adapter.parse(kind).prepare(bare, source=source)


@pytest.mark.parametrize("kind", KINDS)
def test_statistics_of_the_network_that_are_none_are_refused(kind, model, source):
    next(m for m in model.modules() if isinstance(m, nn.BatchNorm2d)).running_mean[0] = torch.nan
    with pytest.raises(DataError, match="`model`: batch-norm layer .* not finite"):
        Adapter.parse(kind).prepare(model, source=source)


@pytest.mark.parametrize("kind", KINDS)
def test_images_as_in_training_cost_little(kind, model, trained, source):
    """Adapting to what the network was trained on leaves it where it was, within noise."""
    from tests.adaptation.adapters.conftest import draw

    images, labels = draw(trained[1], 256, seed=3000)
    dense = (model(images).argmax(1) == labels).float().mean()
    adaptation = prepare(kind, model, source)
    answers = torch.cat(watch(adaptation, images)).argmax(1)
    assert (answers == labels).float().mean() >= dense - 0.05


@pytest.mark.parametrize(
    ("kind", "options"),
    [("eco_tta", {"rate": 1e30}), ("hebbian", {"learning": 1e30}), ("key_value_bottleneck", {"rate": 1e38})],
)
def test_learning_that_runs_away_is_told(kind, options, model, source, field):
    adapter = Adapter.parse({"kind": kind, **options})
    adaptation = adapter.prepare(model, source=source if adapter.needs_source else None)
    labels = field[1] if adapter.needs_labels else None
    with pytest.raises(DataError, match=f"{kind} ended in no finite answers: lower its rate, or take another"):
        [adaptation.observe(field[0], labels) for _ in range(20)]


class Named(nn.Module):
    """The answers of a network among others."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, images):
        return {"out": self.network(images)}


class Pixels(nn.Module):
    """An answer per pixel."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5))

    def forward(self, images):
        return self.layers(images)


@pytest.mark.parametrize("kind", KINDS)
def test_answers_that_cannot_be_read_are_refused(kind, model, source, field):
    networks = [(Named(model), "dict")]
    if Adapter.parse(kind).reads_scores:
        networks.append((Pixels(), r"shape \(\d+, 5, 6, 6\)"))
    for network, what in networks:
        with pytest.raises(ParameterError, match=f"`model` answers with {what}: {kind} takes networks that answer"):
            prepare(kind, network, source).observe(field[0][:64])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("precision", [torch.float64, torch.float16, torch.bfloat16])
def test_images_of_any_precision_are_those_of_the_networks(kind, precision, model, source, field):
    images, source = field[0][:64].to(precision), source.to(precision)
    answers = prepare(kind, model, source).observe(images)
    assert torch.equal(answers, prepare(kind, model, source.float()).observe(images.float()))


@pytest.mark.parametrize("kind", KINDS)
def test_images_that_the_networks_precision_does_not_hold_are_refused(kind, model, source, field):
    adaptation, images = prepare(kind, model, source), field[0][:8].double()
    images[3, 0, 0, 0] = 1e300
    with pytest.raises(DataError, match="`images` holds values that torch.float32, the network's, does not hold"):
        adaptation.observe(images)
    assert adaptation.observe(field[0][:64]).isfinite().all()


@pytest.mark.parametrize("kind", [kind for kind in KINDS if Adapter.registry[kind].needs_source])
def test_images_of_the_training_that_do_not_go_through_the_network_are_told_in_a_line(kind, model, source):
    with pytest.raises(
        DataError, match=r"`source` of the shape \(128, 1, 8, 8\) do not go through the network"
    ) as told:
        Adapter.parse(kind).prepare(model, source=source[:, :1])
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_that_ends_in_no_numbers_is_refused_and_changes_nothing(kind, model, source, field):
    adaptation = prepare(kind, model, source)
    adaptation.observe(field[0][:64])
    for scale in (1e20, 1e15, 1e8):
        state = adaptation.snapshot()
        try:
            answers = adaptation.observe(field[0][:64] * scale)
        except DataError:
            assert same(adaptation.snapshot(), state)
        else:
            assert answers.isfinite().all()
        assert adaptation.observe(field[0][64:128]).isfinite().all()
        assert all(tensor.isfinite().all() for tensor in adaptation.snapshot().values())


def test_arrays_and_other_precisions_are_the_same_images(model, field):
    plain = eyas.adapt(model, field[0][:64]).state_dict()
    for taken in (field[0][:64].numpy(), field[0][:64].double().numpy()):
        adapted = eyas.adapt(model, taken).state_dict()
        assert all(torch.equal(tensor, plain[name]) for name, tensor in adapted.items())
    with pytest.raises(DataError, match="`images` is a list that is no tensor"):
        eyas.adapt(model, [field[0][:64]])
