"""Rungs of training steps: what is trained, on what, and that nothing else changes."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import eyas
from eyas.calibration.batchnorm import batch_statistics
from eyas.calibration.recalibrate import recalibrate
from eyas.errors import DataError, ParameterError
from eyas.pruning.model_digests import modules_digest
from eyas.scoring import DEFAULT_RUNGS, Rung, ScoreOptions
from eyas.scoring.engine import Engine
from eyas.scoring.race.rungs import fit_rungs
from tests.scoring.conftest import columns, measured
from tests.scoring.networks import Net, Several, images
from tests.scoring.recorded import RecordedExecutor, run
from tests.scoring.test_engine import PerPixel

TRAINING = {"images": 240, "batch_size": 32}
RACE = [Rung(images=60, keep=6), Rung(steps=3, keep=3, **TRAINING), Rung(steps=8, **TRAINING)]


@pytest.fixture(scope="module")
def training():
    """Images as those of the scene, seen by no other purpose, and their labels."""
    labels = torch.randint(0, 5, (300,), generator=torch.Generator().manual_seed(9))
    return images(5, 1)[labels] + 1.5 * images(300, 11), labels


def weights(model):
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def trained_by_hand(scene, training, plan, steps, *, alpha=0.9, refit=True):
    """The same training written out: torch's schedule, the loss by its formula, one step after another."""
    generator = torch.Generator().manual_seed(0)
    calibration = scene.calibration[torch.randperm(len(scene.calibration), generator=generator)]
    torch.randperm(len(scene.scoring), generator=generator)
    order = torch.randperm(len(training[0]), generator=generator)
    seen, labels = training[0][order], training[1][order]
    small = eyas.prune(scene.model, scene.space, plan)
    if refit:
        eyas.refit(scene.model, small, scene.space, plan, calibration)
    with torch.no_grad():
        teacher = functional.log_softmax(scene.model(seen) / 4, 1)
    decayed = [p for p in small.parameters() if p.ndim > 1]
    rest = [p for p in small.parameters() if p.ndim == 1]
    groups = [{"params": decayed, "weight_decay": 5e-4}, {"params": rest}]
    optimiser = torch.optim.SGD(groups, 0.05, momentum=0.9, nesterov=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    torch.manual_seed(0)
    small.train()
    for rows in torch.arange(300).split(32)[:steps]:
        logits = small(seen[rows])
        student = functional.log_softmax(logits / 4, 1)
        distilled = 16 * (teacher[rows].exp() * (teacher[rows] - student)).sum(1).mean()
        loss = alpha * distilled + (1 - alpha) * functional.cross_entropy(logits, labels[rows])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    recalibrate(small, scene.calibration, num_images=160, batch_size=128, seed=0)
    with torch.inference_mode():
        logits = small.eval()(scene.scoring)
    return float(functional.cross_entropy(logits, scene.labels)), float(
        (logits.argmax(1) == scene.labels).double().mean()
    )


@pytest.mark.parametrize("alpha", [0.9, 0.0])
@pytest.mark.parametrize("refit", [True, False])
def test_a_rung_trains_as_it_is_written_out(scene, training, alpha, refit):
    recovery = {} if refit else {"recovery": None}
    rung = Rung(steps=7, distillation=alpha, **TRAINING, **recovery)
    plans = [scene.plans[number] for number in (0, 5)]
    table = scene.score(plans, rungs=[rung], training=training, threads=1)
    for number, plan in enumerate(plans):
        loss, accuracy = trained_by_hand(scene, training, plan, 7, alpha=alpha, refit=refit)
        assert table.cross_entropy[number] == pytest.approx(loss, abs=2e-4)
        assert table.accuracy[number] == pytest.approx(accuracy, abs=0.009)
        assert table.score[number] == table.accuracy[number]


def test_a_fused_rung_may_refit_first(scene):
    """One pass calibrates and scores what the refit made; nothing is trained."""
    plans = [scene.plans[number] for number in (0, 5)]
    table = scene.score(plans, rungs=[Rung(steps=0, images=240, mode="fused")], threads=1)
    for number, plan in enumerate(plans):
        small = eyas.prune(scene.model, scene.space, plan)
        order = torch.randperm(len(scene.calibration), generator=torch.Generator().manual_seed(0))
        eyas.refit(scene.model, small, scene.space, plan, scene.calibration[order])
        with torch.inference_mode(), batch_statistics(small):
            logits = torch.cat([small(batch) for batch in scene.scoring.split(120)])
        assert table.cross_entropy[number] == pytest.approx(
            float(functional.cross_entropy(logits, scene.labels)), abs=0.05
        )
        assert table.score[number] == -table.cross_entropy[number]


def test_images_to_train_on_are_used_or_refused(scene, training):
    """Never left lying without a word."""
    table = scene.score(rungs=None, training=training, threads=1)
    assert [rung["steps"] for rung in table.settings["rungs"] if "steps" in rung] == [10, 40]
    with pytest.raises(ParameterError, match="none of `rungs` trains"):
        scene.score(rungs=[Rung(images=60)], training=training)


def test_steps_make_candidates_better(scene, training):
    before = scene.score(rungs=[Rung(images=240, mode="held_out")])
    assert (before.score == -before.cross_entropy).all()
    rung = Rung(steps=40, distillation=0, recovery=None, **TRAINING)
    after = scene.score(rungs=[rung], training=training)
    assert after.accuracy.mean() > before.accuracy.mean() + 0.1


@pytest.mark.parametrize("workers", [1, 2])
def test_no_steps_and_no_refit_is_the_untrained_rung(scene, workers):
    untrained = scene.score(rungs=[Rung(images=240, calibration_images=100, mode="held_out")], threads=1)
    rung = Rung(steps=0, recovery=None, images=240, calibration_images=100)
    assert columns(scene.score(rungs=[rung], workers=workers, threads=1)) == columns(untrained)


def test_no_steps_with_a_refit_judges_refitted_candidates(scene):
    table = scene.score(scene.plans[:3], rungs=[Rung(steps=0, images=240)])
    plan, order = scene.plans[1], torch.randperm(160, generator=torch.Generator().manual_seed(0))
    small = eyas.prune(scene.model, scene.space, plan)
    eyas.refit(scene.model, small, scene.space, plan, scene.calibration[order])
    recalibrate(small, scene.calibration, batch_size=128, seed=0)
    with torch.inference_mode():
        loss = float(functional.cross_entropy(small(scene.scoring), scene.labels))
    assert table.cross_entropy[1] == pytest.approx(loss, abs=1e-5)


def test_one_seed_one_table_and_another_seed_another(scene, training):
    one, same, other = (scene.score(rungs=RACE, training=training, seed=seed, threads=1) for seed in (1, 1, 2))
    assert columns(one) == columns(same)
    assert columns(one) != columns(other)
    assert one.diagnostics["entered"] == [24, 6, 3]
    assert sorted(one.rung.tolist()) == [0] * 18 + [1] * 3 + [2] * 3


def test_a_measurement_does_not_depend_on_those_before_it(scene, training, monkeypatch):
    engines = []
    launch = Engine.launch
    monkeypatch.setattr(Engine, "launch", lambda self, *a: engines.append(self) or launch(self, *a))
    scene.score(rungs=RACE, training=training, threads=1)
    first = engines[0].measure(scene.plans[7], RACE[2], 128)
    for number in (0, 3, 9):
        engines[0].measure(scene.plans[number], RACE[1], 128)
    again = engines[0].measure(scene.plans[7], RACE[2], 128)
    assert first.image_scores.tobytes() == again.image_scores.tobytes()


def test_whoever_works_the_table_is_the_same(scene, training, tmp_path):
    one = scene.score(rungs=RACE, training=training, threads=1)
    two = scene.score(rungs=RACE, training=training, workers=2, threads=1, journal=tmp_path / "j")
    assert columns(one) == columns(two)
    assert one.diagnostics == two.diagnostics


def test_on_ray_the_table_is_the_same(scene, training):
    pytest.importorskip("ray", reason="Ray is an extra: pip install 'eyas[ray]'")
    one = scene.score(rungs=RACE, training=training, threads=1)
    assert columns(one) == columns(scene.score(rungs=RACE, training=training, workers=2, threads=1, cluster="ray"))


def test_nothing_of_the_dense_network_or_of_torch_is_touched(scene, training, monkeypatch):
    models, launch = [], Engine.launch
    monkeypatch.setattr(Engine, "launch", lambda self, *a: models.append(self.model) or launch(self, *a))
    before, layers = weights(scene.model), modules_digest(scene.model)
    flags = [module.training for module in scene.model.modules()]
    torch.manual_seed(77)
    generator, threads = torch.random.get_rng_state(), torch.get_num_threads()
    scene.score(rungs=RACE, training=training, threads=1)
    assert torch.equal(torch.random.get_rng_state(), generator)
    assert torch.get_num_threads() == threads
    assert modules_digest(scene.model) == layers
    assert [module.training for module in scene.model.modules()] == flags
    assert all(parameter.grad is None for parameter in scene.model.parameters())
    for after in (weights(scene.model), weights(models[-1])):
        assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad])
