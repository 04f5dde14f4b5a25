"""The stages and ``eyas.search``: the same winner, and the same network, from the same images."""

import json
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

import eyas
from eyas.config import parse_params
from eyas.data import open_dataset
from eyas.networks.saved_network import load_network
from eyas.progress import silent
from eyas.sampling.samplers import Sampler
from eyas.scoring import REFITTED_RUNGS
from eyas.scoring.engine import Engine
from eyas.scoring.scorers import Scorer
from tasks.finetune import finetune
from tasks.sample import sample
from tasks.score import journal_folder, score
from tests.support.learning_sampler import Narrowing
from tests.tasks.conftest import BASELINE

RUNGS = [{"images": 64, "keep": 6}, {"images": 128, "calibration_images": 100, "mode": "held_out"}]
SAMPLERS = [None, Narrowing(first=7, later=5)]


@pytest.fixture
def artifacts(pruned_digits, tmp_path):
    """A workspace with a data set and a dense network."""
    for name in ("fetch", "baseline"):
        shutil.copytree(pruned_digits / name, tmp_path / "artifacts" / name)
    for name in ("sample", "score", "finetune"):
        (tmp_path / "artifacts" / name).mkdir()
    return tmp_path / "artifacts"


def params_of(artifacts, sampler=None, **sections):
    runtime = {"state": str(artifacts.parent / "state"), "device": "cpu", "threads": 1}
    params = parse_params(
        {
            "baseline": BASELINE,
            "sample": {"candidates": 16, "tolerance": 0.01, "seed": 5},
            "score": {"rungs": RUNGS, "seed": 5, "batch_size": 64},
            "finetune": {"epochs": 0, "recovery": "least_squares"},
            "runtime": runtime,
        }
        | sections
    )
    chosen = params.sample if sampler is None else params.sample.model_copy(update={"sampler": sampler})
    return params.model_copy(update={"sample": chosen})


def run(params, artifacts):
    sample(params, artifacts, silent)
    score(params, artifacts, silent)
    finetune(params, artifacts, silent)


def search(params, artifacts):
    """What the library makes of the same images."""
    dense, dataset = load_network(artifacts / "baseline").model, open_dataset(artifacts / "fetch")
    calibration, scoring = (dataset.split(name) for name in ("calibration", "score"))
    space = eyas.trace(dense, (dataset.normalise(scoring.images()[:2]),), round_to="auto")
    rungs, train = params.score.rungs, dataset.split("train")
    count = max(rung.training_images for rung in rungs)
    scorer = params.score.scorer
    labels = train.labels[:count] if scorer is not None and scorer.needs_labels else None
    options = eyas.SearchOptions(
        rungs=rungs, scorer=scorer, tolerance=0.01, batch_size=64, threads=1,
        training=(dataset.normalise(train.images(limit=count)), labels) if count else None,
    )  # fmt: skip
    images = [dataset.normalise(split.images()) for split in (calibration, scoring)]
    how = {"criterion": params.sample.criterion, "sampler": params.sample.sampler, "candidates": 16, "seed": 5}
    return eyas.search(dense, space, {"macs": 0.5}, *images, scoring.labels, options=options, **how)


def check_same(params, artifacts):
    """Plans, scores and weights, bit for bit."""
    result = search(params, artifacts)
    assert (artifacts / "score/plan.json").read_text() == result.plan.to_json()
    table = pq.read_table(artifacts / "score/candidates.parquet")
    assert table["candidate"].to_pylist() == list(range(len(result.table)))
    assert np.array_equal(np.array(table["widths"].to_pylist()), result.candidates.widths)
    for name, column in result.table.columns().items():
        assert np.array_equal(table[name].to_numpy(), column), name
    small, stored = result.build().state_dict(), eyas.load(artifacts / "finetune").state_dict()
    assert small.keys() == stored.keys()
    for name, tensor in stored.items():
        torch.testing.assert_close(small[name], tensor, rtol=1e-5, atol=1e-6)
    return result


@pytest.mark.parametrize("sampler", SAMPLERS, ids=["budget", "generations"])
@pytest.mark.parametrize("scorer", ["cross_entropy", "dense_kl", None])
def test_library_and_stages_find_the_same_network(artifacts, sampler, scorer):
    race = {"rungs": RUNGS, "seed": 5, "batch_size": 64, "scorer": scorer}
    params = params_of(artifacts, sampler, score=race)
    run(params, artifacts)
    result = check_same(params, artifacts)
    assert len(result.table) == 16


