"""The fine-tuning stage on scikit-learn's digits: recalibrates, trains, resumes, saves what loads again."""

import csv
import hashlib
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

import eyas
from eyas.config import parse_params
from eyas.data import open_dataset
from eyas.errors import DataError, PlanError
from eyas.networks.saved_network import load_network
from eyas.progress import silent
from eyas.scoring.engine import Engine
from eyas.training import choose_length
from eyas.training.recorded_answers import read_answers
from tasks.finetune import finetune
from tasks.recorded_cost import COSTS, RANKED
from tasks.sample import sample
from tasks.score import score

BASELINE = {"architecture": "resnet8", "arguments": {"width": 8, "in_channels": 1}}


@pytest.fixture
def artifacts(pruned_digits, tmp_path):
    """A workspace in which all stages before ``finetune`` have run."""
    for name in ("fetch", "baseline", "sample", "score"):
        shutil.copytree(pruned_digits / name, tmp_path / "artifacts" / name)
    (tmp_path / "artifacts" / "finetune").mkdir()
    return tmp_path / "artifacts"


def make_params(artifacts, **fields):
    recipe = {"kind": "sgd", "batch_size": 64, "learning_rate": 0.05}
    runtime = {"state": str(artifacts.parent / "state"), "device": "cpu"}
    return parse_params(
        {"baseline": BASELINE, "finetune": {"epochs": 3, "recipe": recipe, **fields}, "runtime": runtime}
    )


def files(folder: Path):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def accuracy(model, artifacts, split):
    dataset = open_dataset(artifacts / "fetch")
    part = dataset.split(split)
    with torch.no_grad():
        answers = torch.cat([model(dataset.normalise(image[None])).argmax(1) for image in part.images()])
    return float((answers == part.labels).double().mean())