def test_it_trains_whatever_mode_the_caller_is_in(scene, training, mode):
    plain = scene.score(rungs=[Rung(steps=2, **TRAINING)], training=training, threads=1)
    with mode():
        inside = scene.score(rungs=[Rung(steps=2, **TRAINING)], training=training, threads=1)
    assert columns(inside) == columns(plain)


def test_without_labels_the_dense_network_alone_teaches(scene, training):
    def score(labels):
        inputs = (scene.model, scene.space, scene.plans[:6], scene.calibration, scene.scoring)
        options = ScoreOptions(training=(training[0], labels), threads=1)
        return eyas.score(*inputs, rungs=[Rung(steps=5, **TRAINING)], options=options)

    without, with_labels = score(None), score(training[1])
    assert without.settings["scorer"]["kind"] == "dense_kl"
    assert np.isnan(without.accuracy).all()
    assert (without.score != with_labels.score).all()
    alone = scene.score(
        scene.plans[:6], rungs=[Rung(steps=5, distillation=1, **TRAINING)], training=training, threads=1
    )
    unlabelled = scene.score(scene.plans[:6], rungs=[Rung(steps=5, **TRAINING)], training=training[0], threads=1)
    assert columns(alone) == columns(unlabelled)


def test_longer_than_the_images_reach_every_image_comes_again(scene, training):
    few = (training[0][:50], training[1][:50])
    table = scene.score(scene.plans[:3], rungs=[Rung(steps=9, **TRAINING)], training=few)
    assert np.isfinite(table.score).all()


