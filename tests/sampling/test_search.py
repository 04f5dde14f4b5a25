"""``eyas.search``: the same winner as its parts give, generations by their scores, a network that is ready to use."""

import copy
import dataclasses
import os
import signal
import time
from dataclasses import replace
from typing import Literal

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import eyas
from eyas.errors import BudgetError, DataError, ParameterError
from eyas.pruning.calibration_set import CalibrationSet
from eyas.pruning.criteria import Criterion
from eyas.recovery.refit import RefitReport
from eyas.sampling.budget import Budget
from eyas.sampling.samplers import Sampler
from eyas.sampling.samplers.random_widths import BudgetSampler
from eyas.scoring import REFITTED_RUNGS, Rung, WidthPlans
from eyas.scoring.diagnosis import prediction
from eyas.scoring.engine import Engine
from eyas.scoring.scorers import Scorer
from tests.scoring.conftest import RACE, Scene, columns, make_scene
from tests.scoring.networks import Deep, Several, trained
from tests.support.learning_sampler import Narrowing

TWO = Narrowing(first=12, later=12)
FOUR = Narrowing(first=9, later=5)


@pytest.fixture(scope="module")
def scene():
    model, data, labels = trained(factory=Deep)
    space = eyas.trace(model, (data[:2],))
    return Scene(model, space, (), data[:160], data[160:], labels[160:])


def run(scene, budget=None, *, labels=True, **how):
    names = {"rungs", "scorer", "calibrator", "tolerance", "latency", "journal"}
    names |= {"workers", "threads", "batch_size", "output"}
    scorer = "cross_entropy" if labels else "dense_kl"
    options = {"rungs": RACE, "scorer": scorer, "tolerance": 0.02} | {
        name: how.pop(name) for name in names & how.keys()
    }
    images = (scene.calibration, scene.scoring, scene.labels if labels else None)
    how = {"candidates": 24, "sampler": "budget"} | how
    options = eyas.SearchOptions(**options)
    return eyas.search(scene.model, scene.space, budget or {"macs": 0.5}, *images, options=options, **how)


