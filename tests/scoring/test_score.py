"""eyas.score as users call it."""

import copy
import logging

import numpy as np
import pytest
import torch
from torch import nn

import eyas
from eyas.errors import DataError, EyasError, ParameterError, PlanError
from eyas.scoring import Rung
from eyas.scoring.engine import Engine, dense_outputs
from tests.scoring.conftest import make_scene
from tests.scoring.networks import images

FUSED = [Rung(images=240)]
HELD_OUT = [Rung(images=240, calibration_images=160, mode="held_out")]
RACE = [Rung(images=60, keep=0.5), Rung(images=120, keep=4), Rung(images=240, calibration_images=160, mode="held_out")]


def by_hand(scene, plan, order):
    """Held-out cross-entropy per image, by eyas.prune, a loop over batches and numpy."""
    small = eyas.prune(scene.model, scene.space, plan)
    calibration = scene.calibration[torch.randperm(160, generator=order)]
    scoring_order = torch.randperm(240, generator=order)
    seen = {}
    norms = [m for m in small.modules() if isinstance(m, nn.BatchNorm2d)]
    handles = [n.register_forward_pre_hook(lambda m, x: seen.setdefault(m, []).append(x[0].detach())) for n in norms]
    for layer in norms:
        layer.train()
    with torch.no_grad():
        for batch in calibration.tensor_split(2):
            small(batch)
    for handle in handles:
        handle.remove()
    for layer in norms:
        values = torch.cat([x.transpose(0, 1).flatten(1) for x in seen[layer]], 1).double()
        layer.running_mean, layer.running_var = values.mean(1).float(), values.var(1, unbiased=False).float()
    with torch.no_grad():
        logits = small.eval()(scene.scoring[scoring_order]).double().numpy()
    labels = scene.labels[scoring_order].numpy()
    logp = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    return logp[np.arange(240), labels], logits.argmax(1) == labels


def test_held_out_score_is_what_the_definition_says(scene):
    table = scene.score(rungs=HELD_OUT, seed=5)
    for number in (0, 7, 23):
        goodness, right = by_hand(scene, scene.plans[number], torch.Generator().manual_seed(5))
        assert table.score[number] == pytest.approx(goodness.mean(), abs=2e-5)
        assert table.cross_entropy[number] == pytest.approx(-goodness.mean(), abs=2e-5)
        assert table.standard_error[number] == pytest.approx(goodness.std(ddof=1) / 240**0.5, rel=1e-3)
        assert table.accuracy[number] == pytest.approx(right.mean())


def test_fused_score_normalises_each_batch_by_itself(scene):
    table = scene.score(rungs=FUSED, batch_size=80)
    small = eyas.prune(scene.model, scene.space, scene.plans[3]).train()
    small.drop.eval()
    order = torch.Generator().manual_seed(0)
    torch.randperm(160, generator=order)
    shuffled = torch.randperm(240, generator=order)
    logits = torch.cat([small(x) for x in scene.scoring[shuffled].split(80)]).detach()
    expected = nn.functional.cross_entropy(logits, scene.labels[shuffled])
    assert table.cross_entropy[3] == pytest.approx(float(expected), abs=1e-5)


def test_rank_counts_the_rung_first_then_the_score(scene):
    table = scene.score(rungs=RACE)
    assert sorted(table.rank) == list(range(1, 25))
    order = np.argsort(table.rank)
    keys = [(-table.rung[c], -table.score[c]) for c in order]
    assert keys == sorted(keys)
    assert table.winner == order[0]
    assert np.bincount(table.rung).tolist() == [12, 8, 4]
    assert set(zip(table.rung.tolist(), table.images.tolist(), strict=True)) == {(0, 60), (1, 120), (2, 240)}


def test_survivors_are_the_best_of_their_rung(scene):
    alone = scene.score(rungs=[RACE[0]])
    table = scene.score(rungs=RACE)
    assert set(np.flatnonzero(table.rung > 0)) == set(np.argsort(-alone.score)[:12])


def test_same_seed_same_table_other_seed_other_images(scene):
    one, same, other = (scene.score(rungs=RACE, seed=seed) for seed in (1, 1, 2))
    for name, column in one.columns().items():
        assert np.array_equal(column, same.columns()[name])
    assert not np.array_equal(one.score, other.score)


def test_the_network_is_left_as_it_was(scene):
    before, flags = copy.deepcopy(scene.model.state_dict()), [m.training for m in scene.model.modules()]
    scene.score(rungs=RACE)
    assert all(torch.equal(value, before[name]) for name, value in scene.model.state_dict().items())
    assert [m.training for m in scene.model.modules()] == flags


