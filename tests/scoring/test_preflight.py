"""What eyas.score refuses, and what it warns of."""

import copy
import logging

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

import eyas
from eyas.errors import DataError, EyasError, ParameterError, PlanError
from eyas.scoring import Rung
from tests.scoring.conftest import FUSED, HELD_OUT, RACE, arguments
from tests.scoring.networks import images


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"plans": []}, PlanError, "no plans"),
        ({"calibration": images(0, 0)}, DataError, "0 calibration images"),
        ({"scoring": images(1, 0), "labels": torch.zeros(1, dtype=torch.long)}, DataError, "1 scoring images"),
        ({"labels": torch.zeros(7, dtype=torch.long)}, DataError, "7 `scoring_labels`"),
        ({"labels": torch.zeros(240)}, DataError, "one integer each"),
        ({"scoring": torch.zeros(240, 3, 8, 8, dtype=torch.uint8)}, DataError, "normalised floats"),
        ({"calibration": images(160, 0) * float("nan")}, DataError, "not finite"),
        ({"labels": None, "scorer": "top1"}, DataError, "top1 needs labels"),
        ({"rungs": []}, ParameterError, "at least one"),
        ({"rungs": [{"images": 1}]}, ParameterError, "images"),
        ({"workers": 0}, ParameterError, "`workers` 0: give a whole number from 1"),
        ({"batch_size": 128.0}, ParameterError, "`batch_size` 128.0: give a whole number from 2"),
        ({"device": "cuda"}, ParameterError, "finds no CUDA device"),
        ({"seed": 2**70}, ParameterError, "`seed` .*: give a whole number"),
        ({"stop_margin": "4"}, ParameterError, "`stop_margin` '4'"),
        ({"rungs": {"images": 60}}, ParameterError, "give a list of rungs"),
        ({"rungs": [{"images": 60, "keep": 1.0}, *HELD_OUT]}, ParameterError, "share below 1 or a whole number"),
        ({"rungs": [{"images": 60, "calibration_images": 9}]}, ParameterError, "leave calibration_images out"),
        ({"scorer": {"kind": "dense_probe", "ridge": -1}}, ParameterError, "ridge: Input should be greater than 0"),
        ({"calibrator": {"kind": "pooled", "typo": 1}}, ParameterError, "typo: no such parameter; pooled knows kind"),
        ({"calibration": None}, DataError, "0 calibration images.*one fused rung"),
        ({"scoring": [images(1, 0)[0]]}, DataError, "torch.stack"),
        ({"scoring": DataLoader(images(8, 0))}, DataError, "torch.cat"),
        ({"scoring": 3.0}, DataError, "give one tensor"),
        ({"plans": np.ones((4, 2), int)}, PlanError, "WidthPlans"),
        ({"plans": [[5, 5]]}, PlanError, r"`plans`\[0\] is a list: make it a plan with space.plan"),
        ({"calibrator": "magic"}, ParameterError, "available: cumulative, image_weighted, .*pooled"),
    ],
)
def test_bad_input_is_refused_in_words(scene, change, error, words, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    inputs = {"plans": scene.plans, "calibration": scene.calibration, "scoring": scene.scoring, "labels": scene.labels}
    options = {"rungs": HELD_OUT, **{name: value for name, value in change.items() if name not in inputs}}
    inputs.update({name: value for name, value in change.items() if name in inputs})
    with pytest.raises(error, match=words):
        eyas.score(scene.model, scene.space, *inputs.values(), **arguments(**options))


@pytest.mark.parametrize(("taken", "count"), [(lambda x: x, 240), (lambda x: x.flip(0), 240), (lambda x: x[:100], 100)])
def test_images_of_both_sets_are_counted(scene, caplog, taken, count):
    with caplog.at_level(logging.WARNING):
        table = eyas.score(
            scene.model, scene.space, scene.plans[:2], taken(scene.scoring), scene.scoring, scene.labels, rungs=HELD_OUT
        )
    words = f"{count} of 240 scoring images are calibration images, too"
    assert words in caplog.text
    assert any(words in warning for warning in table.warnings)


def test_labels_in_another_order_of_classes_are_told_by_the_dense_network(scene):
    inputs = (scene.model, scene.space, scene.plans[:4], scene.calibration, scene.scoring)
    table = eyas.score(*inputs, (scene.labels + 1) % 5, rungs=HELD_OUT)
    assert any("no more than chance (20.0%)" in warning for warning in table.warnings)
    sound = eyas.score(*inputs, scene.labels, rungs=HELD_OUT)
    assert not any("chance" in warning for warning in sound.warnings)


def test_a_finalist_that_overflows_ranks_behind_all_that_do_not(scene):
    """One image, which only the last rung sees, overflows in the wide networks alone."""
    model = copy.deepcopy(scene.model)
    with torch.no_grad():
        weakest = int(model.conv2.weight.abs().sum((1, 2, 3)).argmin())
        model.head.weight[0, weakest] = 1e30
    scoring = scene.scoring.clone()
    order = torch.Generator().manual_seed(0)
    torch.randperm(160, generator=order)
    last = torch.randperm(240, generator=order)[-1]
    scoring[last] = 1e12
    plans = [scene.space.plan([10, width]) for width in (14, 4, 6, 14)]
    plans[3] = scene.space.plan([9, 14])
    rungs = [Rung(images=60, keep=3), *HELD_OUT]
    table = eyas.score(model, scene.space, plans, scene.calibration, scoring, scene.labels, rungs=rungs)
    broken = ~np.isfinite(table.score)
    assert broken.any()
    assert table.rank[broken].min() > table.rank[~broken].max()
    assert table.diagnostics["not_finite"] == broken.sum()
    assert any("not finite" in warning for warning in table.warnings)


def test_batch_norms_that_share_statistics_are_named(scene):
    model = copy.deepcopy(scene.model)
    model.again = nn.BatchNorm2d(10)
    for name in ("running_mean", "running_var"):
        setattr(model.again, name, getattr(model.norm1, name))
    space = eyas.trace(model, (images(2, 0),))
    inputs = (scene.calibration, scene.scoring, scene.labels)
    table = eyas.score(model, space, [space.plan(), space.plan([5, 5])], *inputs, rungs=HELD_OUT)
    assert any("2 batch-norm layers share their statistics" in warning for warning in table.warnings)


def test_a_calibrator_without_a_held_out_rung_is_said_to_be_unused(scene):
    table = scene.score(rungs=FUSED, calibrator="cumulative")
    assert any("calibrator cumulative is not used" in warning for warning in table.warnings)


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
    with torch.no_grad():
        dense = float((scene.model(scene.scoring).argmax(1) == scene.labels).float().mean())
    assert fine["original"] == pytest.approx(dense)
    assert fine["deviations"] < 3