def state(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("criterion", ["l1_norm", "weight_activation"])
def test_it_is_sampler_criterion_and_race(scene, criterion):
    """Against the parts put together by hand."""
    result = run(scene, criterion=criterion, seed=3)
    budget = Budget.of(scene.space, "macs", 0.5, 0.02)
    widths = Sampler.parse("budget").ask(scene.space, budget, 24, seed=3)
    planner = scene.space.planner(Criterion.parse(criterion), data=scene.calibration)
    table = scene.score(WidthPlans(widths, planner), rungs=RACE, seed=3)
    assert columns(result.table) == columns(table)
    assert result.plan == planner(widths[table.winner])
    assert list(result.widths.values()) == widths[table.winner].tolist()
    assert result.cost == scene.space.cost(result.widths)
    assert budget.low <= result.cost.macs <= budget.high
    assert result.uniform == planner(widths[0])
    assert np.array_equal(result.candidates.widths, widths)


def test_an_error_table_is_measured_once_and_is_known_to_every_generation(scene):
    """The same first generation as by hand; others are proposed with it."""
    sampler = Sampler.parse({"kind": "spdy", "first": 8, "generation": 4, "levels": 4, "images": 64})
    result = run(scene, sampler=sampler, candidates=16, criterion="l1_norm", seed=1)
    planner = scene.space.planner(Criterion.parse("l1_norm"))
    table = sampler.measure(scene.model, scene.space, planner, scene.calibration)
    budget = Budget.of(scene.space, "macs", 0.5, 0.02)
    first = sampler.ask(scene.space, budget, 16, seed=1, table=table)
    widths = result.candidates.widths
    assert np.array_equal(widths[:8], first)
    assert 8 < len(widths) == len(np.unique(widths, axis=0)) <= 16
    assert table.digest in result.candidates.propose.settings


def test_a_criterion_that_reads_labels_gets_those_of_calibration_images_that_score_nothing(scene):
    criterion, budget = Criterion.parse({"kind": "taylor", "labels": True, "images": 40}), {"macs": 0.5}
    labels = torch.arange(len(scene.calibration)) % 3
    options = eyas.SearchOptions(rungs=RACE, tolerance=0.02, calibration_labels=labels)
    how = {"criterion": criterion, "candidates": 4, "sampler": "budget", "options": options}
    result = eyas.search(scene.model, scene.space, budget, scene.calibration, scene.scoring, scene.labels, **how)
    data = CalibrationSet(scene.calibration, labels)
    assert result.plan == scene.space.plan(result.widths, criterion, data=data)
    assert result.plan != scene.space.plan(result.widths, Criterion.parse("taylor"), data=scene.calibration)
    both = torch.cat([scene.calibration[:158], scene.scoring[:2]])
    with pytest.raises(DataError, match="2 of `calibration_images` are among `scoring_images`, and criterion taylor"):
        eyas.search(scene.model, scene.space, budget, both, scene.scoring, scene.labels, **how)
    with pytest.raises(DataError, match="criterion taylor with labels: true has none of the calibration images"):
        run(scene, criterion=criterion)


def test_learned_widths_are_learned_on_calibration_images_and_their_labels(scene, tmp_path):
    """The same as by hand; a journal that was cut goes on to the identical table."""
    before = state(scene.model)
    sampler = Sampler.parse({"kind": "learned_thresholds", "steps": 10, "labels": True, "cost_weight": 1})
    labels, budget = torch.arange(len(scene.calibration)) % 3, Budget.of(scene.space, "macs", 0.5, 0.02)
    planner, journal = scene.space.planner(Criterion.parse("l1_norm")), tmp_path / "journal"
    table = sampler.measure(scene.model, scene.space, planner, scene.calibration, labels=labels, budget=budget)

    def searched(calibration, **options):
        how = eyas.SearchOptions(rungs=RACE, scorer="cross_entropy", tolerance=0.02, **options)
        return eyas.search(
            scene.model, scene.space, {"macs": 0.5}, calibration, scene.scoring, scene.labels,
            sampler=sampler, candidates=12, criterion="l1_norm", seed=1, options=how,
        )  # fmt: skip

    result = searched(scene.calibration, calibration_labels=labels, journal=journal)
    assert np.array_equal(result.candidates.widths, sampler.ask(scene.space, budget, 12, seed=1, table=table))
    assert table.digest in result.candidates.propose.settings
    assert same(before, state(scene.model))
    journal.write_bytes(journal.read_bytes()[: len(journal.read_bytes()) // 2])
    again = searched(scene.calibration, calibration_labels=labels, journal=journal)
    assert columns(again.table) == columns(result.table)
    both = torch.cat([scene.calibration[:158], scene.scoring[:2]])
    with pytest.raises(DataError, match="2 of `calibration_images` .*, and sampler learned_thresholds reads their lab"):
        searched(both, calibration_labels=labels)
    with pytest.raises(DataError, match="sampler learned_thresholds with labels: true has none of the calibration im"):
        searched(scene.calibration)
    with pytest.raises(DataError, match="learned_thresholds trains on calibration images, and has none: give some, or"):
        searched(None)


@pytest.mark.parametrize("labels", [True, False])
def test_left_alone_it_evolves_refitted_candidates_by_their_features(scene, labels):
    """The same as everything that is the default said aloud."""
    data = (scene.calibration, scene.scoring, scene.labels if labels else None)
    result = eyas.search(scene.model, scene.space, {"macs": 0.5}, *data, candidates=80)
    options = eyas.SearchOptions(rungs=REFITTED_RUNGS, scorer="dense_probe")
    sampler, criterion = Sampler.parse("evolution"), "weight_activation"
    again = eyas.search(
        scene.model, scene.space, {"macs": 0.5}, *data,
        candidates=80, sampler=sampler, criterion=criterion, options=options,
    )  # fmt: skip
    assert columns(result.table) == columns(again.table)
    assert result.scorer == Scorer.parse("dense_probe")
    assert all("steps" in rung for rung in result.table.settings["rungs"])
    assert result.table.score[result.table.winner] > result.table.score[result.candidates.uniform]


@pytest.mark.parametrize(("labels", "ranked_by"), [(True, "cross_entropy"), (False, "dense_kl")])
def test_a_network_without_features_is_ranked_otherwise(scene, labels, ranked_by):
    model = Doubled(scene.model).eval()
    space = eyas.trace(model, (scene.calibration[:2],))
    options = eyas.SearchOptions(rungs=[Rung(images=60)], tolerance=0.05)
    data = (scene.calibration, scene.scoring, scene.labels if labels else None)
    result = eyas.search(model, space, {"macs": 0.5}, *data, candidates=4, options=options)
    assert result.scorer == Scorer.parse(ranked_by)


class Doubled(nn.Module):
    """Its answers are no linear layer's."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return 2 * self.inner(x)


@pytest.mark.parametrize("budget", [{"params": 0.5}, {"activation_bytes": 0.6}, {"macs": 20_000}])
def test_any_limit_can_be_the_budget(scene, budget):
    ((name, value),) = budget.items()
    dense = getattr(scene.space.cost(), name)
    target = value * dense if value <= 1 else value
    assert getattr(run(scene, budget).cost, name) == pytest.approx(target, abs=0.02 * dense)


class PerChannel:
    """Each channel of any group takes as long."""

    dense_ms = 36.0

    def milliseconds(self, widths_nG):
        return widths_nG.sum(1).astype(float)


def test_milliseconds_of_a_model_can_be_the_budget(scene):
    result = run(scene, {"latency": 0.5}, latency=PerChannel())
    assert sum(result.widths.values()) == 18
    assert result.binding == "latency_ms"


def test_of_several_limits_the_winner_keeps_all_and_meets_one(scene):
    result = run(scene, {"macs": 0.4, "params": 0.5, "latency_ms": 36.5}, latency=PerChannel())
    dense = scene.space.cost()
    shares = {name: getattr(result.cost, name) / getattr(dense, name) for name in ("macs", "params")}
    assert shares["macs"] <= 0.42
    assert shares["params"] <= 0.52
    assert shares[result.binding] >= {"macs": 0.38, "params": 0.48}[result.binding]


def test_training_images_may_be_an_argument_or_an_option(scene):
    training, images = (
        (scene.scoring[80:], scene.labels[80:]),
        (scene.calibration, scene.scoring[:80], scene.labels[:80]),
    )
    options = eyas.SearchOptions(rungs=[Rung(steps=2, batch_size=32)], tolerance=0.02)
    how = {"candidates": 4, "sampler": "budget"}
    one = eyas.search(scene.model, scene.space, {"macs": 0.5}, *images, training=training, options=options, **how)
    options = dataclasses.replace(options, training=training)
    other = eyas.search(scene.model, scene.space, {"macs": 0.5}, *images, options=options, **how)
    assert columns(one.table) == columns(other.table)
    with pytest.raises(ParameterError, match="training images are given twice"):
        eyas.search(scene.model, scene.space, {"macs": 0.5}, *images, training=training, options=options, **how)


def test_the_dense_network_stays_as_it_is(scene):
    before, modes = state(scene.model), [module.training for module in scene.model.modules()]
    small = run(scene).build()
    with torch.no_grad():
        for weight in small.parameters():
            weight.add_(1)
    assert same(before, state(scene.model))
    assert modes == [module.training for module in scene.model.modules()]


def test_without_a_refit_it_is_the_slice_with_the_statistics_of_the_last_rung(scene, monkeypatch):
    seen, launch = {}, Engine.launch

    def spy(self, plan, rung, batch_size):
        wait = launch(self, plan, rung, batch_size)
        seen[plan.to_json(), rung.mode] = {name: value.clone() for name, value in self._slice.shell.named_buffers()}
        return wait

    monkeypatch.setattr(Engine, "launch", spy)
    result = run(scene, seed=2, batch_size=48)
    small = result.build(refit=False)
    sliced = eyas.prune(scene.model, scene.space, result.plan)
    assert same(dict(sliced.named_parameters()), dict(small.named_parameters()))
    judged = seen[result.plan.to_json(), "held_out"]
    for name, statistics in small.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            torch.testing.assert_close(statistics, judged[name], rtol=1e-5, atol=1e-6)
    assert not small.training


def loss(scene, model, labels):
    """Cross-entropy on the scoring images; without labels, divergence from the dense network's answers."""
    with torch.no_grad():
        logits, dense = model.eval()(scene.scoring), scene.model.eval()(scene.scoring)
    if labels:
        return float(functional.cross_entropy(logits, scene.labels))
    return float(functional.kl_div(logits.log_softmax(1), dense.log_softmax(1), log_target=True, reduction="batchmean"))


@pytest.mark.parametrize("labels", [True, False])
def test_a_refit_is_kept_where_the_held_out_loss_does_not_rise(scene, labels):
    """Against the better of two networks that are made by hand."""
    kept = []
    for share in (0.25, 0.4, 0.6):
        result = run(scene, {"macs": share}, labels=labels, tolerance=0.05)
        plain, refitted = (eyas.prune(scene.model, scene.space, result.plan) for _ in range(2))
        eyas.refit(scene.model, refitted, scene.space, result.plan, scene.calibration)
        for network in (plain, refitted):
            eyas.recalibrate(network, scene.calibration, num_images=160)
        kept.append(loss(scene, refitted, labels) <= loss(scene, plain, labels))
        assert same(state(result.build()), state(refitted if kept[-1] else plain))
        assert same(state(result.build("least_squares")), state(result.build()))
    assert any(kept)


@pytest.mark.parametrize("labels", [True, False])
def test_a_refit_that_harms_is_not_kept(scene, monkeypatch, labels):
    result = run(scene, labels=labels)
    plain = state(result.build(refit=False))

    def harmful(dense, small, space, plan, images, *, recovery):
        small.head.weight.data.mul_(-3)
        return RefitReport()

    monkeypatch.setattr("eyas.recovery.prune_and_refit.refit", harmful)
    assert same(plain, state(result.build()))


@pytest.mark.parametrize("scorer", ["dense_kl", "dense_mse", "dense_probe"])
def test_labels_decide_nothing_where_the_scorer_needs_none(scene, scorer):
    shuffled = copy.copy(scene.__dict__) | {"labels": scene.labels.flip(0)}
    other = type(scene)(**shuffled)
    one, two, none = run(scene, scorer=scorer), run(other, scorer=scorer), run(scene, scorer=scorer, labels=False)
    assert not np.array_equal(one.table.accuracy, two.table.accuracy)
    assert one.plan == two.plan == none.plan
    assert same(state(one.build()), state(two.build()))
    assert same(state(one.build()), state(none.build()))


def test_it_ranks_by_the_dense_networks_answers_without_labels(scene):
    assert run(scene, labels=False).table.settings["scorer"] == {"kind": "dense_kl"}
    assert run(scene).table.settings["scorer"] == {"kind": "cross_entropy"}


@pytest.mark.parametrize("kind", ["tuple", "dict"])
def test_of_several_outputs_the_chosen_one_is_searched_and_built(scene, kind):
    model = Several(scene.model, kind).eval()
    space = eyas.trace(model, (scene.scoring[:2],))
    wrapped = type(scene)(**scene.__dict__ | {"model": model, "space": space})
    chosen, single = run(wrapped, output={"tuple": 0, "dict": "logits"}[kind]), run(scene)
    assert list(chosen.widths.values()) == list(single.widths.values())
    for one, other in zip(chosen.build().parameters(), single.build().parameters(), strict=True):
        torch.testing.assert_close(one, other)


def test_a_fused_race_needs_no_calibration_images(scene):
    options = eyas.SearchOptions(rungs=[Rung(images=240)], tolerance=0.02)
    result = eyas.search(
        scene.model, scene.space, {"macs": 0.5}, None, scene.scoring, scene.labels, candidates=6, options=options
    )
    small = result.build(refit=False)
    with torch.no_grad():
        outputs = functional.conv2d(scene.scoring, small.conv1.weight, small.conv1.bias, padding=1)
    torch.testing.assert_close(small.norm1.running_mean, outputs.mean((0, 2, 3)), rtol=1e-4, atol=1e-5)


def test_a_network_without_batch_norm_is_built_too():
    scene = make_scene(nn.Identity, candidates=4)
    result = run(scene, candidates=6, tolerance=0.2)
    assert loss(scene, result.build(), labels=True) <= loss(scene, result.build(refit=False), labels=True) + 1e-6


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"candidates": 0}, ParameterError, "`candidates` 0"),
        ({"candidates": True}, ParameterError, "`candidates` True"),
        ({"candidates": 2.5}, ParameterError, "`candidates` 2.5"),
        ({"seed": -1}, ParameterError, "`seed` -1"),
        ({"device": "tpu"}, ParameterError, "`device` 'tpu'"),
        ({"criterion": "l3_norm"}, ParameterError, "l1_norm"),
        ({"sampler": "nobody"}, ParameterError, "available: budget"),
        ({"budget": {"flops": 0.5}}, ParameterError, "activation_bytes"),
        (
            {"budget": {"latency": 0.5}},
            ParameterError,
            "which nothing predicts: give `latency`",
        ),
        ({"budget": 0.5}, ParameterError, "`budget` 0.5: give limits such as"),
        ({"budget": {"macs": -1}}, ParameterError, "`budget` .*share of the dense cost"),
        ({"budget": {"macs": "half"}}, ParameterError, "`budget` .*share of the dense cost"),
        ({"budget": {"macs": float("nan")}}, ParameterError, "`budget` .*share of the dense cost"),
        ({"budget": {"macs": 1e-9}, "tolerance": 1e-6}, BudgetError, "reachable is"),
        ({"scorer": "top2"}, ParameterError, "top1"),
    ],
)
def test_what_makes_no_sense_is_refused_in_words(scene, change, error, words):
    with pytest.raises(error, match=words):
        run(scene, **change)


