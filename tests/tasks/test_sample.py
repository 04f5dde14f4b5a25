"""The sample stage on a small network."""

import json
import re
from collections import OrderedDict

import pyarrow.parquet as pq
import pytest
import torch
from pydantic import ValidationError
from torch import nn

import eyas
from eyas.config import PipelineParams
from eyas.errors import BudgetError, DataError, ParameterError
from eyas.networks.saved_network import Network, load_network, save_network
from eyas.progress import silent
from eyas.pruning.widths import usual_steps
from eyas.sampling.budget import Budget
from eyas.sampling.samplers import Sampler
from models import build
from tasks.rounding import rounded
from tasks.sample import FIELDS, sample
from tasks.search_space import read_space
from tasks.stage import name_fields
from tests.deploy.latency_tables import table_of
from tests.pruning.oracle import counted

UNSEEDED = {"kind": "evolution", "seeds": 0}
"""Nothing is measured: there are no images here."""


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
        {"baseline": baseline, "sample": {"candidates": 50, "tolerance": 0.01, "sampler": UNSEEDED, **settings}}
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


def test_blocks_are_left_out_where_depth_is_searched(artifacts, caplog):
    metrics = sample(params(depth=True), artifacts, silent)
    rows = pq.read_table(artifacts / "sample/candidates.parquet").to_pylist()
    space = read_space(artifacts, load_network(artifacts / "baseline"))
    assert metrics["residual_blocks"] == 1
    assert [block.name for block in space.blocks] == ["layer1.0"]
    assert 0 < sum(0 in row["widths"] for row in rows) < len(rows) == 50
    assert all(abs(row["macs"] / space.cost().macs - 0.5) <= 0.01 for row in rows)
    assert "residual" not in caplog.text
    with pytest.raises(ParameterError, match="`depth`: the network has no residual block that can be left out"):
        sample(params(depth=True, ignore=("layer1.0.*",)), artifacts, silent)


def test_a_sampler_that_leaves_no_block_out_is_refused_beside_depth(artifacts):
    with pytest.raises(ParameterError, match="`sampler` 'spdy' leaves no residual block out: .* budget, evolution"):
        sample(params(depth=True, sampler="spdy"), artifacts, silent)  # which measures nothing first
    sample(params(sampler="conditional", ignore=("layer1.0.*",)), artifacts, silent)


def test_rounding_floor_and_ignored_layers_are_kept(artifacts):
    sample(params(round_to=4, min_width=4, ignore=["conv1"], tolerance=0.03), artifacts, silent)
    space = json.loads((artifacts / "sample/space.json").read_text())
    rows = pq.read_table(artifacts / "sample/candidates.parquet").to_pylist()
    assert all(width % 4 == 0 and width >= 4 for row in rows for width in row["widths"])
    assert all("conv1" not in group["layers"] for group in space["groups"])
    assert any("ignored" in frozen["reason"] for frozen in space["frozen"])


