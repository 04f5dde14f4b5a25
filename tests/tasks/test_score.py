"""The score stage from digits to the winner's plan."""

import csv
import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import eyas
from eyas.config import PipelineParams, RuntimeParams
from eyas.config.stages import ScoreParams
from eyas.data import open_dataset
from eyas.errors import DataError
from eyas.networks.saved_network import Network, load_network, save_network
from eyas.progress import silent
from eyas.pruning.calibration_set import CalibrationSet
from eyas.pruning.criteria import Criterion
from eyas.sampling.budget import Budget
from eyas.sampling.error_table import ErrorTable, measure_errors
from eyas.sampling.generations import Generations
from eyas.sampling.samplers import Sampler
from eyas.scoring.engine import Engine
from models import build
from tasks.fetch import fetch
from tasks.sample import sample
from tasks.score import journal_folder, score
from tasks.stage import write_json

FILES = ("candidates.parquet", "plan.json", "scores.csv", "widths.csv", "diagnostics.json")


@pytest.fixture(scope="module")
def params(tmp_path_factory):
    return PipelineParams.model_validate(
        {
            "fetch": {"image_size": 8, "mean": [0.3], "std": [0.37]},
            "baseline": {"architecture": "resnet8", "arguments": {"width": 8, "in_channels": 1}},
            "sample": {"candidates": 12, "tolerance": 0.01},
            "score": {"rungs": [{"images": 64, "keep": 4}, {"images": 128, "mode": "held_out"}], "batch_size": 64},
            "runtime": {"state": str(tmp_path_factory.mktemp("state")), "device": "cpu", "threads": 1},
        }
    )


@pytest.fixture(scope="module")
def artifacts(params, tmp_path_factory):
    folder = tmp_path_factory.mktemp("artifacts")
    for name in ("fetch", "sample", "score"):
        (folder / name).mkdir()
    fetch(params, folder, silent)
    arguments = {"name": "resnet8", "num_classes": 10, "width": 8, "in_channels": 1}
    save_network(Network(build(**arguments), "models:build", arguments, (1, 8, 8)), folder / "baseline")
    sample(params, folder, silent)
    score(params, folder, silent)
    return folder


def read(folder):
    return {name: (folder / "score" / name).read_bytes() for name in FILES}


def read_uniform(folder):
    """The row of uniform widths."""
    return json.loads((folder / "score/diagnostics.json").read_text())["uniform"]


def test_the_table_holds_the_candidates_and_their_scores(artifacts):
    before = pq.read_table(artifacts / "sample/candidates.parquet").to_pylist()
    rows = pq.read_table(artifacts / "score/candidates.parquet").to_pylist()
    assert [{name: row[name] for name in before[0]} for row in rows] == before
    assert sorted(row["rank"] for row in rows) == list(range(1, 13))
    assert sum(row["rung"] == 1 for row in rows) == 4
    winner = min(rows, key=lambda row: row["rank"])
    assert winner["score"] == max(row["score"] for row in rows if row["rung"] == 1)
    plan = eyas.PruningPlan.from_json((artifacts / "score/plan.json").read_text())
    assert list(plan.widths.values()) == winner["widths"]


def test_a_sampler_by_an_error_table_is_asked_again_with_the_table_that_sample_measured(artifacts, params, tmp_path):
    sampler = {"kind": "spdy", "first": 8, "generation": 4, "levels": 3, "images": 64}
    settings = params.sample.model_copy(update={"sampler": Sampler.parse(sampler)})
    mine = params.model_copy(update={"sample": settings})
    for name in ("fetch", "baseline"):
        shutil.copytree(artifacts / name, tmp_path / name)
    for name in ("sample", "score"):
        (tmp_path / name).mkdir()
    sample(mine, tmp_path, silent)
    assert len(pq.read_table(tmp_path / "sample/candidates.parquet")) == 8
    score(mine, tmp_path, silent)
    rows = pq.read_table(tmp_path / "score/candidates.parquet").to_pylist()
    network = load_network(tmp_path / "baseline")
    images = open_dataset(tmp_path / "fetch")
    data = images.normalise(images.split("calibration").images())
    space = eyas.trace(network.model, (network.example(),), round_to="auto")
    planner = space.planner(settings.criterion, data=data)
    table = measure_errors(network.model, space, planner, data[:64], levels=3, refitted=True)
    assert ErrorTable.from_json((tmp_path / "sample/error_table.json").read_text()) == table
    budget = Budget.of(space, "macs", 0.5, 0.01)
    generations = Generations(space, budget, settings.sampler, candidates=12, table=table)
    widths = np.array([row["widths"] for row in rows])
    assert np.array_equal(widths[:8], generations.first())
    assert len(widths) == 12
    assert budget.holds(budget.costs(space, widths)).all()
    (tmp_path / "sample/error_table.json").unlink()
    with pytest.raises(DataError, match=r"error_table\.json is missing: run the sample stage first"):
        score(mine, tmp_path, silent)