def test_images_that_are_none_are_refused(scene):
    with pytest.raises(DataError, match="`scoring_images`"):
        eyas.search(scene.model, scene.space, {"macs": 0.5}, scene.calibration, "images")
    with pytest.raises(DataError, match="`calibration_images`"):
        eyas.search(scene.model, scene.space, {"macs": 0.5}, ["a"], scene.scoring)


@pytest.mark.parametrize("criterion", ["l1_norm", "weight_activation"])
@pytest.mark.parametrize("spoil", [lambda images: (images * 9).to(torch.uint8), lambda images: images / 0])
def test_images_that_are_not_normalised_are_refused(scene, spoil, criterion):
    for name in ("calibration", "scoring"):
        spoilt = type(scene)(**scene.__dict__ | {name: spoil(getattr(scene, name))})
        with pytest.raises(DataError, match=f"`{name}_images`"):
            run(spoilt, criterion=criterion)


@pytest.mark.parametrize("criterion", ["l1_norm", "weight_activation"])
@pytest.mark.parametrize("kind", [torch.float64, np.float64])
def test_images_and_labels_are_taken_as_they_come(scene, kind, criterion):
    """In another precision, or as arrays: the same winner and the same network."""
    double = {name: getattr(scene, name).double() for name in ("calibration", "scoring")} | {"labels": scene.labels}
    if kind is np.float64:
        double = {name: tensor.numpy() for name, tensor in double.items()}
    result, expected = run(type(scene)(**scene.__dict__ | double), criterion=criterion), run(scene, criterion=criterion)
    assert result.plan == expected.plan
    assert same(state(result.build()), state(expected.build()))


