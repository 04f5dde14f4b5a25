"""What every recipe promises, and the formulas of SGD and distillation."""

import math

import pytest
import torch
from torch.nn import functional

import models
from eyas.errors import ParameterError
from eyas.training.optimiser_step import Networks
from eyas.training.recipes import Recipe
from eyas.training.recipes.sgd import SGD, Distillation

KINDS = sorted(Recipe.registry)
OPTIONS = {"custom": {"factory": f"{__name__}:plain_steps"}}
"""What a member cannot do without."""


def plain_steps(model, teacher, optimizer):
    def step(images, labels):
        loss = functional.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    return step


def residual_network():
    torch.manual_seed(0)
    return models.build("resnet8", 10, width=8, in_channels=1)


NETWORKS = {"cosub": residual_network}
"""Those that a member is for, where it does not take any."""


@pytest.mark.parametrize("kind", KINDS)
class TestContract:
    def test_augment_keeps_shape_and_repeats_under_a_seed(self, kind):
        recipe = Recipe.parse(kind)
        images = torch.randn(8, 3, 32, 32)
        before = images.clone()
        first = recipe.augment(images, torch.Generator().manual_seed(3))
        assert first.shape == images.shape
        assert first.isfinite().all()
        assert torch.equal(images, before)
        assert torch.equal(first, recipe.augment(images, torch.Generator().manual_seed(3)))

    def test_rate_is_positive_until_the_end(self, kind):
        recipe = Recipe.parse(kind)
        rates = [recipe.rate(step / 100, 10) for step in range(1, 1000)]
        assert min(rates) > 0

    def test_a_step_on_the_loss_lowers_it(self, kind, tiny):
        recipe, model = Recipe.parse({"kind": kind, **OPTIONS.get(kind, {})}), NETWORKS.get(kind, tiny)().eval()
        images, answers = torch.randn(16, 1, 8, 8), ((torch.arange(16) % 10, 1.0),)
        step = recipe.make_step(Networks(model, None, example=images[:1]), recipe.optimiser(model))
        before, after = step(images, answers), step(images, answers)
        assert not before.requires_grad
        assert after < before

    def test_every_parameter_is_optimised_once(self, kind, tiny):
        model = tiny()
        groups = Recipe.parse(kind).optimiser(model).param_groups
        optimised = [id(parameter) for group in groups for parameter in group["params"]]
        assert sorted(optimised) == sorted(id(parameter) for parameter in model.parameters())

    def test_options_survive_json(self, kind):
        recipe = Recipe.parse(kind)
        assert Recipe.parse(recipe.model_dump(mode="json")) == recipe


def test_schedule_warms_up_then_follows_the_cosine():
    recipe = SGD(learning_rate=0.2, warmup_epochs=2)
    assert recipe.rate(1, 10) == pytest.approx(0.1)
    assert recipe.rate(2, 10) == pytest.approx(0.2)
    assert recipe.rate(6, 10) == pytest.approx(0.1)  # half way: cos(pi/2) = 0
    assert recipe.rate(10, 10) == pytest.approx(0)
    assert recipe.rate(0.5, 1) == pytest.approx(0.2)  # warm-up takes half of the passes at most


def test_schedule_is_torchs_cosine_without_warmup():
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimiser = torch.optim.SGD([parameter], lr=0.3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=7)
    recipe = SGD(learning_rate=0.3, warmup_epochs=0)
    for epoch in range(7):
        assert recipe.rate(epoch, 7) == pytest.approx(schedule.get_last_lr()[0])
        optimiser.step()
        schedule.step()


@pytest.mark.parametrize(("decay", "decayed"), [("weights", {"conv.weight", "linear.weight"}), ("all", None)])
def test_what_decays(decay, decayed, tiny):
    model = tiny()
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    groups = SGD(decay=decay, weight_decay=0.1).optimiser(model).param_groups
    decaying = {names[id(p)] for group in groups if group["weight_decay"] == 0.1 for p in group["params"]}
    assert decaying == (decayed or set(names.values()))


