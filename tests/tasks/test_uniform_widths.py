"""Uniform widths beside the winner, from the race to the same fine-tuning."""

import json
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest

import eyas
from eyas.config import parse_params
from eyas.data import open_dataset
from eyas.errors import PlanError
from eyas.networks.saved_network import load_network
from eyas.operations.paired_counts import PairedCounts
from eyas.operations.uniform_outcome import uniform_counts, uniform_outcome
from eyas.progress import silent
from eyas.training.recorded_answers import ANSWERS, read_answers
from tasks.finetune import finetune
from tasks.sample import sample
from tasks.score import score
from tasks.search_space import read_space
from tasks.uniform_widths import UNIFORM
from tests.support.learning_sampler import Narrowing
from tests.tasks.conftest import BASELINE

RUNGS = [{"images": 64, "keep": 4}, {"images": 200, "calibration_images": 100, "mode": "held_out"}]


def params_of(artifacts, **finetune):
    recipe = {"kind": "sgd", "batch_size": 64, "learning_rate": 0.05}
    return parse_params(
        {
            "baseline": BASELINE,
            "sample": {"candidates": 12, "tolerance": 0.01, "sampler": "budget"},
            "score": {"rungs": RUNGS, "batch_size": 64},
            "finetune": {"epochs": 3, "recipe": recipe, "compare_uniform": True, **finetune},
            "runtime": {"state": str(artifacts.parent / "state"), "device": "cpu", "threads": 1},
        }
    )


@pytest.fixture(scope="module")
def raced(pruned_digits, tmp_path_factory):
    """``artifacts/`` as the stages before ``finetune`` leave it."""
    artifacts = tmp_path_factory.mktemp("raced") / "artifacts"
    for name in ("fetch", "baseline"):
        shutil.copytree(pruned_digits / name, artifacts / name)
    for name in ("sample", "score", "finetune"):
        (artifacts / name).mkdir()
    sample(params_of(artifacts), artifacts, silent)
    (artifacts / "score/metrics.json").write_text(json.dumps(score(params_of(artifacts), artifacts, silent)))
    return artifacts


@pytest.fixture
def artifacts(raced, tmp_path):
    return shutil.copytree(raced, tmp_path / "artifacts")


@pytest.fixture(scope="module")
def trained(raced, tmp_path_factory):
    """What ``finetune`` leaves of both networks, and its metrics."""
    artifacts = shutil.copytree(raced, tmp_path_factory.mktemp("trained") / "artifacts")
    return artifacts, finetune(params_of(artifacts), artifacts, silent)


def files(artifacts):
    return {path.name: path.read_bytes() for path in (artifacts / "finetune").iterdir()}


def read(artifacts, name="score/diagnostics.json"):
    return json.loads((artifacts / name).read_text())


def test_the_race_leaves_the_plan_of_uniform_widths_and_their_row(raced):
    rows = pq.read_table(raced / "score/candidates.parquet").to_pylist()
    first, uniform = rows[0], read(raced)["uniform"]
    space = read_space(raced, load_network(raced / "baseline"))
    plan = eyas.PruningPlan.from_json((raced / UNIFORM).read_text())
    dataset = open_dataset(raced / "fetch")
    images = dataset.normalise(dataset.split("calibration").images())
    assert plan == space.plan(first["widths"], params_of(raced).sample.criterion, data=images)
    assert list(plan.widths.values()) == first["widths"]
    assert uniform["candidate"] == 0
    assert {name: uniform[name] for name in ("score", "accuracy", "rung", "rank")} == {
        name: first[name] for name in ("score", "accuracy", "rung", "rank")
    }
    metrics = read(raced, "score/metrics.json")
    assert (metrics["uniform_rank"], metrics["uniform_lead"]) == (first["rank"], uniform["lead"])
    assert metrics["at_chance"] == read(raced)["at_chance"]


def test_words_of_the_race_name_fields(raced, artifacts, caplog):
    caplog.set_level("INFO")
    params = params_of(artifacts)
    small = params.sample.model_copy(update={"budget": params.sample.budget.model_copy(update={"macs": 0.15})})
    params = params.model_copy(update={"sample": small})
    sample(params, artifacts, silent)
    score(params, artifacts, silent)
    lines = read(artifacts)["diagnosis"]
    assert lines == [message for message in caplog.messages if message in lines]
    assert lines[-2].endswith(
        "nd score.rungs in some with a few training steps, and train the winner longer or in several cuts"
    )
    assert lines[-1] == (
        "train uniform widths beside the winner (finetune.compare_uniform), which tells whether it beats them"
    )
    assert not any("`" in line for line in [*lines, *read(raced)["diagnosis"]])


def test_uniform_widths_are_trained_as_the_winner_is(trained, artifacts):
    """Against the stage itself, where the race is made to be won by them."""
    _, metrics = trained
    table = pq.read_table(artifacts / "score/candidates.parquet")
    assert table["rank"][0].as_py() != 1
    ranks = [1, *(rank + 1 for rank in table["rank"].to_pylist()[1:])]
    at = table.column_names.index("rank")
    pq.write_table(table.set_column(at, "rank", [ranks]), artifacts / "score/candidates.parquet")
    shutil.copy(artifacts / UNIFORM, artifacts / "score/plan.json")
    alone = finetune(params_of(artifacts, compare_uniform=False), artifacts, silent)
    compared = {name.removeprefix("uniform_"): value for name, value in metrics.items() if "uniform_" in name}
    pairs = {"test_gained", "test_lost"}
    assert {name: alone[name] for name in compared.keys() - pairs} == {
        name: value for name, value in compared.items() if name not in pairs
    }
    net = (compared["test_gained"] - compared["test_lost"]) / metrics["test_images"]
    assert metrics["test_accuracy"] - alone["test_accuracy"] == pytest.approx(net)