def test_an_unknown_recovery_is_refused(scene):
    with pytest.raises(ParameterError, match="least_squares"):
        run(scene).build("nobody")


def spied(sampler, asked):
    """The sampler, which notes what it is told."""
    ask = type(sampler).ask

    class Spy(type(sampler)):
        def ask(self, *arguments, **named):
            asked.append(named.get("history"))
            return ask(self, *arguments, **named)

    Sampler.registry.pop("narrowing", None)
    return Spy(**sampler.model_dump())


@pytest.fixture(autouse=True)
def _no_member_is_left():
    yield
    Sampler.registry.pop("narrowing", None)


def test_a_sampler_that_learns_is_told_the_scores_of_the_first_rung_and_asked_again(scene):
    asked = []
    result = run(scene, sampler=spied(FOUR, asked))
    assert [0 if history is None else len(history) for history in asked] == [0, 9, 14, 19]
    assert len(result.table) == len(result.candidates) == 24
    assert len(np.unique(result.candidates.widths, axis=0)) == 24
    for history in asked[1:]:
        count = len(history)
        planner = scene.space.planner(Criterion.parse("weight_activation"), data=scene.calibration)
        alone = scene.score(WidthPlans(result.candidates.widths[:count], planner), rungs=RACE[:1])
        assert np.array_equal(history.widths, result.candidates.widths[:count])
        assert np.array_equal(history.scores, alone.score)
        nearest = np.abs(result.candidates.widths[count] - history.best(1)).sum()
        assert nearest <= np.abs(result.candidates.widths[count + 1] - history.best(1)).sum()


