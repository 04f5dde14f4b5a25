"""The sample stage on a small network."""

import json
import re
from collections import OrderedDict

import pyarrow.parquet as pq
import pytest
import torch
from torch import nn

import eyas
from eyas.config import PipelineParams
from eyas.errors import BudgetError, ParameterError
from eyas.networks.saved_network import Network, load_network, save_network
from eyas.progress import silent
from models import build
from tasks.sample import FIELDS, sample
from tasks.stage import name_fields
from tests.pruning.oracle import counted


@pytest.fixture
def artifacts(tmp_path):
    arguments = {"name": "resnet8", "num_classes": 10, "width": 8, "in_channels": 1}
    network = Network(build(**arguments), "models:build", arguments, (1, 8, 8))
    save_network(network, tmp_path / "baseline")
    (tmp_path / "sample").mkdir()
    return tmp_path


def params(**settings):
    baseline = {"architecture": "resnet8", "arguments": {"width": 8, "in_channels": 1}}
    return PipelineParams.model_validate(
        {"baseline": baseline, "sample": {"candidates": 50, "tolerance": 0.01, **settings}}
    )


def test_every_candidate_is_inside_the_band_by_counting(artifacts):
    metrics = sample(params(), artifacts, silent)
    space = json.loads((artifacts / "sample/space.json").read_text())
    rows = pq.read_table(artifacts / "sample/candidates.parquet").to_pylist()
    network = load_network(artifacts / "baseline")
    model, images = network.model, (network.example(),)
    traced = eyas.trace(model, images)
    dense, _ = counted(model, images, {})
    assert space["dense"]["macs"] == dense
    assert metrics["candidates"] == len(rows) == 50
    assert [row["candidate"] for row in rows] == list(range(50))
    assert len({tuple(row["widths"]) for row in rows}) == 50
    for row in rows:
        macs, parameters = counted(eyas.prune(model, traced, traced.plan(row["widths"])), images, {})
        assert (row["macs"], row["params"]) == (macs, parameters)
        assert abs(macs / dense - 0.5) <= 0.01


def test_the_same_parameters_give_the_same_bytes(artifacts):
    written = []
    for _ in range(2):
        sample(params(), artifacts, silent)
        written.append([(artifacts / "sample" / name).read_bytes() for name in ("space.json", "candidates.parquet")])
    assert written[0] == written[1]


def test_rounding_floor_and_ignored_layers_are_kept(artifacts):
    sample(params(round_to=4, min_width=4, ignore=["conv1"], tolerance=0.03), artifacts, silent)
    space = json.loads((artifacts / "sample/space.json").read_text())
    rows = pq.read_table(artifacts / "sample/candidates.parquet").to_pylist()
    assert all(width % 4 == 0 and width >= 4 for row in rows for width in row["widths"])
    assert all("conv1" not in group["layers"] for group in space["groups"])
    assert any("ignored" in frozen["reason"] for frozen in space["frozen"])


def test_a_budget_out_of_reach_names_the_range(artifacts):
    with pytest.raises(BudgetError) as caught:
        sample(params(budget={"macs": 1.0e-9}, tolerance=1e-4), artifacts, silent)
    message = name_fields(str(caught.value), FIELDS)
    assert re.search(r"reachable is .* Change sample\.budget, widen sample\.tolerance", message)
    assert message.endswith("or lower sample.min_width and sample.round_to")


def test_a_pattern_that_matches_nothing_is_refused(artifacts):
    with pytest.raises(ParameterError) as caught:
        sample(params(ignore=["nothing_like_this"]), artifacts, silent)
    assert name_fields(str(caught.value), FIELDS).startswith("sample.ignore: 'nothing_like_this' matches no layer")


def test_a_layer_called_like_an_argument_stays_as_it_is():
    model = nn.Sequential(OrderedDict(budget=nn.Conv2d(1, 4, 3), round_to=nn.Conv2d(4, 2, 3)))
    with pytest.raises(ParameterError) as caught:
        eyas.trace(model, (torch.zeros(1, 1, 8, 8),), ignore=["budget.*"])
    message = name_fields(str(caught.value), FIELDS)
    assert message == "sample.ignore: 'budget.*' matches no layer; layers are named budget, round_to ..."