def test_no_more_training_images_are_kept_than_the_longest_rung_takes(scene, training, monkeypatch):
    seen = []
    launch = Engine.launch
    monkeypatch.setattr(Engine, "launch", lambda self, *a: seen.append(len(self.images.training)) or launch(self, *a))
    scene.score(scene.plans[:3], rungs=[Rung(steps=2, **TRAINING), Rung(steps=3, **TRAINING)], training=training)
    assert set(seen) == {96}


def test_training_that_diverges_ranks_behind_all_others(scene, training):
    launch, rungs = Engine.launch, [Rung(images=60, keep=6), Rung(steps=3, **TRAINING)]

    def wild(self, plan, rung, batch_size):
        broken = rung.steps and plan.widths == scene.plans[leader].widths
        return launch(self, plan, rung.model_copy(update={"learning_rate": 1e12}) if broken else rung, batch_size)

    leader = scene.score(rungs=rungs[:1]).winner
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Engine, "launch", wild)
        table = scene.score(rungs=rungs, training=training)
    assert table.rung[leader] == 1
    assert table.rank[leader] == len(table)
    assert any("outputs that are not finite" in warning for warning in table.warnings)
    with pytest.raises(DataError, match="lower the learning rate of the last of `rungs`"):
        scene.score(rungs=[Rung(steps=3, learning_rate=1e12, **TRAINING)], training=training)


def test_where_memory_ends_steps_take_smaller_batches(scene, training, monkeypatch):
    trained = []
    step = torch.optim.SGD.step

    def small_device(self, *arguments):
        if sizes[-1] > 20:
            raise MemoryError
        trained.append(sizes[-1])
        return step(self, *arguments)

    sizes = []
    forward = Net.forward
    monkeypatch.setattr(Net, "forward", lambda self, x: sizes.append(len(x)) or forward(self, x))
    monkeypatch.setattr(torch.optim.SGD, "step", small_device)
    table = scene.score(scene.plans[:4], rungs=[Rung(steps=3, **TRAINING)], training=training, batch_size=64)
    assert table.settings["batch_size"] == 16
    assert any("out of memory" in warning for warning in table.warnings)
    assert trained.count(16) == 12