def test_all_generations_climb_the_further_rungs_together(scene):
    """What a race of all candidates at once, known before, comes to."""
    result = run(scene, sampler=FOUR)
    planner = scene.space.planner(Criterion.parse("weight_activation"), data=scene.calibration)
    at_once = scene.score(WidthPlans(result.candidates.widths, planner), rungs=RACE)
    assert columns(result.table) == columns(at_once)
    assert result.table.diagnostics["entered"] == [24, 12, 4]


@pytest.mark.parametrize("sampler", ["budget", Narrowing(first=24)], ids=["budget", "one generation"])
def test_a_sampler_that_has_proposed_all_is_not_asked_again(scene, sampler):
    asked = []
    run(scene, sampler=spied(Sampler.parse(sampler), asked) if sampler != "budget" else sampler)
    assert asked in ([], [None])


def test_a_generation_without_candidates_ends_the_search(scene):
    class Giving(Narrowing):
        def ask(self, *arguments, **named):
            widths = super().ask(*arguments, **named)
            return widths if named.get("history") is None else widths[:0]

    assert len(run(scene, sampler=Giving(first=9)).table) == 9


@pytest.mark.parametrize("sampler", [TWO, FOUR], ids=["two", "four"])
def test_cut_anywhere_it_ends_with_the_identical_table(scene, sampler, tmp_path, monkeypatch):
    path = tmp_path / "journal"
    expected = run(scene, sampler=sampler, journal=path)
    assert columns(expected.table) == columns(run(scene, sampler=sampler).table)
    uniform_anew = expected.table.diagnostics["uniform"]["rung"] < 2  # measured once more, beside the winner
    whole, launch, launched = path.read_bytes(), Engine.launch, []
    monkeypatch.setattr(Engine, "launch", lambda self, *a: launched.append(1) or launch(self, *a))
    for cut in np.random.default_rng(1).integers(0, len(whole), 12):
        path.write_bytes(whole[:cut])
        launched.clear()
        again = run(scene, sampler=sampler, journal=path)
        assert columns(again.table) == columns(expected.table)
        assert np.array_equal(again.candidates.widths, expected.candidates.widths)
        assert len(launched) == 24 + 12 + 4 + uniform_anew - max(whole[:cut].count(b"\n") - 1, 0)
        assert path.read_bytes() == whole


