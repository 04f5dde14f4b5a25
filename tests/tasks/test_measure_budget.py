"""Limits of milliseconds through sample, score and the flow's measurement, on a table of made-up times."""

import json
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

import eyas
from eyas.config import PipelineParams
from eyas.deploy.latency import LatencyModel
from eyas.deploy.latency.eyas_profile import header, onnx_version
from eyas.errors import BudgetError, DataError, ParameterError
from eyas.networks.saved_network import load_network
from eyas.operations.report import LATENCY_BUDGET
from eyas.progress import silent
from eyas.pruning.space import SearchSpace
from tasks import measure_budget, measured_finalists
from tasks.measure_budget import write_measured_budget
from tasks.sample import sample
from tasks.score import score
from tests.deploy.latency_tables import table_of

SEVERAL = {"macs": 0.6, "latency": 0.8, "params": 0.9}
FILES = ("sample/candidates.parquet", "sample/metrics.json", "score/candidates.parquet", "score/diagnostics.json")


def params(profile, budget=SEVERAL):
    race = [{"images": 64, "keep": 4}, {"images": 128, "mode": "held_out"}]
    return PipelineParams.model_validate(
        {
            "baseline": {"architecture": "resnet8", "arguments": {"width": 8, "in_channels": 1}},
            "sample": {"budget": budget, "latency_profile": str(profile), "candidates": 12, "tolerance": 0.01},
            "score": {"rungs": race, "batch_size": 64},
        }
    )


@pytest.fixture(scope="module")
def artifacts(pruned_digits, tmp_path_factory):
    """The digits and their network, before ``sample``."""
    folder = tmp_path_factory.mktemp("limits")
    for name in ("fetch", "baseline"):
        shutil.copytree(pruned_digits / name, folder / name)
    for name in ("sample", "score", "export"):
        (folder / name).mkdir()
    for name in ("dense", "model"):
        (folder / "export" / f"{name}.onnx").write_bytes(name.encode())
    return folder


@pytest.fixture(scope="module")
def space(artifacts) -> SearchSpace:
    network = load_network(artifacts / "baseline")
    return eyas.trace(network.model, (network.example(),))


@pytest.fixture(scope="module")
def profile(space, tmp_path_factory):
    path = tmp_path_factory.mktemp("profile") / "device.json"
    table_of(space, **header("onnx", onnx_version(), 1, 1)).write(path)
    return path


@pytest.fixture
def scored(artifacts, profile, monkeypatch):
    """After ``sample`` and ``score``; every measurement differs a little from what is predicted."""

    def run(seed=0):
        noise = np.random.default_rng(seed)
        monkeypatch.setattr(
            measured_finalists,
            "time_networks",
            lambda space, rows, table: LatencyModel(space, table).milliseconds(rows) * noise.uniform(0.98, 1.02),
        )
        (artifacts / "sample/metrics.json").write_text(json.dumps(dict(sample(params(profile), artifacts, silent))))
        return dict(score(params(profile), artifacts, silent))

    return run


def test_candidates_keep_all_limits_and_say_which_one_binds(scored, artifacts, space, profile):
    metrics = scored()
    latency, dense = LatencyModel(space, table_of(space)), space.cost()
    rows = pq.read_table(artifacts / "score/candidates.parquet").to_pylist()
    assert len(rows) == 12
    for row in rows:
        took = latency.milliseconds(np.array([row["widths"]]))[0]
        shares = {"macs": row["macs"] / dense.macs, "params": row["params"] / dense.params}
        shares["latency_ms"] = took / latency.dense_ms
        targets = {"macs": 0.6, "params": 0.9, "latency_ms": 0.8}
        assert row["latency_ms"] == pytest.approx(took)
        assert all(shares[name] <= target + 0.0101 for name, target in targets.items())
        assert shares[row["binding"]] >= targets[row["binding"]] - 0.0101
    (winner,) = (row for row in rows if row["rank"] == 1)
    said = json.loads((artifacts / "score/diagnostics.json").read_text())
    assert said["binding"] == winner["binding"]
    assert any(line.startswith(f"the winner is bound by {winner['binding']} ") for line in said["diagnosis"])
    assert metrics["winner_latency_ms"] == winner["latency_ms"]
    drawn = json.loads((artifacts / "sample/metrics.json").read_text())
    assert drawn["budget_latency_ms"] == pytest.approx(0.8 * latency.dense_ms)
    assert sum(drawn[f"bound_by_{name}"] for name in ("macs", "latency_ms", "params")) == 12