def test_equal_candidates_are_measured_once(scene, monkeypatch):
    launched = []
    launch = Engine.launch
    monkeypatch.setattr(Engine, "launch", lambda self, *a: launched.append(1) or launch(self, *a))
    plans = [scene.plans[n] for n in (4, 5, 4, 6, 5, 4)]
    table = scene.score(plans, rungs=FUSED)
    assert len(launched) == 3
    assert table.score[0] == table.score[2] == table.score[5]
    assert sorted(table.rank) == [1, 2, 3, 4, 5, 6]


def test_a_list_of_plans_scores_as_the_width_matrix_does(scene):
    lazy = scene.score(rungs=FUSED)
    eager = scene.score(list(scene.plans), rungs=FUSED)
    assert np.array_equal(lazy.score, eager.score)


def test_without_labels_the_dense_network_is_the_measure(scene):
    dense = np.array([[g.channels for g in scene.space.groups]])
    plans = [*scene.plans, scene.space.plan(dense[0])]
    table = eyas.score(scene.model, scene.space, plans, scene.calibration, scene.scoring, rungs=HELD_OUT)
    assert table.settings["scorer"]["kind"] == "dense_kl"
    assert np.isnan(table.accuracy).all()
    assert np.isnan(table.cross_entropy).all()
    assert table.rank[24] <= 3
    assert (table.score <= 0).all()


def test_more_images_than_there_are_is_all_of_them(scene):
    table = scene.score(rungs=[Rung(images=256), Rung(images=4096), Rung(images=4096, mode="held_out")])
    assert table.images.max() == 240
    assert len(table.settings["rungs"]) == 2


def test_what_the_scores_depend_on_is_on_record(scene):
    table = scene.score(rungs=FUSED, batch_size=60, seed=3)
    assert table.settings["batch_size"] == 60
    assert table.settings["seed"] == 3
    assert table.settings["calibrator"] == {"kind": "pooled"}


@pytest.mark.parametrize("norm", [nn.Identity, lambda c: nn.GroupNorm(c, c)], ids=["none", "group"])
def test_without_batch_norm_it_warns_and_evaluates(norm, caplog):
    scene = make_scene(norm, candidates=3)
    with caplog.at_level(logging.WARNING):
        fused, held_out = scene.score(rungs=FUSED), scene.score(rungs=HELD_OUT)
    assert "nothing to calibrate" in caplog.text
    assert any("plain evaluation" in warning for warning in fused.warnings)
    order = torch.Generator().manual_seed(0)
    torch.randperm(160, generator=order)
    shuffled = torch.randperm(240, generator=order)
    small = eyas.prune(scene.model, scene.space, scene.plans[1]).eval()
    expected = nn.functional.cross_entropy(small(scene.scoring[shuffled]).detach(), scene.labels[shuffled])
    assert fused.cross_entropy[1] == pytest.approx(float(expected), abs=1e-5)
    assert np.array_equal(fused.score, held_out.score)


class FrozenNorm(nn.Module):
    """Batch-norm with fixed statistics, as detection libraries have it."""

    def __init__(self, channels):
        super().__init__()
        for name, value in {"weight": 1.0, "bias": 0.0, "running_mean": 0.1, "running_var": 2.0}.items():
            self.register_buffer(name, torch.full((channels,), value))

    def forward(self, x):
        scale = self.weight * (self.running_var + 1e-5).rsqrt()
        return x * scale[:, None, None] + (self.bias - self.running_mean * scale)[:, None, None]


def test_frozen_norms_of_other_libraries_are_named():
    scene = make_scene(FrozenNorm, candidates=2)
    table = scene.score(rungs=FUSED)
    assert any(
        "2 normalisation layers with running" in warning and "(norm1, norm2)" in warning for warning in table.warnings
    )


class Several(nn.Module):
    def __init__(self, inner, kind):
        super().__init__()
        self.inner, self.kind = inner, kind

    def forward(self, x):
        logits = self.inner(x)
        return {"tuple": (logits, logits * 2), "dict": {"aux": -logits, "logits": logits}}[self.kind]