def test_killed_at_random_moments_it_ends_with_the_identical_table(scene, tmp_path):
    start = time.perf_counter()
    expected = columns(run(scene, sampler=FOUR).table)
    whole, killed = time.perf_counter() - start, 0
    for number, moment in enumerate(np.random.default_rng(7).uniform(0.05, 1, 8) * whole):
        path = tmp_path / f"{number}"
        child = os.fork()
        if not child:
            try:
                run(scene, sampler=FOUR, journal=path)
            finally:
                os._exit(0)
        time.sleep(float(moment))
        os.kill(child, signal.SIGKILL)
        killed += os.WIFSIGNALED(os.waitpid(child, 0)[1])
        assert columns(run(scene, sampler=FOUR, journal=path).table) == expected
    assert killed >= 3


@pytest.mark.parametrize("change", [{"first": 11}, {"later": 7}, {"floor": 0.1}])
def test_other_settings_of_the_sampler_are_another_race(scene, tmp_path, change):
    run(scene, sampler=TWO, journal=tmp_path / "j")
    other = TWO.model_copy(update=change)
    went_on = run(scene, sampler=other, journal=tmp_path / "j")
    fresh = run(scene, sampler=other)
    assert columns(went_on.table) == columns(fresh.table)
    assert np.array_equal(went_on.candidates.widths, fresh.candidates.widths)


def test_two_workers_find_the_same(scene):
    one = run(scene, sampler=TWO, threads=1)
    two = run(scene, sampler=TWO, workers=2, threads=1)
    assert columns(one.table) == columns(two.table)
    assert one.plan == two.plan


