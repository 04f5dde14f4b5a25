"""The sample stage on a small network."""

import json

import pyarrow.parquet as pq
import pytest

import eyas
from eyas.config import PipelineParams
from eyas.errors import BudgetError, ParameterError
from eyas.networks.dense_network import Network, load_network, save_network
from eyas.progress import silent
from models import build
from tasks.sample import sample


@pytest.fixture
def artifacts(tmp_path):
    arguments = {"name": "resnet8", "num_classes": 10, "width": 8, "in_channels": 1}
    network = Network(build(**arguments), "models:build", arguments, (1, 8, 8))
    save_network(network, tmp_path / "baseline")
    (tmp_path / "sample").mkdir()
    return tmp_path


def params(**given):
    return PipelineParams.model_validate({"sample": {"candidates": 50, "tolerance": 0.01, **given}})


def test_every_candidate_is_inside_the_band_by_counting(artifacts):
    metrics = sample(params(), artifacts, silent)
    space = json.loads((artifacts / "sample/space.json").read_text())
    rows = pq.read_table(artifacts / "sample/candidates.parquet").to_pylist()
    model = load_network(artifacts / "baseline").model
    traced = eyas.trace(model, (load_network(artifacts / "baseline").example(),))
    dense = space["dense"]["macs"]
    assert metrics["candidates"] == len(rows) == 50
    assert [row["candidate"] for row in rows] == list(range(50))
    assert len({tuple(row["widths"]) for row in rows}) == 50
    for row in rows:
        assert abs(row["macs"] / dense - 0.5) <= 0.01
    small = eyas.prune(model, traced, traced.plan(rows[3]["widths"]))
    assert sum(p.numel() for p in small.parameters()) == rows[3]["params"]
    assert [g["channels"] for g in space["groups"]] == [g.channels for g in traced.groups]


def test_the_same_parameters_give_the_same_bytes(artifacts):
    found = []
    for _ in range(2):
        sample(params(), artifacts, silent)
        found.append([(artifacts / "sample" / name).read_bytes() for name in ("space.json", "candidates.parquet")])
    assert found[0] == found[1]


def test_rounding_floor_and_ignored_layers_are_kept(artifacts):
    sample(params(round_to=4, min_width=4, ignore=["conv1"], tolerance=0.03), artifacts, silent)
    space = json.loads((artifacts / "sample/space.json").read_text())
    rows = pq.read_table(artifacts / "sample/candidates.parquet").to_pylist()
    assert all(width % 4 == 0 for row in rows for width in row["widths"])
    assert all("conv1" not in group["layers"] for group in space["groups"])
    assert any("ignored" in frozen["reason"] for frozen in space["frozen"])


def test_a_budget_out_of_reach_names_the_range(artifacts):
    with pytest.raises(BudgetError, match="reachable is"):
        sample(params(budget={"macs": 1.0e-9}, tolerance=1e-4), artifacts, silent)


def test_a_pattern_that_matches_nothing_is_refused(artifacts):
    with pytest.raises(ParameterError, match="nothing_like_this"):
        sample(params(ignore=["nothing_like_this"]), artifacts, silent)