def test_a_leader_on_images_goes_through_the_training_with_the_others():
    rng = np.random.default_rng(1)
    table = rng.normal(size=512) + rng.normal(size=(40, 512))
    table[17] += 3
    rungs = (Rung(images=64, keep=0.5), Rung(steps=10, images=256, keep=3), Rung(steps=40, images=512))
    race, result = run(RecordedExecutor(table, table), 40, rungs, stop_margin=5)
    assert race.entered == [40, 20, 1]
    assert race.decided_early
    assert result.winner == 17
    race, _ = run(RecordedExecutor(table, table), 40, rungs[:2], stop_margin=5)
    assert race.entered == [40, 20]
    assert not race.decided_early


def test_what_it_costs_is_part_of_the_table(scene, training):
    table = scene.score(rungs=RACE, training=training)
    short, long = 240 + 160 + 3 * 3 * 32, 240 + 160 + 3 * 8 * 32
    assert table.diagnostics["images_forwarded"] == [24 * 60, 6 * short, 3 * long]
    assert "images_forwarded" not in scene.score(rungs=[Rung(images=60)]).diagnostics


def test_scoring_images_that_are_trained_on_are_told(scene, training):
    seen = (torch.cat([scene.scoring[:7], training[0]]), torch.cat([scene.labels[:7], training[1]]))
    table = scene.score(scene.plans[:2], rungs=[Rung(steps=10, **TRAINING)], training=seen)
    assert any("7 of 240 scoring images are training images, too" in warning for warning in table.warnings)


@pytest.mark.parametrize("kind", ["tuple", "dict"])
def test_of_several_outputs_the_judged_one_is_trained(scene, training, kind):
    model = Several(scene.model, kind)
    space = eyas.trace(model, (scene.scoring[:2],))
    plans = [space.plan([5, 5]), space.plan([6, 9])]
    options = ScoreOptions(training=training, threads=1)
    data = (scene.calibration, scene.scoring, scene.labels)
    table = eyas.score(model, space, plans, *data, rungs=[Rung(steps=3, **TRAINING)], options=options)
    same = [scene.space.plan([5, 5]), scene.space.plan([6, 9])]
    plain = eyas.score(scene.model, scene.space, same, *data, rungs=[Rung(steps=3, **TRAINING)], options=options)
    assert table.cross_entropy == pytest.approx(plain.cross_entropy, abs=1e-4)


def test_a_network_without_batch_norm_trains_without_calibration_images(training):
    torch.manual_seed(0)
    model = Net(nn.Identity).eval()
    space = eyas.trace(model, (training[0][:2],))
    data = (None, training[0][:100], training[1][:100])
    options = ScoreOptions(training=(training[0][100:], training[1][100:]))
    plans = [space.plan([5, 5]), space.plan([6, 9])]
    table = eyas.score(model, space, plans, *data, rungs=[Rung(steps=3, **TRAINING)], options=options)
    assert np.isfinite(table.score).all()
    with pytest.raises(DataError, match="refit on 0 images: give `calibration_images`"):
        eyas.score(model, space, plans, *data, rungs=[Rung(steps=0)])


def test_pixels_are_trained_like_images_of_their_own(scene):
    generator = torch.Generator().manual_seed(3)
    model = PerPixel().eval()
    space = eyas.trace(model, (scene.scoring[:2],))
    seen, calibration, scoring = (torch.randn(n, 3, 8, 8, generator=generator) for n in (64, 40, 40))
    labels, scoring_labels = ((x[:, 0] > 0).long() for x in (seen, scoring))
    options = ScoreOptions(training=(seen, labels))
    inputs = (model, space, [space.plan([4]), space.plan([6])], calibration, scoring, scoring_labels)
    before = eyas.score(*inputs, rungs=[Rung(images=40, mode="held_out")])
    rung = Rung(steps=20, distillation=0, images=40, batch_size=16)
    after = eyas.score(*inputs, rungs=[rung], options=options)
    assert (after.cross_entropy < before.cross_entropy - 0.3).all()