def test_the_winner_is_trained_and_loads_again(artifacts):
    metrics = finetune(make_params(artifacts), artifacts, silent)
    small = eyas.load(artifacts / "finetune")
    assert metrics["test_accuracy"] == pytest.approx(accuracy(small, artifacts, "test"), abs=1e-12)
    assert metrics["score_accuracy"] == pytest.approx(accuracy(small, artifacts, "score"), abs=1e-12)
    assert metrics["score_accuracy"] > metrics["recalibrated_score_accuracy"]
    assert metrics["params"] == sum(parameter.numel() for parameter in small.parameters())
    plan = eyas.PruningPlan.from_json((artifacts / "score/plan.json").read_text())
    assert (artifacts / "finetune/plan.json").read_text() == plan.to_json()
    dense = load_network(artifacts / "baseline").model
    assert metrics["params"] < sum(parameter.numel() for parameter in dense.parameters()) / 2
    with (artifacts / "finetune/history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["0", "1", "2", "3"]
    assert float(rows[0]["score_accuracy"]) == metrics["recalibrated_score_accuracy"]
    assert (rows[0]["train_loss"], rows[0]["learning_rate"]) == ("", "")


def test_recipes_of_every_kind_reach_the_training(artifacts):
    """A guide with the winner's plan, a part of the images, mixed ones, few blocks at a time; scaled by depth after."""
    plain = finetune(make_params(artifacts), artifacts, silent)
    recipe = {
        "kind": "sgd", "batch_size": 64, "learning_rate": 0.05, "fraction": 0.5, "mixup": 0.2, "ema_decay": 0.5,
        "guidance": {"weight": 0.5}, "layer_freezing": {"trained": 2, "period": 2},
    }  # fmt: skip
    params = make_params(artifacts, recipe=recipe, depth_scaling=True)
    metrics = finetune(params, artifacts, silent)
    small = eyas.load(artifacts / "finetune")
    assert metrics["score_accuracy"] == pytest.approx(accuracy(small, artifacts, "score"), abs=1e-12)
    assert metrics["score_accuracy"] > metrics["recalibrated_score_accuracy"]
    assert metrics["steps"] == pytest.approx(plain["steps"] / 2, abs=3)
    assert 0 <= metrics["depth_share"] <= 1
    assert "depth_share" not in plain


def test_images_that_only_one_network_answers_right_are_counted(artifacts):
    metrics = finetune(make_params(artifacts), artifacts, silent)
    right, kept = {}, read_answers(artifacts / "finetune/answers.parquet")
    for name, model in (
        ("dense", load_network(artifacts / "baseline").model),
        ("pruned", eyas.load(artifacts / "finetune")),
    ):
        dataset = open_dataset(artifacts / "fetch")
        part = dataset.split("test")
        with torch.no_grad():
            answers = torch.cat([model.eval()(dataset.normalise(image[None])).argmax(1) for image in part.images()])
        assert kept.answers[name].tolist() == answers.tolist()
        right[name] = set((answers == part.labels).nonzero().flatten().tolist())
    assert metrics["test_gained"] == len(right["pruned"] - right["dense"]) > 0
    assert metrics["test_lost"] == len(right["dense"] - right["pruned"]) > 0
    assert kept.labels.tolist() == part.labels.tolist()
    gained = metrics["finetuning_gained"] - metrics["finetuning_lost"]
    difference = metrics["test_accuracy"] - metrics["recalibrated_test_accuracy"]
    assert gained / metrics["test_images"] == pytest.approx(difference)
    assert difference != 0
    gained = metrics["score_gained"] - metrics["score_lost"]
    difference = metrics["score_accuracy"] - metrics["recalibrated_score_accuracy"]
    assert gained / metrics["score_images"] == pytest.approx(difference)


def test_what_the_user_left_open_is_chosen_told_and_recorded(artifacts, caplog):
    caplog.set_level("INFO")
    images = len(open_dataset(artifacts / "fetch").split("train"))
    expected = choose_length(images, epochs=1)
    metrics = finetune(make_params(artifacts, epochs=1, recipe={"kind": "sgd"}), artifacts, silent)
    assert {name: metrics[name] for name in expected.as_metrics()} == expected.as_metrics()
    assert metrics["batch_size"] == 32  # about 990 images: 30 steps of 32
    assert f"training: {expected.text}" in caplog.messages
    assert make_params(artifacts, epochs=None).finetune.epochs is None


@pytest.mark.parametrize("gradual", [None, {"cuts": 2}])
def test_a_training_that_only_harms_leaves_the_network_as_it_was(artifacts, gradual, caplog):
    untrained = finetune(make_params(artifacts, epochs=0), artifacts, silent)
    kept = (artifacts / "finetune/model.safetensors").read_bytes()
    how = {"gradual": gradual, "recipe": {"kind": "sgd", "learning_rate": 30.0, "batch_size": 128}}
    metrics = finetune(make_params(artifacts, epochs=2, **how), artifacts, silent)
    assert (artifacts / "finetune/model.safetensors").read_bytes() == kept
    assert metrics["best_epoch"] == 0
    assert metrics["epochs"] == 2
    assert metrics["score_accuracy"] == metrics["recalibrated_score_accuracy"]
    assert metrics["test_accuracy"] == metrics["recalibrated_test_accuracy"] == untrained["test_accuracy"]
    assert untrained["recalibrated_test_accuracy"] == untrained["test_accuracy"]
    assert metrics["score_gained"] == metrics["score_lost"] == 0
    (warning,) = [message for message in caplog.messages if "no epoch is better" in message]
    assert "lower finetune.recipe.learning_rate" in warning


def test_recalibration_is_what_the_score_stage_did(artifacts):
    """Without training: the plan's slice of the dense weights, with the statistics of the calibration split."""
    metrics = finetune(make_params(artifacts, epochs=0), artifacts, silent)
    dense = load_network(artifacts / "baseline").model
    small = eyas.load(artifacts / "finetune")
    kept = eyas.PruningPlan.from_json((artifacts / "score/plan.json").read_text()).kept
    first = next(iter(kept.values()))
    dataset = open_dataset(artifacts / "fetch")
    images = dataset.normalise(dataset.split("calibration").images())
    weight = dense.conv1.weight[list(first)]
    assert torch.equal(small.conv1.weight, weight)
    outputs = torch.nn.functional.conv2d(images.double(), weight.double(), padding=1)
    assert torch.allclose(small.bn1.running_mean.double(), outputs.mean((0, 2, 3)), atol=1e-5)
    variance = outputs.var((0, 2, 3), unbiased=False)
    assert torch.allclose(small.bn1.running_var.double(), variance, rtol=1e-3)
    assert metrics["score_accuracy"] == metrics["recalibrated_score_accuracy"]
    assert metrics["best_epoch"] == 0


def test_the_winner_starts_from_the_statistics_that_it_was_scored_with(artifacts, monkeypatch):
    """Without training, against what the engine's own network held when it scored the winner in the last rung."""
    rungs = [{"images": 64, "keep": 3}, {"images": 128, "calibration_images": 100, "mode": "held_out"}]
    race = {"rungs": rungs, "seed": 3, "batch_size": 48, "calibration_images": 120, "scorer": "top1"}
    runtime = {"state": str(artifacts.parent / "state"), "device": "cpu", "threads": 1}
    sections = {
        "sample": {"candidates": 6, "tolerance": 0.01},
        "score": race,
        "finetune": {"epochs": 0, "recovery": None},
    }
    params = parse_params({"baseline": BASELINE, **sections, "runtime": runtime})
    seen, launch = {}, Engine.launch

    def spy(self, plan, rung, batch_size):
        wait = launch(self, plan, rung, batch_size)
        seen[plan.to_json(), rung.mode] = {name: buffer.clone() for name, buffer in self._slice.shell.named_buffers()}
        return wait

    monkeypatch.setattr(Engine, "launch", spy)
    sample(params, artifacts, silent)
    report = score(params, artifacts, silent)
    assert report["candidates"] == 6
    finetune(params, artifacts, silent)
    scored = seen[(artifacts / "score/plan.json").read_text(), "held_out"]
    buffers = dict(eyas.load(artifacts / "finetune").named_buffers())
    statistics = [name for name in buffers if name.endswith(("running_mean", "running_var"))]
    assert len(statistics) == 2 * 7
    dense = load_network(artifacts / "baseline").model.get_buffer("bn1.running_var")
    assert not torch.allclose(buffers["bn1.running_var"], dense[: len(buffers["bn1.running_var"])], rtol=0.01)
    for name in statistics:
        torch.testing.assert_close(buffers[name], scored[name], rtol=0, atol=1e-6)


def test_the_dense_network_teaches_by_default(artifacts):
    finetune(make_params(artifacts, epochs=1), artifacts, silent)
    taught = files(artifacts / "finetune")
    recipe = {"kind": "sgd", "batch_size": 64, "learning_rate": 0.05, "distillation": None}
    finetune(make_params(artifacts, epochs=1, recipe=recipe), artifacts, silent)
    assert files(artifacts / "finetune")["model.safetensors"] != taught["model.safetensors"]


def test_killed_and_resumed_ends_with_the_same_bytes(artifacts):
    before = {path: hashlib.sha256(path.read_bytes()).digest() for path in artifacts.rglob("*") if path.is_file()}
    expected_metrics = finetune(make_params(artifacts), artifacts, silent)
    expected = files(artifacts / "finetune")
    shutil.rmtree(artifacts / "finetune")
    (artifacts / "finetune").mkdir()

    class KilledError(Exception):
        pass

    def kill(done, total, text=""):
        if text.startswith("epoch 2/3: loss"):
            raise KilledError

    with pytest.raises(KilledError):
        finetune(make_params(artifacts), artifacts, kill)
    assert not files(artifacts / "finetune")
    seen = []
    metrics = finetune(make_params(artifacts), artifacts, lambda *args: seen.append(args[2]))
    assert seen
    assert not any(text.startswith("epoch 1/3") for text in seen)
    assert metrics == expected_metrics
    assert files(artifacts / "finetune") == expected
    assert all(hashlib.sha256(path.read_bytes()).digest() == digest for path, digest in before.items())


GRADUAL = {"epochs": 5, "gradual": {"cuts": 3}}


def test_gradual_pruning_ends_in_the_winner_with_the_steps_of_one_cut(artifacts, caplog):
    caplog.set_level("INFO")
    once = finetune(make_params(artifacts, epochs=5), artifacts, silent)
    before = files(artifacts / "finetune")
    metrics = finetune(make_params(artifacts, **GRADUAL), artifacts, silent)
    after = files(artifacts / "finetune")
    assert after["plan.json"] == before["plan.json"] == (artifacts / "score/plan.json").read_bytes()
    assert after["model.safetensors"] != before["model.safetensors"]
    same = ("steps", "epochs", "macs", "params", "recalibrated_score_accuracy", "recalibrated_score_cross_entropy")
    assert {name: metrics[name] for name in same} == {name: once[name] for name in same}
    small = eyas.load(artifacts / "finetune")
    assert metrics["test_accuracy"] == pytest.approx(accuracy(small, artifacts, "test"), abs=1e-12)
    assert metrics["score_accuracy"] > metrics["recalibrated_score_accuracy"]
    with (artifacts / "finetune/history.csv").open() as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["1", "2", "3", "4", "5"]
    cuts = [message for message in caplog.messages if message.startswith("cut ")]
    assert [message.partition(",")[0] for message in cuts] == ["cut 1 of 3", "cut 2 of 3", "cut 3 of 3"]
    assert cuts[-1].endswith(f"to {100 * metrics['macs'] / dense_macs(artifacts):.1f} % of the MACs")


def dense_macs(artifacts):
    dense = load_network(artifacts / "baseline")
    return eyas.trace(dense.model, (dense.example(),)).cost().macs


def test_one_gradual_cut_is_the_plain_stage(artifacts):
    plain = finetune(make_params(artifacts), artifacts, silent)
    expected = files(artifacts / "finetune")
    assert finetune(make_params(artifacts, gradual={"cuts": 1}), artifacts, silent) == plain
    assert files(artifacts / "finetune") == expected


def test_gradual_pruning_refits_after_every_cut(artifacts, monkeypatch):
    refitted, refit = [], eyas.recovery.refit.refit

    def spy(model, small, space, plan, images, *, recovery):
        refitted.append({group.name: group.channels for group in space.groups})
        return refit(model, small, space, plan, images, recovery=recovery)

    monkeypatch.setattr("eyas.recovery.prune_and_refit.refit", spy)
    metrics = finetune(make_params(artifacts, **GRADUAL, recovery="least_squares"), artifacts, silent)
    once, first, second, third = refitted
    assert once == first
    assert all(first[name] > second[name] > third[name] for name in first)
    assert metrics["refitted_layers"] > 0


@pytest.mark.parametrize("killed_in", [1, 3])
def test_gradual_pruning_killed_and_resumed_ends_with_the_same_bytes(artifacts, killed_in):
    params = make_params(artifacts, **GRADUAL, recovery="least_squares")
    expected_metrics = finetune(params, artifacts, silent)
    expected = files(artifacts / "finetune")
    shutil.rmtree(artifacts / "finetune")
    (artifacts / "finetune").mkdir()

    def kill(done, total, text=""):
        if text.startswith(f"epoch {killed_in}/5: loss"):
            raise InterruptedError

    with pytest.raises(InterruptedError):
        finetune(params, artifacts, kill)
    assert not files(artifacts / "finetune")
    seen = []
    assert finetune(params, artifacts, lambda *args: seen.append(args[2])) == expected_metrics
    assert not any(text.startswith(f"epoch {killed_in - 1}/5") for text in seen)
    assert files(artifacts / "finetune") == expected
    assert not list((artifacts.parent / "state" / "training").iterdir())


@pytest.mark.parametrize("change", ["plan", "widths", "rank"])
def test_a_plan_that_is_not_the_winners_is_refused(artifacts, change):
    dense = load_network(artifacts / "baseline")
    space = eyas.trace(dense.model, (dense.example(),))
    table = pq.read_table(artifacts / RANKED)
    rows = [*table.to_pylist(), {**table.to_pylist()[0], "rank": 2}]
    narrow = space.vector({group.name: space.legal_widths(group)[0] for group in space.groups})
    costs = {name: getattr(space.cost(narrow), name) for name in COSTS}
    if change == "plan":
        (artifacts / "score/plan.json").write_text(space.plan(narrow).to_json())
    elif change == "widths":
        rows[0]["widths"] = narrow.tolist()
    else:
        rows = [{**rows[0], "rank": 2}, {"widths": narrow.tolist(), **costs, "rank": 1}]
    pq.write_table(pa.Table.from_pylist(rows), artifacts / RANKED)
    with pytest.raises(DataError, match=r"the winner, row [01] of|row 0: widths .* cost"):
        finetune(make_params(artifacts), artifacts, silent)
    assert not files(artifacts / "finetune")


def test_a_plan_of_another_network_is_refused(artifacts):
    import models
    from eyas.pruning.criteria import Criterion

    other = models.build("resnet8", 10, width=12, in_channels=1)
    space = eyas.trace(other, (torch.zeros(1, 1, 8, 8),))
    plan = space.plan({group.name: 4 for group in space.groups}, criterion=Criterion.parse("l1_norm"))
    (artifacts / "score/plan.json").write_text(plan.to_json())
    with pytest.raises(PlanError):
        finetune(make_params(artifacts), artifacts, silent)
    assert not files(artifacts / "finetune")


def test_a_refit_is_kept_where_it_lowers_the_loss_on_the_score_split(artifacts):
    plain = finetune(make_params(artifacts, epochs=0, recovery=None), artifacts, silent)
    before = dict(eyas.load(artifacts / "finetune").named_parameters())
    metrics = finetune(make_params(artifacts, epochs=0), artifacts, silent)
    after = dict(eyas.load(artifacts / "finetune").named_parameters())
    assert metrics["recalibrated_score_cross_entropy"] < plain["recalibrated_score_cross_entropy"]
    assert torch.equal(before["conv1.weight"], after["conv1.weight"])
    assert not torch.equal(before["linear.weight"], after["linear.weight"])


def test_a_refit_that_harms_is_not_kept(artifacts, monkeypatch):
    plain = finetune(make_params(artifacts, epochs=0, recovery=None), artifacts, silent)
    expected = files(artifacts / "finetune")

    def harmful(dense, small, space, plan, images, *, recovery):
        small.linear.weight.data.mul_(-3)
        return eyas.recovery.refit.RefitReport()

    monkeypatch.setattr("eyas.recovery.prune_and_refit.refit", harmful)
    metrics = finetune(make_params(artifacts, epochs=0), artifacts, silent)
    assert metrics == plain
    assert files(artifacts / "finetune") == expected