def test_the_winner_is_the_same_with_and_without(trained, artifacts):
    folder, metrics = trained
    alone = finetune(params_of(artifacts, compare_uniform=False), artifacts, silent)
    assert alone == {name: value for name, value in metrics.items() if not name.startswith("uniform_")}
    one, other = (read_answers(place / "finetune" / ANSWERS).answers for place in (artifacts, folder))
    assert other.keys() - one.keys() == {"uniform"}
    assert all(np.array_equal(other[name], answers) for name, answers in one.items())
    assert {**files(artifacts), ANSWERS: b""} == {**files(folder), ANSWERS: b""}


def test_what_became_of_it_is_told_and_progress_counts_both(trained, artifacts, caplog):
    caplog.set_level("INFO")
    told = []
    assert finetune(params_of(artifacts), artifacts, lambda *report: told.append(report)) == trained[1]
    done, total, texts = zip(*told, strict=True)
    assert list(done) == sorted(done)
    assert done[-1] == total[0] == 2 * trained[1]["steps"]
    assert texts[-1].startswith("uniform widths, epoch 3/3: loss")
    text = uniform_outcome(trained[1], read(artifacts))
    assert text in caplog.messages
    assert text.startswith("after the same fine-tuning ")


def test_killed_in_the_second_training_it_goes_on_there(trained, artifacts):
    class KilledError(Exception):
        pass

    def kill(done, total, text=""):
        if text.startswith("uniform widths, epoch 2/3: loss"):
            raise KilledError

    with pytest.raises(KilledError):
        finetune(params_of(artifacts), artifacts, kill)
    assert not files(artifacts)
    told = []
    assert finetune(params_of(artifacts), artifacts, lambda *report: told.append(report[2])) == trained[1]
    assert told
    assert all(text.startswith(("uniform widths, epoch 2/3", "uniform widths, epoch 3/3")) for text in told)
    assert files(artifacts) == files(trained[0])
    assert not list((artifacts.parent / "state/training").iterdir())


@pytest.mark.parametrize(
    ("uniform", "said"),
    [("winner", "the winner keeps uniform widths"), ("null", "no uniform widths meet sample.budget")],
)
def test_where_there_is_no_rival_nothing_is_trained_twice(artifacts, caplog, uniform, said):
    caplog.set_level("INFO")
    text = "null\n" if uniform == "null" else (artifacts / "score/plan.json").read_text()
    (artifacts / UNIFORM).write_text(text)
    metrics = finetune(params_of(artifacts, epochs=1), artifacts, silent)
    assert any(message.startswith(said) for message in caplog.messages)
    assert not any(name.startswith("uniform_") for name in metrics)
    assert uniform_outcome(metrics, read(artifacts)) is None


def test_a_plan_of_another_space_is_refused(artifacts):
    plan = json.loads((artifacts / UNIFORM).read_text())
    del plan["digest"]
    other = eyas.PruningPlan.model_validate(plan | {"space": "0" * len(plan["space"])})
    (artifacts / UNIFORM).write_text(other.to_json())
    with pytest.raises(PlanError):
        finetune(params_of(artifacts), artifacts, silent)


def test_a_band_without_uniform_widths_says_so(artifacts, monkeypatch):
    monkeypatch.setattr("eyas.sampling.generations.Generations.uniform", lambda _: np.empty((0, 7), np.int64))
    metrics = score(params_of(artifacts), artifacts, silent)
    assert (artifacts / UNIFORM).read_text() == "null\n"
    assert "uniform" not in read(artifacts)
    assert "uniform_rank" not in metrics
    assert read(artifacts)["diagnosis"][0].startswith("no uniform widths meet sample.budget, so that")


def test_later_generations_leave_the_uniform_candidate_first(artifacts):
    params = params_of(artifacts)
    params = params.model_copy(
        update={"sample": params.sample.model_copy(update={"sampler": Narrowing(first=5, later=4)})}
    )
    sample(params, artifacts, silent)
    score(params, artifacts, silent)
    table = pq.read_table(artifacts / "score/candidates.parquet")
    assert len(table) == 12
    assert read(artifacts)["uniform"]["candidate"] == 0
    assert read(artifacts)["uniform"]["rank"] == table["rank"][0].as_py()


def test_counts_go_from_uniform_widths_to_the_winner():
    metrics = {"test_images": 100, "uniform_test_gained": 7, "uniform_test_lost": 3, "epochs": 0}
    assert uniform_counts(metrics) == PairedCounts(100, 7, 3)
    assert uniform_outcome(metrics, {}).startswith("without fine-tuning it is undecided")
    behind = metrics | {"uniform_test_gained": 1, "uniform_test_lost": 30, "epochs": 5}
    raced = {"uniform": {"lead": 0.5, "lead_error": 0.01}}
    assert "scores had predicted the opposite" in uniform_outcome(behind, raced)
    assert "opposite" not in uniform_outcome(behind, {"uniform": {"lead": None, "lead_error": None}})