@pytest.mark.parametrize("scorer", ["cross_entropy", "dense_kl"])
def test_library_and_stages_train_for_the_same_steps(artifacts, scorer):
    rungs = [RUNGS[0], {"steps": 3, "keep": 2, "images": 128, "batch_size": 32}, {"steps": 6, "images": 128}]
    params = params_of(artifacts, score={"rungs": rungs, "seed": 5, "batch_size": 64, "scorer": scorer})
    run(params, artifacts)
    assert max(check_same(params, artifacts).table.rung) == 2


def test_library_and_stages_have_the_same_defaults(artifacts):
    race = {"seed": 5, "batch_size": 64}
    params = params_of(artifacts, score=race)
    run(params, artifacts)
    result = check_same(params, artifacts)
    assert result.scorer == Scorer.parse("dense_probe")
    assert params.sample.sampler == Sampler.parse("evolution")
    assert params.score.rungs == REFITTED_RUNGS


def test_library_and_stages_rate_channels_by_the_same_images(artifacts):
    drawn = {"candidates": 16, "tolerance": 0.01, "seed": 5, "criterion": "weight_activation"}
    params = params_of(artifacts, sample=drawn)
    run(params, artifacts)
    check_same(params, artifacts)


def test_sample_draws_the_first_generation_and_score_the_others(artifacts):
    params = params_of(artifacts, Narrowing(first=7, later=5))
    assert sample(params, artifacts, silent)["candidates"] == 7
    assert score(params, artifacts, silent)["candidates"] == 16
    rows = pq.read_table(artifacts / "score/candidates.parquet")
    first = pq.read_table(artifacts / "sample/candidates.parquet")
    assert rows.select(first.column_names).slice(0, 7) == first
    space = eyas.trace(load_network(artifacts / "baseline").model, (torch.zeros(2, 1, 8, 8),))
    costs = space.costs(np.array(rows["widths"].to_pylist()))
    assert all(np.array_equal(rows[name].to_numpy(), getattr(costs, name)) for name in ("macs", "params"))


@pytest.mark.parametrize("ends_at", [4, 10, 15, 18, 23])
def test_interrupted_in_any_generation_it_goes_on_and_ends_alike(artifacts, monkeypatch, ends_at):
    params = params_of(artifacts, Narrowing(first=7, later=5))
    run(params, artifacts)
    expected = {path.name: path.read_bytes() for path in (artifacts / "score").iterdir()}
    launch, launched = Engine.launch, []

    def interrupted(self, *task):
        launched.append(1)
        if len(launched) == ends_at:
            raise KeyboardInterrupt
        return launch(self, *task)

    monkeypatch.setattr(Engine, "launch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        score(params, artifacts, silent)
    assert journal_folder(params, artifacts).exists()
    score(params, artifacts, silent)
    row = json.loads(expected["diagnostics.json"])["uniform"]
    uniform = row["rung"] == 0  # it left early, and is measured once more on the last rung
    assert len(launched) == ends_at + 16 + 6 + uniform - (ends_at - 1)
    assert {path.name: path.read_bytes() for path in (artifacts / "score").iterdir()} == expected


@pytest.mark.parametrize("change", [{"first": 6}, {"later": 3}])
def test_other_generations_have_another_journal(artifacts, change):
    one = params_of(artifacts, Narrowing(first=7, later=5))
    sample(one, artifacts, silent)
    other = params_of(artifacts, one.sample.sampler.model_copy(update=change))
    assert journal_folder(one, artifacts) != journal_folder(other, artifacts)


def shuffle_labels(monkeypatch):
    """Every split but the test's has the labels of other images from now on."""
    from eyas.data.dataset import Dataset

    split = Dataset.split

    def shuffled(self, name):
        part = split(self, name)
        other = object.__new__(type(part))
        other.__dict__ = part.__dict__ | {"_labels": part.labels if name == "test" else part.labels.roll(7)}
        return other

    monkeypatch.setattr(Dataset, "split", shuffled)


@pytest.mark.parametrize("scorer", ["dense_kl", "dense_mse", "dense_probe"])
def test_without_training_labels_decide_nothing(artifacts, monkeypatch, scorer):
    race = {"rungs": RUNGS, "seed": 5, "batch_size": 64, "scorer": scorer}
    params = params_of(artifacts, score=race)
    outcomes = []
    for labels in ("right", "wrong"):
        if labels == "wrong":
            shuffle_labels(monkeypatch)
        run(params, artifacts)
        accuracy = pq.read_table(artifacts / "score/candidates.parquet")["accuracy"].to_pylist()
        names = ("score/plan.json", "finetune/model.safetensors", "finetune/plan.json")
        outcomes.append((accuracy, [(artifacts / name).read_bytes() for name in names]))
    assert outcomes[0][0] != outcomes[1][0]
    assert outcomes[0][1] == outcomes[1][1]
