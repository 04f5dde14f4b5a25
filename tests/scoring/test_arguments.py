"""What is refused before the race begins, and in which words."""

import os

import numpy as np
import pytest
import torch
from torch import nn

import eyas
from eyas.errors import DataError, ParameterError
from eyas.parallel import cores
from eyas.scoring import Rung, ScoreOptions
from tests.scoring.conftest import FUSED, HELD_OUT, arguments
from tests.scoring.networks import Net, Several, images


def score(scene, change, **options):
    """Score with some of the inputs exchanged."""
    inputs = {"calibration": scene.calibration, "scoring": scene.scoring, "labels": scene.labels, **change}
    return eyas.score(
        scene.model, scene.space, scene.plans[:4], *inputs.values(), **arguments(**{"rungs": HELD_OUT, **options})
    )


def out_of_range(labels, value):
    return torch.cat([labels[:-1], torch.tensor([value])])


@pytest.mark.parametrize("scorer", ["cross_entropy", "top1", "dense_probe", "dense_kl"])
@pytest.mark.parametrize("value", [-100, -1, 5])
def test_labels_outside_of_the_classes_are_refused(scene, value, scorer):
    words = rf"scoring_labels.* {value}\b.*5 classes.*0 to 4"
    with pytest.raises(DataError, match=words):
        score(scene, {"labels": out_of_range(scene.labels, value)}, scorer=scorer)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda labels: labels[:, None], r"shape \(240, 1\).*\(240,\)"),
        (lambda labels: nn.functional.one_hot(labels, 5), r"shape \(240, 5\).*argmax"),
        (lambda labels: labels.float(), "one integer each"),
        (lambda labels: labels[0], "one integer each"),
        (lambda labels: [str(int(label)) for label in labels], "one integer each"),
    ],
    ids=["column", "one-hot", "float", "scalar", "words"],
)
def test_labels_of_another_form_are_refused(scene, make, words):
    with pytest.raises(DataError, match=words):
        score(scene, {"labels": make(scene.labels)})