def test_loss_is_the_published_mixture():
    student, teacher = torch.randn(5, 4, dtype=torch.float64), torch.randn(5, 4, dtype=torch.float64)
    labels = torch.tensor([0, 1, 2, 3, 0])
    alpha, temperature = 0.3, 2.5
    expected = 0.0
    for row in range(5):
        p_t = [math.exp(v / temperature) for v in teacher[row].tolist()]
        p_s = [math.exp(v / temperature) for v in student[row].tolist()]
        divergence = sum(
            a / sum(p_t) * math.log((a / sum(p_t)) / (b / sum(p_s))) for a, b in zip(p_t, p_s, strict=True)
        )
        hard = -student[row].tolist()[labels[row]] + math.log(sum(math.exp(v) for v in student[row].tolist()))
        expected += ((1 - alpha) * hard + alpha * temperature**2 * divergence) / 5
    recipe = SGD(distillation=Distillation(alpha=alpha, temperature=temperature))
    assert float(recipe.loss(student, labels, teacher)) == pytest.approx(expected, rel=1e-10)


def test_distillation_gradient_and_fixed_point():
    student = torch.randn(6, 5, dtype=torch.float64, requires_grad=True)
    teacher = torch.randn(6, 5, dtype=torch.float64)
    Distillation(temperature=3.0)(student, teacher).backward()
    expected = 3.0 * (functional.softmax(student / 3, 1) - functional.softmax(teacher / 3, 1)) / 6
    assert torch.allclose(student.grad, expected.detach(), atol=1e-14)
    same = teacher.clone().requires_grad_()
    loss = Distillation()(same, teacher)
    loss.backward()
    assert abs(float(loss.detach())) < 1e-14
    assert float(same.grad.abs().max()) < 1e-15


def test_distillation_tends_to_the_squared_distance_of_centred_logits():
    student, teacher = torch.randn(1, 7, dtype=torch.float64), torch.randn(1, 7, dtype=torch.float64)
    centred = (teacher - teacher.mean()) - (student - student.mean())
    loss = Distillation(temperature=1e4)(student, teacher)
    assert float(loss) == pytest.approx(float(centred.square().sum() / (2 * 7)), rel=1e-3)


def test_full_distillation_needs_no_labels():
    student, teacher = torch.randn(4, 3), torch.randn(4, 3)
    recipe = SGD(distillation=Distillation(alpha=1.0))
    losses = {float(recipe.loss(student, torch.full((4,), label), teacher)) for label in range(3)}
    assert len(losses) == 1


@pytest.mark.parametrize("distillation", [None, {"alpha": 0.0}])
def test_no_teacher_wanted(distillation):
    assert not Recipe.parse({"kind": "sgd", "distillation": distillation}).wants_teacher


@pytest.mark.parametrize(
    ("shape", "how"),
    [
        ((1, 8, 8), "shift"),
        ((1, 28, 28), "shift"),
        ((3, 16, 16), "shift"),
        ((3, 32, 32), "shift_flip"),
        ((3, 224, 224), "resized_crop_flip"),
    ],
)
def test_automatic_augmentation_suits_the_images(shape, how):
    images = torch.randn(4, *shape)
    auto = SGD().augment(images, torch.Generator().manual_seed(1))
    named = SGD(augmentation=how).augment(images, torch.Generator().manual_seed(1))
    assert torch.equal(auto, named)


@pytest.mark.parametrize("options", [{"learning_rate": 0}, {"momentum": 1}, {"distillation": {"beta": 1}}, {"lr": 1}])
def test_wrong_options_are_refused(options):
    with pytest.raises(ParameterError, match="^`recipe` "):
        Recipe.parse({"kind": "sgd", **options})


def test_unknown_kind_names_what_there_is():
    with pytest.raises(ParameterError, match=r"recipe kind 'adam'.*available: .*sgd"):
        Recipe.parse("adam")


@pytest.mark.parametrize(
    ("options", "batch_size", "rate"),
    [
        ({}, 16, 0.05 / 64),
        ({}, 128, 0.05),
        ({"momentum": 0.5}, 64, 0.0125),
        ({"learning_rate": 0.05}, 16, 0.05),
        ({"batch_size": 16}, 16, 0.05),
        ({"optimizer": "adamw"}, 16, 0.001),  # its own default
    ],
)
def test_small_batches_that_were_chosen_train_a_trained_network_at_a_smaller_rate(options, batch_size, rate):
    recipe = Recipe.parse({"kind": "sgd", **options})
    assert recipe.for_trained(batch_size).learning_rate == pytest.approx(rate)
    assert recipe.for_trained(batch_size).momentum == recipe.momentum