@pytest.mark.parametrize(("sampler", "there"), [("budget", False), ("evolution", True)])
def test_only_samplers_that_need_one_have_an_error_table(artifacts, params, tmp_path, sampler, there):
    settings = params.sample.model_copy(update={"sampler": Sampler.parse(sampler)})
    for name in ("fetch", "baseline"):
        shutil.copytree(artifacts / name, tmp_path / name)
    (tmp_path / "sample").mkdir()
    sample(params.model_copy(update={"sample": settings}), tmp_path, silent)
    assert ((tmp_path / "sample/error_table.json").read_text() != "null\n") == there


@pytest.mark.parametrize("labels", [True, False])
def test_learned_widths_are_learned_on_the_calibration_split_and_read_again(artifacts, params, tmp_path, labels):
    """What ``sample`` left is what the library learns of the same images, and ``score`` races what was proposed."""
    kind = {"kind": "learned_thresholds", "steps": 12, "images": 100, "labels": labels, "cost_weight": 1}
    settings = params.sample.model_copy(update={"sampler": Sampler.parse(kind)})
    mine = params.model_copy(update={"sample": settings})
    for name in ("fetch", "baseline"):
        shutil.copytree(artifacts / name, tmp_path / name)
    for name in ("sample", "score"):
        (tmp_path / name).mkdir()
    sample(mine, tmp_path, silent)
    score(mine, tmp_path, silent)
    network, dataset = load_network(tmp_path / "baseline"), open_dataset(tmp_path / "fetch")
    split = dataset.split("calibration")
    images = dataset.normalise(split.images())
    space = eyas.trace(network.model, (network.example(),), round_to="auto")
    planner, budget = space.planner(settings.criterion, data=images), Budget.of(space, "macs", 0.5, 0.01)
    taught = split.first_labels(len(images)) if labels else None
    learned = settings.sampler.measure(network.model, space, planner, images, labels=taught, budget=budget)
    assert settings.sampler.read_measured((tmp_path / "sample/error_table.json").read_bytes()) == learned
    rows = pq.read_table(tmp_path / "score/candidates.parquet").to_pylist()
    expected = settings.sampler.ask(space, budget, 12, seed=settings.seed, table=learned)
    assert np.array_equal([row["widths"] for row in rows], expected)


def test_plot_data_follows_the_table(artifacts):
    rows = pq.read_table(artifacts / "score/candidates.parquet").to_pylist()
    with (artifacts / "score/scores.csv").open() as file:
        shown = list(csv.DictReader(file))
    assert [float(row["score"]) for row in shown] == [row["score"] for row in rows]
    winner = min(rows, key=lambda row: row["rank"])
    with (artifacts / "score/widths.csv").open() as file:
        kept = [int(row["kept"]) for row in csv.DictReader(file)]
    assert kept == winner["widths"]


def test_diagnostics_are_strict_json_with_settings(artifacts):
    report = json.loads((artifacts / "score/diagnostics.json").read_text(), parse_constant=pytest.fail)
    assert report["settings"]["batch_size"] == 64
    assert report["entered"] == [12, 4]
    assert report["probe"].keys() >= {"original", "recalibrated", "standard_error", "deviations", "chance"}


def test_again_gives_the_same_bytes_and_leaves_no_journal(artifacts, params):
    before = read(artifacts)
    score(params, artifacts, silent)
    assert read(artifacts) == before
    assert not journal_folder(params, artifacts).exists()