@pytest.mark.parametrize("ends_at", [3, 15, 30])
def test_out_of_memory_begins_with_the_first_generation_again(scene, monkeypatch, tmp_path, ends_at):
    expected = run(scene, sampler=TWO, batch_size=32)
    launch, launched = Engine.launch, []

    def small_device(self, plan, rung, batch_size):
        launched.append(1)
        if batch_size > 40 and len(launched) > ends_at:
            raise MemoryError
        return launch(self, plan, rung, batch_size)

    monkeypatch.setattr(Engine, "launch", small_device)
    result = run(scene, sampler=TWO, batch_size=64, journal=tmp_path / "j")
    assert columns(result.table) == columns(expected.table)
    assert result.table.settings["batch_size"] == 32


def test_the_result_says_how_the_winner_stands_beside_uniform_widths(scene):
    result = run(scene, seed=3)
    row = result.table.diagnostics["uniform"]
    assert (row["candidate"], row["rank"]) == (0, result.table.rank[0])
    last = result.table.settings["rungs"][-1]
    measured = []
    for plan in (result.plan, result.uniform):
        table = scene.score([plan], rungs=[last], seed=3)
        measured.append((table.score[0], table.standard_error[0]))
    assert row["lead"] == pytest.approx(measured[0][0] - measured[1][0], abs=1e-6)
    assert 0 < row["lead_error"] < measured[0][1] + measured[1][1]
    assert result.diagnosis[0] == prediction(row)


def test_without_labels_nothing_is_known_of_chance(scene):
    result = run(scene, labels=False)
    assert "at_chance" not in result.table.diagnostics
    assert "uniform widths" in result.diagnosis[0]
    first = run(scene, rungs=RACE[:1]).table  # every candidate at the rung that is looked at
    classes, images = int(scene.labels.max()) + 1, RACE[0].images
    limit = 1 / classes + 3 * (1 / classes * (1 - 1 / classes) / images) ** 0.5
    assert run(scene).table.diagnostics["at_chance"] == np.mean(first.accuracy < limit)


def test_the_uniform_candidate_is_known_after_several_generations(scene):
    result = run(scene, sampler=FOUR)
    assert result.table.diagnostics["uniform"]["candidate"] == 0
    assert list(result.uniform.widths.values()) == result.candidates.widths[0].tolist()


def test_uniform_widths_that_were_not_drawn_are_not_predicted(scene):
    class Uneven(BudgetSampler):
        kind: Literal["uneven"] = "uneven"

        def ask(self, space, budget, count, *, seed, history=None):
            return super().ask(space, budget, count + 1, seed=seed, history=history)[1:]

    del Sampler.registry["uneven"]
    result = run(scene, sampler=Uneven())
    assert result.uniform is not None
    assert result.diagnosis[0].startswith("uniform widths were not raced")


def test_images_of_another_shape_are_refused_before_anything_runs(scene):
    few, grey = scene.scoring[:, :, :5], scene.calibration[:, :1].repeat(1, 2, 1, 1)
    with pytest.raises(DataError, match="`calibration_images` have shape .* `scoring_images` .*: prepare both alike"):
        run(replace(scene, calibration=scene.calibration[:, :, :5]))
    with pytest.raises(DataError, match="`calibration_images` have shape"):
        run(replace(scene, scoring=few))
    with pytest.raises(DataError, match="fails on 2 scoring images of shape .*channels first"):
        run(replace(scene, calibration=grey, scoring=grey, labels=scene.labels[:1].repeat(len(grey))))


def test_numpy_numbers_are_numbers(scene):
    plain, theirs = run(scene, candidates=4, seed=3), run(scene, candidates=np.int64(4), seed=np.int64(3))
    assert columns(plain.table) == columns(theirs.table)


def test_images_that_calibrate_and_score_are_told(scene, caplog):
    both = replace(scene, calibration=scene.scoring)
    told = f"{len(scene.scoring)} of {len(scene.scoring)} scoring images are calibration images, too"
    result = run(both, candidates=4, rungs=None)
    assert any(told in warning for warning in result.table.warnings)
    assert told in caplog.text
    assert not any(
        "calibration images, too" in warning for warning in run(scene, candidates=4, rungs=None).table.warnings
    )