@pytest.mark.parametrize(("kind", "choice"), [("tuple", 1), ("dict", "aux")])
def test_of_several_outputs_the_first_or_the_named_one_is_judged(scene, kind, choice):
    model = Several(scene.model, kind)
    space = eyas.trace(model, (images(2, 0),))
    plans = [space.plan({group.name: 5 for group in space.groups})]
    data = (scene.calibration, scene.scoring, scene.labels)
    plain = eyas.score(scene.model, scene.space, [scene.space.plan([5, 5])], *data, rungs=FUSED)
    usual = eyas.score(model, space, plans, *data, rungs=FUSED)
    named = eyas.score(model, space, plans, *data, rungs=FUSED, output=choice)
    assert usual.score[0] == pytest.approx(plain.score[0])
    assert named.score[0] != usual.score[0]
    with pytest.raises(DataError, match="is no tensor there"):
        eyas.score(model, space, plans, *data, rungs=FUSED, output="nowhere")


def test_outputs_that_are_not_finite_rank_last_and_are_said(scene):
    model = copy.deepcopy(scene.model)
    with torch.no_grad():
        strongest = int(model.conv2.weight.abs().sum((1, 2, 3)).argmax())
        weakest = int(model.conv2.weight.abs().sum((1, 2, 3)).argmin())
        model.head.weight[0, weakest] = float("inf")
    assert strongest != weakest
    plans = [scene.space.plan([10, 14]), scene.space.plan([10, 4]), scene.space.plan([10, 6])]
    table = eyas.score(
        model, scene.space, plans, scene.calibration, scene.scoring, scene.labels, rungs=[*FUSED, *HELD_OUT]
    )
    assert np.isnan(table.score[0])
    assert table.rank[0] == 3
    assert any("not finite" in warning for warning in table.warnings)


def test_out_of_memory_restarts_at_half_the_batch_and_says_so(scene, monkeypatch, caplog):
    launch, sizes = Engine.launch, []

    def small_device(self, plan, rung, batch_size):
        sizes.append(batch_size)
        if batch_size > 40 and len(sizes) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return launch(self, plan, rung, batch_size)

    monkeypatch.setattr(Engine, "launch", small_device)
    with caplog.at_level(logging.WARNING):
        table = scene.score(rungs=FUSED, batch_size=120)
    monkeypatch.undo()
    assert table.settings["batch_size"] == 30
    assert "began again with batches of 60" in caplog.text
    assert any("batches of 30" in warning for warning in table.warnings)
    assert np.array_equal(table.score, scene.score(rungs=FUSED, batch_size=30).score)


def test_a_dense_network_too_large_for_the_batch_ends_no_race(scene, monkeypatch):
    plain = eyas.score(scene.model, scene.space, scene.plans, scene.calibration, scene.scoring, rungs=FUSED)
    monkeypatch.setattr("eyas.scoring.run.dense_outputs", lambda engine, size: _limited(dense_outputs, engine, size))
    again = eyas.score(scene.model, scene.space, scene.plans, scene.calibration, scene.scoring, rungs=FUSED)
    np.testing.assert_allclose(again.score, plain.score, atol=1e-6)


def _limited(work, engine, size):
    if size > 30:
        raise torch.OutOfMemoryError("CUDA out of memory")
    return work(engine, size)


def test_a_device_without_room_for_two_images_is_an_error_in_words(scene, monkeypatch):
    def no_device(self, plan, rung, batch_size):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Engine, "launch", no_device)
    with pytest.raises(EyasError, match="does not hold a batch"):
        scene.score(rungs=FUSED)