def test_a_profile_chooses_the_multiples_of_every_group(artifacts):
    network = load_network(artifacts / "baseline")
    traced = eyas.trace(network.model, (network.example(),))

    def blocks(_, inputs, outputs):  # of four channels in and eight out
        return 1e-3 * -(-inputs // 4) * -(-outputs // 8)

    table_of(traced, blocks).write(artifacts / "device.json")
    auto = params(round_to="auto", latency_profile=str(artifacts / "device.json"), tolerance=0.05)
    sample(auto, artifacts, silent)
    space = json.loads((artifacts / "sample/space.json").read_text())
    steps = space["round_to"]
    assert (steps["layer3.0.conv1"], steps["layer1.0.conv1"]) == (8, 2)
    names = [group["name"] for group in space["groups"]]
    for row in pq.read_table(artifacts / "sample/candidates.parquet").to_pylist():
        for name, width in zip(names, row["widths"], strict=True):
            assert width % steps[name] == 0 or width == traced.group(name).channels
    read = read_space(artifacts, network)
    assert read.round_to == steps


def test_without_a_profile_widths_are_multiples_of_eight_or_four_that_leave_four(artifacts):
    sample(params(tolerance=0.02, candidates=20), artifacts, silent)
    read = read_space(artifacts, load_network(artifacts / "baseline"))
    assert read.round_to == usual_steps(read.groups)
    assert {group.channels: read.round_to[group.name] for group in read.groups} == {8: 1, 16: 4, 32: 8}
    rows = pq.read_table(artifacts / "sample/candidates.parquet").to_pylist()
    assert len(rows) == 20
    for row in rows:
        for group, width in zip(read.groups, row["widths"], strict=True):
            assert width % read.round_to[group.name] == 0


def test_auto_goes_finer_where_too_few_networks_of_such_widths_are_inside_the_budget(artifacts):
    network = load_network(artifacts / "baseline")
    traced = eyas.trace(network.model, (network.example(),))
    tight = params(tolerance=1e-4, candidates=50).sample
    assert (
        len(Sampler.parse("budget").ask(traced.rounded(4), Budget.of(traced.rounded(4), "macs", 0.5, 1e-4), 50, seed=0))
        < 50
    )
    assert rounded(traced, tight) is traced
    assert rounded(traced, tight.model_copy(update={"round_to": 1})) is traced
    out_of_reach = params(budget={"macs": 0.001}).sample
    assert rounded(traced, out_of_reach) is traced, "the error that follows is about the finest widths"


@pytest.mark.parametrize("sampler", [UNSEEDED, {"kind": "conditional"}])
def test_auto_counts_networks_above_the_floor_of_the_sampler(artifacts, sampler, caplog):
    caplog.set_level("INFO")
    settings = params(candidates=12, tolerance=0.005, sampler={**sampler, "floor": 0.9})
    sample(settings, artifacts, silent)
    assert pq.read_table(artifacts / "sample/candidates.parquet").num_rows == 12
    usual = "multiples of 8 in 1 group, of 4 in 2 groups, any in 3 groups"
    assert f"with {usual} fewer than 12 networks are inside the budget: widths are finer" in caplog.messages


def test_multiples_of_a_profile_are_finer_too_where_the_budget_holds_too_few(artifacts, caplog):
    caplog.set_level("INFO")
    network = load_network(artifacts / "baseline")
    traced = eyas.trace(network.model, (network.example(),))
    table_of(traced, lambda _, inputs, outputs: 1e-3 * -(-inputs // 4) * -(-outputs // 8)).write(
        artifacts / "device.json"
    )
    by_profile = {"latency_profile": str(artifacts / "device.json"), "candidates": 200}
    loose, tight = (params(**by_profile, tolerance=tolerance).sample for tolerance in (0.2, 2e-4))
    assert max(rounded(traced, loose).round_to.values()) == 8
    assert "fewer than" not in caplog.text
    finer = rounded(traced, tight)
    assert finer is traced or max(finer.round_to.values()) < 8
    assert len(tight.sampler.ask(finer, Budget.of(finer, "macs", 0.5, 2e-4), 50, seed=0)) == 50
    assert "fewer than 200 networks are inside the budget: widths are finer" in caplog.text


def test_what_widths_are_multiples_of_is_logged(artifacts, caplog):
    caplog.set_level("INFO")
    for asked, words in ((4, "multiples of 4"), (1, "any")):
        sample(params(round_to=asked, tolerance=0.03), artifacts, silent)
        assert f"widths: {words}" in caplog.messages


def test_a_broken_profile_or_another_word_than_auto_is_refused(artifacts):
    (artifacts / "device.json").write_text('{"kind": "eyas lat')
    with pytest.raises(DataError, match="was cut off"):
        sample(params(round_to="auto", latency_profile=str(artifacts / "device.json")), artifacts, silent)
    with pytest.raises(ValidationError, match="Input should be 'auto'"):
        params(round_to="eight")


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
