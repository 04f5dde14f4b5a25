"""What eyas.score refuses, and what it warns of."""

import copy
import logging

import numpy as np
import pytest
import torch
from torch import nn

import eyas
from eyas.errors import DataError, EyasError, ParameterError, PlanError
from tests.scoring.conftest import FUSED, HELD_OUT, RACE
from tests.scoring.networks import images


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