def test_other_errors_are_not_taken_for_memory(scene, monkeypatch):
    def broken(self, plan, rung, batch_size):
        raise RuntimeError("shape mismatch")

    monkeypatch.setattr(Engine, "launch", broken)
    with pytest.raises(RuntimeError, match="shape mismatch"):
        scene.score(rungs=FUSED)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"plans": []}, PlanError, "no plans"),
        ({"calibration": images(0, 0)}, DataError, "0 calibration images"),
        ({"scoring": images(1, 0), "labels": torch.zeros(1, dtype=torch.long)}, DataError, "1 scoring images"),
        ({"labels": torch.zeros(7, dtype=torch.long)}, DataError, "7 labels"),
        ({"labels": torch.zeros(240)}, DataError, "one integer each"),
        ({"scoring": torch.zeros(240, 3, 8, 8, dtype=torch.uint8)}, DataError, "normalised floats"),
        ({"calibration": images(160, 0) * float("nan")}, DataError, "not finite"),
        ({"labels": None, "scorer": "top1"}, DataError, "top1 needs labels"),
        ({"rungs": []}, ParameterError, "at least one"),
        ({"rungs": [{"images": 1}]}, ParameterError, "images"),
        ({"workers": 0}, ParameterError, "at least 1 worker"),
        ({"batch_size": 1}, ParameterError, "batches of at least 2"),
        ({"device": "cuda"}, ParameterError, "finds no CUDA device"),
        ({"calibrator": "magic"}, ParameterError, "available: cumulative, moving_average, pooled"),
    ],
)
def test_bad_input_is_refused_in_words(scene, change, error, words, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    given = {"plans": scene.plans, "calibration": scene.calibration, "scoring": scene.scoring, "labels": scene.labels}
    options = {"rungs": HELD_OUT, **{name: value for name, value in change.items() if name not in given}}
    given.update({name: value for name, value in change.items() if name in given})
    with pytest.raises(error, match=words):
        eyas.score(scene.model, scene.space, *given.values(), **options)


@pytest.mark.parametrize("same", [lambda x: x, torch.clone], ids=["itself", "copy"])
def test_equal_image_sets_are_said_to_hold_nothing_out(scene, caplog, same):
    with caplog.at_level(logging.WARNING):
        table = eyas.score(
            scene.model, scene.space, scene.plans[:2], same(scene.scoring), scene.scoring, scene.labels, rungs=FUSED
        )
    assert "hold nothing out" in caplog.text
    assert any("hold nothing out" in warning for warning in table.warnings)


@pytest.mark.parametrize("where", ["weights", "images"])
def test_where_no_score_is_finite_there_is_no_winner(scene, where):
    model, scoring = copy.deepcopy(scene.model), scene.scoring
    if where == "weights":
        model.head.bias.data[0] = float("nan")
    else:
        scoring = scoring * 1e37
    words = {"weights": "dense network's head.bias hold NaN", "images": "its outputs overflow"}[where]
    with pytest.raises(EyasError, match=words):
        eyas.score(model, scene.space, scene.plans, scene.calibration, scoring, scene.labels, rungs=RACE)


def test_no_more_images_are_kept_than_are_looked_at(scene, monkeypatch):
    monkeypatch.setattr("eyas.scoring.run.PROBE_IMAGES", 100)
    kept = []
    monkeypatch.setattr("eyas.scoring.run.dense_outputs", lambda *a: kept.append(dense_outputs(*a)) or kept[0])
    plain = eyas.score(scene.model, scene.space, scene.plans, scene.calibration, scene.scoring, rungs=[Rung(images=80)])
    assert len(kept[0]) == 100
    monkeypatch.undo()
    again = eyas.score(scene.model, scene.space, scene.plans, scene.calibration, scene.scoring, rungs=[Rung(images=80)])
    assert np.array_equal(plain.score, again.score)


def test_images_that_do_not_fit_the_device_are_an_error_in_words(scene, monkeypatch):
    def too_large(self, device):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("eyas.scoring.images.Images.to", too_large)
    with pytest.raises(EyasError, match="does not hold the dense network and the images"):
        scene.score(rungs=FUSED)


def test_a_cluster_may_have_the_gpus_that_this_machine_lacks(scene, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    hired = []

    def crew(*_, **how):
        hired.append(how)
        raise EyasError("hired")

    monkeypatch.setattr("eyas.scoring.run.RayCrew", crew)
    with pytest.raises(EyasError, match="hired"):
        scene.score(rungs=FUSED, device="cuda", cluster="ray://there:10001")
    assert hired[0]["device"] == "cuda"


def test_zero_variance_among_scores_is_reported_as_a_fault(scene):
    model = copy.deepcopy(scene.model)
    nn.init.zeros_(model.head.weight)
    table = eyas.score(model, scene.space, scene.plans, scene.calibration, scene.scoring, scene.labels, rungs=FUSED)
    assert any("scoring is at fault" in warning for warning in table.warnings)


def test_the_probe_reports_calibration_images_from_elsewhere(scene):
    strange = images(160, 9) * 0.1 + 7 * images(1, 11)
    table = eyas.score(scene.model, scene.space, scene.plans, strange, scene.scoring, scene.labels, rungs=HELD_OUT)
    probe = table.diagnostics["probe"]
    assert probe["deviations"] > 3
    assert any("recalibrating the unpruned network" in warning for warning in table.warnings)
    fine = scene.score(rungs=HELD_OUT).diagnostics["probe"]
    order = torch.no_grad()
    with order:
        dense = float((scene.model(scene.scoring).argmax(1) == scene.labels).float().mean())
    assert fine["original"] == pytest.approx(dense)
    assert fine["deviations"] < 3