def test_times_that_differ_leave_the_same_bytes(scored, artifacts):
    written = []
    for seed in range(2):
        scored(seed)
        written.append([(artifacts / name).read_bytes() for name in FILES])
    assert written[0] == written[1]


def test_prediction_and_measurement_stand_beside_the_limit(scored, artifacts, profile, monkeypatch):
    scored()
    calls = []
    monkeypatch.setattr(measure_budget, "time_files", lambda files, _: calls.append(files) or np.array([2.0, 1.7]))
    asked = params(profile)
    result = write_measured_budget(asked, artifacts)
    assert json.loads((artifacts / LATENCY_BUDGET).read_text()) == result
    assert (result["limit_ms"], result["measured_ms"], result["dense_ms"]) == (0.8 * 2.0, 1.7, 2.0)
    ranked = pq.read_table(artifacts / "score/candidates.parquet").to_pylist()
    assert result["predicted_ms"] == next(row["latency_ms"] for row in ranked if row["rank"] == 1)
    assert write_measured_budget(asked, artifacts) == result
    assert len(calls) == 1
    assert write_measured_budget(params(profile, {"macs": 0.5}), artifacts) is None
    assert not (artifacts / LATENCY_BUDGET).exists()


def test_a_profile_of_another_device_is_measured_nowhere_here(scored, artifacts, profile, space, tmp_path, monkeypatch):
    scored()
    other = {"cpu": "Cortex-A76", "cores": 4, "machine": "aarch64", "system": "Linux"}
    path = tmp_path / "other.json"
    table_of(space, **(header("onnx", onnx_version(), 1, 1) | {"device": other})).write(path)
    monkeypatch.setattr(measure_budget, "time_files", lambda *_: pytest.fail("measured"))
    result = write_measured_budget(params(path), artifacts)
    assert result["measured_ms"] is None
    assert result["limit_ms"] == pytest.approx(0.8 * LatencyModel(space, table_of(space)).dense_ms)


@pytest.mark.parametrize(
    ("budget", "error", "words"),
    [
        ({"latency_ms": 1e-4}, BudgetError, r"no candidate can have latency_ms of 0\.0001 .*: reachable is [\d.]+ to"),
        ({"latency_ms": 1e-4, "macs": 0.5}, BudgetError, "Out of reach by itself: latency_ms"),
        ({"latency_ms": 1e4}, BudgetError, "reachable is"),
    ],
)
def test_milliseconds_out_of_reach_state_the_range(artifacts, profile, budget, error, words):
    with pytest.raises(error, match=words):
        sample(params(profile, budget), artifacts, silent)


def test_latency_without_a_profile_is_refused(artifacts, profile):
    asked = params(profile)
    asked = asked.model_copy(update={"sample": asked.sample.model_copy(update={"latency_profile": None})})
    with pytest.raises(ParameterError, match=r"sample\.latency_profile is not set"):
        sample(asked, artifacts, silent)


def test_a_profile_of_another_network_is_refused(artifacts, tmp_path):
    larger = torch.zeros(1, 1, 16, 16)
    other = eyas.trace(load_network(artifacts / "baseline").model, (larger,))
    path = tmp_path / "other.json"
    table_of(other).write(path)
    with pytest.raises(DataError, match="the table lacks"):
        sample(params(path), artifacts, silent)