def test_after_an_interruption_it_goes_on_and_ends_alike(artifacts, params, monkeypatch):
    before, launch, calls = read(artifacts), Engine.launch, []

    def interrupted(self, *task):
        calls.append(1)
        if len(calls) == 10:
            raise KeyboardInterrupt
        return launch(self, *task)

    monkeypatch.setattr(Engine, "launch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        score(params, artifacts, silent)
    score(params, artifacts, silent)
    uniform = read_uniform(artifacts)["rung"] == 0  # it left early, and is measured once more on the last rung
    assert len(calls) == 10 + 12 + 4 + uniform - 9
    assert read(artifacts) == before


@pytest.mark.parametrize(("labels", "read"), [(True, 150), (False, 0)])
def test_a_criterion_gets_the_calibration_split_and_the_metrics_say_so(artifacts, params, tmp_path, labels, read):
    """Images and labels of the split that scores nothing."""
    criterion = Criterion.parse({"kind": "taylor", "labels": labels, "images": 150, "batch_size": 50})
    other = params.model_copy(update={"sample": params.sample.model_copy(update={"criterion": criterion})})
    copied = shutil.copytree(artifacts, tmp_path / "artifacts")
    metrics = score(other, copied, silent)
    assert (metrics["criterion_images"], metrics["criterion_labels"]) == (150, read)
    dataset, network = open_dataset(copied / "fetch"), load_network(copied / "baseline")
    split = dataset.split("calibration")
    data = CalibrationSet(dataset.normalise(split.images(150)), split.first_labels(150) if labels else None)
    plan = eyas.PruningPlan.from_json((copied / "score/plan.json").read_text())
    space = eyas.trace(network.model, (data.images[:2],))
    assert plan.kept == space.plan(plan.widths, criterion, data=data).kept
    rated, scored = (
        {image.numpy().tobytes() for image in dataset.split(name).images()} for name in ("calibration", "score")
    )
    assert rated.isdisjoint(scored)


def test_another_race_has_another_journal(artifacts, params):
    other = params.model_copy(update={"score": params.score.model_copy(update={"seed": 1})})
    assert journal_folder(other, artifacts) != journal_folder(params, artifacts)


def test_another_network_has_another_journal(artifacts, params, tmp_path):
    copied = shutil.copytree(artifacts, tmp_path / "artifacts")
    assert journal_folder(params, copied) == journal_folder(params, artifacts)
    path = copied / "baseline/architecture.json"
    record = json.loads(path.read_text())
    record["arguments"]["width"] = 9
    path.write_text(json.dumps(record))
    assert journal_folder(params, copied) != journal_folder(params, artifacts)


def test_candidates_of_another_space_are_refused(artifacts, params, tmp_path):
    copied, network = shutil.copytree(artifacts, tmp_path / "artifacts"), load_network(artifacts / "baseline")
    space = eyas.trace(network.model, (network.example(),), ignore=["conv1"])
    write_json(copied / "sample/space.json", space.to_json())
    with pytest.raises(DataError, match=f"for {len(space.groups)} groups: run sample again"):
        score(params, copied, silent)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(row=st.integers(0, 11), column=st.sampled_from(("macs", "params", "activation_bytes")), by=st.integers(1, 99))
def test_any_cost_that_the_widths_do_not_have_is_refused_by_row_and_values(artifacts, params, row, column, by):
    copied = artifacts.parent / "forged"
    shutil.rmtree(copied, ignore_errors=True)
    shutil.copytree(artifacts, copied)
    table = pq.read_table(artifacts / "sample/candidates.parquet")
    rows = table.to_pylist()
    right = rows[row][column]
    rows[row][column] += by
    pq.write_table(pa.Table.from_pylist(rows, table.schema), copied / "sample/candidates.parquet")
    with pytest.raises(DataError, match=rf"row {row}: widths .* cost {right} {column}, written is {right + by};"):
        score(params, copied, silent)


@pytest.mark.parametrize(
    ("width", "said"), [(4, "row 3: widths .* cost [0-9]+ macs, written is"), (0, "cannot have 0")]
)
def test_forged_widths_are_refused(artifacts, params, tmp_path, width, said):
    copied = shutil.copytree(artifacts, tmp_path / "artifacts")
    table = pq.read_table(artifacts / "sample/candidates.parquet")
    rows = table.to_pylist()
    rows[3]["widths"] = [width] * len(rows[3]["widths"])
    pq.write_table(pa.Table.from_pylist(rows, table.schema), copied / "sample/candidates.parquet")
    with pytest.raises(DataError, match=f"sample/candidates.parquet.*{said}"):
        score(params, copied, silent)


@pytest.mark.parametrize(
    ("runtime", "threads"), [({"threads": 4}, 4), ({"threads": 4, "workers": 2}, 2), ({"workers": 64}, 1), ({}, 1)]
)
def test_threads_are_divided_among_workers(runtime, threads, artifacts, params, monkeypatch):
    """The network's batches are small: without a wish each worker has one thread."""

    class StopError(Exception):
        pass

    chosen = []

    def stop(*_, options, **__):
        chosen.append((options.threads, options.workers))
        raise StopError

    monkeypatch.setattr("torch.set_num_threads", chosen.append)
    monkeypatch.setattr("eyas.score", stop)
    runtime = {"state": params.runtime.state, "device": "cpu", **runtime}
    with pytest.raises(StopError):
        score(params.model_copy(update={"runtime": RuntimeParams.model_validate(runtime)}), artifacts, silent)
    assert chosen == [threads, (threads, runtime.get("workers", 1))]


@pytest.mark.parametrize("criterion", ["l1_norm", "weight_activation", {"kind": "weight_activation", "images": 8}])
def test_the_criterion_sees_the_calibration_images(criterion, artifacts, params, monkeypatch):
    """A criterion that needs none ranks as without."""

    class StopError(Exception):
        pass

    asked = []

    def stop(model, space, plans, *_, **__):
        asked.append(plans.planner.fingerprint)
        raise StopError

    monkeypatch.setattr("eyas.score", stop)
    criterion = Criterion.parse(criterion)
    with pytest.raises(StopError):
        score(
            params.model_copy(update={"sample": params.sample.model_copy(update={"criterion": criterion})}),
            artifacts,
            silent,
        )
    network, dataset = load_network(artifacts / "baseline"), open_dataset(artifacts / "fetch")
    space = eyas.trace(network.model, (network.example(),))
    images = dataset.normalise(dataset.split("calibration").images())
    blind = space.planner(criterion).fingerprint
    assert asked == [space.planner(criterion, data=images).fingerprint]
    assert (asked == [blind]) == (criterion.kind == "l1_norm")


def test_a_prior_is_added_to_what_ranks(artifacts, params, tmp_path):
    folder = shutil.copytree(artifacts, tmp_path / "artifacts")
    prior = {"kind": "log_widths", "weight": 1e4}
    changed = params.model_copy(
        update={"score": params.score.model_validate({**params.score.model_dump(), "prior": prior})}
    )
    score(changed, folder, silent)
    table = pq.read_table(folder / "score/candidates.parquet")
    widths = np.array(table["widths"].to_pylist())
    assert table["rank"].to_numpy().argmin() == np.log(widths).sum(1).argmax()
    assert json.loads((folder / "score/diagnostics.json").read_text())["settings"]["prior"] == prior


def test_scores_differ_between_candidates(artifacts):
    table = pq.read_table(artifacts / "score/candidates.parquet")
    assert np.std(table["score"]) > 0


STEPS = {"rungs": [{"images": 64, "keep": 4}, {"steps": 3, "images": 128, "batch_size": 16}], "batch_size": 64}


@pytest.mark.parametrize("scorer", ["cross_entropy", "dense_kl"])
def test_rungs_of_steps_train_on_the_train_split_and_on_labels_where_labels_decide(
    params, artifacts, tmp_path, monkeypatch, scorer
):
    asked, plain = [], eyas.score

    def watched(*arguments, **how):
        asked.append(how["options"].training)
        return plain(*arguments, **how)

    monkeypatch.setattr(eyas, "score", watched)
    folder = shutil.copytree(artifacts, tmp_path / "artifacts")
    changed = params.model_copy(update={"score": ScoreParams(**STEPS, scorer=scorer)})
    metrics = score(changed, folder, silent)
    dataset = open_dataset(folder / "fetch")
    images, labels = asked[0]
    assert torch.equal(images, dataset.normalise(dataset.split("train").images(limit=48)))
    if scorer == "cross_entropy":
        assert torch.equal(labels, dataset.split("train").labels[:48])
    else:
        assert labels is None
    rows = pq.read_table(folder / "score/candidates.parquet").to_pylist()
    assert sum(row["rung"] == 1 for row in rows) == 4
    assert metrics["images_forwarded"] == 12 * 64 + 4 * (128 + 128 + 3 * 3 * 16)
    settings = json.loads((folder / "score/diagnostics.json").read_text())["settings"]
    assert settings["rungs"][1]["steps"] == 3
    asked.clear()
    score(params, folder, silent)
    assert asked == [None]
    assert read(folder) == read(artifacts)