class FailsInTraining(Net):
    def forward(self, x):
        if self.training:
            raise RuntimeError("no such thing")
        return super().forward(x)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"training": None}, "train for up to 3 steps, on 0 images: give `training`"),
        ({"training": (torch.zeros(1, 3, 8, 8), None)}, "on 1 images"),
        (
            {"training": {"images": torch.zeros(2, 3, 8, 8)}},
            "`training` is a dict: give images, or \\(images, labels\\)",
        ),
        ({"training": torch.zeros(1, 3, 8, 8)}, "on 1 images"),
        ({"training": (torch.zeros(2, 3, 8, 8),)}, "`training` is a tuple: give images"),
        ({"training": (torch.zeros(9, 4, 8, 8), None)}, "`training` have shape \\(4, 8, 8\\)"),
        ({"training": (torch.zeros(9, 3, 8, 8), torch.zeros(8).long())}, "8 `training` of torch.int64 for 9 images"),
        ({"training": (torch.zeros(9, 3, 8, 8), torch.full((9,), 5))}, "`training` hold 5 where the network has 5"),
        ({"training": (torch.full((9, 3, 8, 8), torch.nan), None)}, "`training` hold values that are not finite"),
    ],
)
def test_training_images_that_do_not_do_are_refused_in_words(scene, change, words):
    with pytest.raises(DataError, match=words):
        scene.score(rungs=[Rung(steps=3, **TRAINING)], **change)


def test_networks_that_cannot_be_trained_are_refused_before_the_race(scene, training):
    failing = FailsInTraining().eval()
    frozen = Net().eval().requires_grad_(False)
    for model, words in (
        (failing, "in train mode it fails with RuntimeError: no such thing"),
        (frozen, "cannot be trained"),
    ):
        space = eyas.trace(model, (training[0][:2],))
        data = (scene.calibration, scene.scoring, scene.labels)
        with pytest.raises(ParameterError, match=words):
            eyas.score(
                model, space, [space.plan([5, 5])], *data, rungs=RACE[1:], options=ScoreOptions(training=training)
            )
    single = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 1)).eval()
    space = eyas.trace(single, (training[0][:2],))
    options = ScoreOptions(training=(training[0], None))
    with pytest.raises(ParameterError, match="answers with one number"):
        eyas.score(
            single, space, [space.plan([5])], scene.calibration, scene.scoring, rungs=RACE[1:], scorer="dense_mse",
            options=options,
        )  # fmt: skip


def test_a_rung_of_steps_needs_to_be_told_its_steps_only():
    rung = Rung(steps=10, keep=4)
    assert (rung.images, rung.mode, rung.keep) == (2048, "held_out", 4)
    assert rung.cost() == 2048 + 3 * 10 * rung.batch_size
    fitted = fit_rungs([Rung(images=256), rung, Rung(steps=40)], calibration=500, scoring=600)
    assert [(r.images, r.calibration_images, r.steps) for r in fitted] == [
        (256, None, None),
        (600, 500, 10),
        (600, 500, 40),
    ]
    assert fit_rungs([Rung(steps=10, keep=9), rung], calibration=500, scoring=600) == fitted[1:2]
    assert Rung.model_validate(rung.model_dump()) == rung


def test_rungs_of_images_are_written_as_they_always_were():
    assert [rung.model_dump() for rung in DEFAULT_RUNGS[1:]] == [
        {"images": 512, "mode": "fused", "calibration_images": None, "keep": 8},
        {"images": 4096, "mode": "held_out", "calibration_images": 1024, "keep": 0.25},
    ]


@pytest.mark.parametrize(
    ("rungs", "words"),
    [
        ([{}], "how many images the rung sees, or how many steps"),
        ([{"steps": -1}], "greater than or equal to 0"),
        ([{"steps": 3, "mode": "fused"}], "leave mode out"),
        ([{"images": 60, "learning_rate": 0.1}], "learning_rate: only a rung of training steps"),
        ([{"steps": 3}, {"images": 60, "mode": "held_out"}], "a rung without steps follows one with steps"),
    ],
)
def test_rungs_that_make_no_sense_are_refused_in_words(scene, training, rungs, words):
    with pytest.raises(ParameterError, match=words):
        scene.score(rungs=rungs, training=training)


def test_ties_go_to_the_lower_cross_entropy():
    def tied(loss):
        return replace(measured(0.5), cross_entropy=loss)

    class Tied:
        def measure(self, rung, batch_size, candidates):
            return ((c, tied([1.0, 0.2, 0.7][c])) for c in candidates)

    _, result = run(Tied(), 3, [Rung(images=10)])
    assert result.rank.tolist() == [3, 1, 2]