class PerPixel(nn.Module):
    """One answer per pixel."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(3, 6, 1), nn.BatchNorm2d(6), nn.Conv2d(6, 5, 1)

    def forward(self, x):
        return self.head(self.norm(self.conv(x)).relu())


def test_labels_per_pixel_have_the_form_of_the_answers():
    model = PerPixel().eval()
    space = eyas.trace(model, (images(2, 0),))
    inputs = (model, space, [space.plan([3])], images(8, 1), images(8, 2))
    labels = torch.arange(8 * 64).reshape(8, 8, 8) % 5
    assert np.isfinite(eyas.score(*inputs, labels, rungs=[Rung(images=8)]).score[0])
    with pytest.raises(DataError, match=r"shape \(8,\).*\(8, 8, 8\)"):
        eyas.score(*inputs, labels[:, 0, 0], rungs=[Rung(images=8)])
    with pytest.raises(DataError, match=r"cross_entropy, or dense_kl"):
        eyas.score(*inputs, labels, rungs=[Rung(images=8)], scorer="dense_probe")


class Numbers(Net):
    """One number per image."""

    def forward(self, x):
        return super().forward(x)[:, 0]


def test_one_number_per_image_cannot_be_scored(scene):
    model = Numbers().eval()
    space = eyas.trace(model, (images(2, 0),))
    with pytest.raises(DataError, match=r"outputs of shape \(2,\) for 2 images.*\(N, K\)"):
        eyas.score(model, space, [space.plan()], scene.calibration, scene.scoring, scene.labels, rungs=FUSED)


def test_images_the_network_cannot_take_are_refused(scene):
    with pytest.raises(DataError, match=r"2 scoring images of shape \(8, 8, 3\).*\(C, H, W\)"):
        score(scene, {name: getattr(scene, name).permute(0, 2, 3, 1) for name in ("calibration", "scoring")})


def test_calibration_images_have_the_shape_of_the_scoring_images(scene):
    with pytest.raises(DataError, match=r"`calibration_images` have shape \(4, 8, 8\).*\(3, 8, 8\)"):
        score(scene, {"calibration": torch.zeros(160, 4, 8, 8)}, rungs=FUSED)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_images_take_the_dtype_of_the_weights(scene, dtype):
    change = {name: getattr(scene, name).to(dtype) for name in ("calibration", "scoring")}
    assert np.array_equal(score(scene, change).score, score(scene, {}).score)


def test_a_network_in_double_precision_is_scored_in_it(scene):
    model = Net().eval().double()
    space = eyas.trace(model, (images(2, 0).double(),))
    inputs = (scene.calibration, scene.scoring, scene.labels)
    table = eyas.score(model, space, [space.plan()], *inputs, rungs=FUSED)
    assert table.settings["precision"] == "float64"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"device": "gpu"}, "'gpu'.*cpu, cuda"),
        ({"device": "mps"}, "'mps'.*cpu, cuda"),
        ({"device": "meta"}, "'meta'.*cpu, cuda"),
        ({"batch_size": 64.5}, "`batch_size` 64.5"),
        ({"workers": 1.5}, "`workers` 1.5"),
        ({"threads": 0}, "`threads` 0"),
        ({"threads": -1}, "`threads` -1"),
        ({"stop_margin": float("nan")}, "`stop_margin` nan"),
        ({"stop_margin": 0.0}, "`stop_margin` 0.0"),
        ({"rungs": [{"images": 60, "keep": float("inf")}, *HELD_OUT]}, "keep"),
    ],
)
def test_settings_that_make_no_sense_are_refused(scene, options, words):
    with pytest.raises(ParameterError, match=words):
        score(scene, {}, **options)


def test_a_gpu_that_is_not_there_is_refused(scene, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ParameterError, match="'cuda:7'.*2 CUDA devices"):
        score(scene, {}, device="cuda:7")


@pytest.mark.parametrize(("kind", "choice"), [("tuple", -5), ("tuple", 2), ("tuple", "logits"), ("dict", 0)])
def test_an_output_that_is_not_there_is_refused(scene, kind, choice):
    model = Several(scene.model, kind)
    space = eyas.trace(model, (images(2, 0),))
    with pytest.raises(DataError, match="is no tensor there"):
        eyas.score(
            model,
            space,
            [space.plan()],
            scene.calibration,
            scene.scoring,
            rungs=FUSED,
            options=ScoreOptions(output=choice),
        )


@pytest.mark.parametrize("choice", [3, "logits"])
def test_a_choice_among_one_output_is_refused(scene, choice):
    with pytest.raises(DataError, match=rf"one tensor.*`output` {choice!r}.*leave `output` out"):
        score(scene, {}, output=choice)


def test_the_last_output_can_be_counted_from_the_end(scene):
    model = Several(scene.model, "tuple")
    space = eyas.trace(model, (images(2, 0),))
    inputs = (model, space, [space.plan([5, 5])], scene.calibration, scene.scoring, scene.labels)
    one, other = (eyas.score(*inputs, rungs=FUSED, options=ScoreOptions(output=choice)) for choice in (-1, 1))
    assert one.score[0] == other.score[0]


def test_finalists_of_several_rungs_are_decided_held_out(scene):
    fused = [Rung(images=60, keep=2), Rung(images=240)]
    with pytest.raises(ParameterError, match="last of 2 rungs is fused.*held_out"):
        score(scene, {}, rungs=fused)
    alone = score(scene, {}, rungs=FUSED)
    assert any("the last rung is fused" in warning for warning in alone.warnings)
    nothing = score(scene, {"calibration": scene.calibration[:0]}, rungs=fused)
    assert any("the last rung is fused" in warning for warning in nothing.warnings)


def test_settings_name_all_that_scores_depend_on(scene):
    settings = score(scene, {}, stop_margin=2.5).settings
    assert (settings["output"], settings["stop_margin"], settings["precision"]) == (None, 2.5, "float32")


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("two_threads")
def test_one_worker_of_one_thread_computes_what_two_such_workers_do(scene):
    seen = []
    options = {"scorer": "dense_kl", "threads": 1}
    alone = score(scene, {}, **options, progress=lambda *_: seen.append(torch.get_num_threads()))
    assert set(seen) == {1}
    assert torch.get_num_threads() == 2
    both = score(scene, {}, **options, workers=2)
    assert alone.score.tobytes() == both.score.tobytes()
    assert alone.standard_error.tobytes() == both.standard_error.tobytes()


@pytest.mark.usefixtures("two_threads")
def test_threads_come_back_after_a_failure(scene, monkeypatch):
    monkeypatch.setattr("eyas.scoring.engine.Engine.launch", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        score(scene, {}, threads=1)
    assert torch.get_num_threads() == 2


@pytest.mark.usefixtures("two_threads")
def test_without_a_wish_one_worker_keeps_torchs_threads(scene):
    seen = []
    score(scene, {}, progress=lambda *_: seen.append(torch.get_num_threads()))
    assert set(seen) == {2}


def test_cores_are_those_the_process_may_use(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3, 5, 7}, raising=False)
    assert cores() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    assert cores() == 64
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert cores() == 1
