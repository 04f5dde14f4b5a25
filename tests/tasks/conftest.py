import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from torch import Tensor, nn

import eyas
import models
from eyas.config import PipelineParams, parse_params
from eyas.networks.saved_network import Network, save_network
from eyas.operations.promote_params import PromoteParams
from eyas.progress import silent
from eyas.pruning.criteria import Criterion
from eyas.pruning.space import SearchSpace
from tasks.export import export
from tasks.fetch import fetch
from tasks.measure_latency import write_latency
from tasks.recorded_cost import COSTS, RANKED
from tasks.stage import write_json
from tasks.workspace import Workspace
from tests.tasks.registering import Setting, spoil, write_accuracy, write_lock

ARGUMENTS = {"name": "resnet8", "num_classes": 10, "width": 8, "in_channels": 1}
BASELINE = {"architecture": "resnet8", "arguments": {"width": 8, "in_channels": 1}}


@pytest.fixture(scope="session")
def digits_params() -> PipelineParams:
    """The checkout's parameters with a smaller network and few timed runs."""
    export = {"exporters": ["onnx", "onnx_int8"], "parity_images": 200, "latency_runs": 10}
    data = {"train": "builtin:digits", "image_size": 8, "mean": [0.3], "std": [0.4]}
    return parse_params({"fetch": data, "baseline": BASELINE, "export": export, "register": {"model": "digits"}})


@pytest.fixture(scope="session")
def pruned_digits(tmp_path_factory: pytest.TempPathFactory, digits_params: PipelineParams) -> Path:
    """``artifacts/`` as the stages before ``export`` leave it; the networks are hardly trained."""
    artifacts = tmp_path_factory.mktemp("digits") / "artifacts"
    (artifacts / "fetch").mkdir(parents=True)
    write_json(artifacts / "fetch/metrics.json", dict(fetch(digits_params, artifacts, silent)))
    data = eyas.data.open_dataset(artifacts / "fetch")
    train = data.split("train")
    images, labels = data.normalise(train.images()), train.labels
    torch.manual_seed(0)
    dense = trained(models.build(**ARGUMENTS), images, labels)
    save_network(Network(dense, "models:build", ARGUMENTS, (1, 8, 8)), artifacts / "baseline")
    space = eyas.trace(dense, (images[:2],))
    widths = {group.name: max(1, group.channels // 2) for group in space.groups}
    plan = space.plan(widths, criterion=Criterion.parse("l1_norm"))
    (artifacts / "sample").mkdir()
    write_json(artifacts / "sample/space.json", space.to_json())
    (artifacts / "score").mkdir()
    (artifacts / "score/plan.json").write_text(plan.to_json())
    write_ranking(artifacts, space, [list(plan.widths.values())])
    race = {"batch_size": 128, "rungs": [{"calibration_images": 1024}], "scorer": {"kind": "cross_entropy"}}
    write_json(artifacts / "score/diagnostics.json", {"settings": race})
    small = trained(eyas.prune(dense, space, plan), images, labels)
    options = {"space": space, "plan": plan, "architecture": "models:build", "arguments": ARGUMENTS}
    eyas.save(small, artifacts / "finetune", **options)
    return artifacts


def write_ranking(artifacts: Path, space: SearchSpace, widths: list[list[int]]) -> None:
    """Candidates as ``score`` leaves them, the first of them the winner."""
    costs = space.costs(np.array(widths))
    columns = {name: getattr(costs, name) for name in COSTS}
    table = pa.table({"widths": widths, **columns, "rank": np.arange(len(widths)) + 1})
    pq.write_table(table, artifacts / RANKED)


def trained(model: nn.Module, images: Tensor, labels: Tensor) -> nn.Module:
    """A few steps: enough for statistics and answers that differ from chance."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    model.train()
    for step in range(12):
        chosen = slice(64 * step, 64 * (step + 1))
        loss = nn.functional.cross_entropy(model(images[chosen]), labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory, pruned_digits: Path, digits_params: PipelineParams) -> Path:
    """A checkout's folder: what the stages left, and DVC's two files."""
    root = tmp_path_factory.mktemp("checkout")
    shutil.copytree(pruned_digits, root / "artifacts", ignore=shutil.ignore_patterns("export"))
    (root / "artifacts/export").mkdir()
    params = digits_params.model_copy(update={"export": digits_params.export.model_copy(update={"exporters": ()})})
    write_json(root / "artifacts/export/metrics.json", dict(export(params, root / "artifacts", silent)))
    write_latency(params.export, root / "artifacts")
    write_accuracy(root / "artifacts", "baseline", "dense.onnx")
    write_accuracy(root / "artifacts", "finetune", "model.onnx", test_images=360, test_gained=2, test_lost=38)
    write_table(root / "artifacts")
    write_json(root / "artifacts/sample/metrics.json", {"candidates": 1})
    write_json(root / "artifacts/score/metrics.json", {"winner_macs": 1000})
    stages = {"fetch": {"deps": [], "outs": []}, "export": {"deps": [], "outs": []}}
    (root / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    write_lock(root, "first")
    return root


def write_table(artifacts: Path) -> None:
    """A score table of one candidate, the winner."""
    groups = json.loads((artifacts / "sample/space.json").read_text())["groups"]
    row = {"candidate": 0, "widths": [max(1, group["channels"] // 2) for group in groups], "macs": 1000, "params": 100}
    row |= {"score": -0.5, "standard_error": 0.1, "accuracy": 0.5, "images": 100, "rung": 0, "rank": 1}
    pq.write_table(pa.Table.from_pylist([row]), artifacts / "score/candidates.parquet")


@pytest.fixture
def setting(root: Path, digits_params: PipelineParams, request: pytest.FixtureRequest) -> Setting:
    """The workspace with a registered model of its own and the given gates."""

    def make(**gates: object) -> Workspace:
        uri = f"sqlite:///{root / 'store' / 'mlflow.db'}"
        params = digits_params.model_copy(
            update={
                "register_": digits_params.register_.model_copy(
                    update={"model": re.sub(r"[^A-Za-z0-9_.-]", "-", request.node.name)}
                ),
                "runtime": digits_params.runtime.model_copy(update={"tracking_uri": uri}),
                "promote": PromoteParams(**{"max_drop": None, **gates}),  # type: ignore[arg-type]
            }
        )
        return Workspace(root, root, "default", params)

    return make


@pytest.fixture
def spoilt(root: Path) -> Iterator[Callable[[Workspace], None]]:
    """Call it with a workspace; the good files are back afterwards."""
    metrics = root / "artifacts/finetune/metrics.json"
    shutil.copytree(root / "artifacts/export", root / "good")
    was = metrics.read_text()
    yield spoil  # whatever the test changes under export is undone
    metrics.write_text(was)
    shutil.rmtree(root / "artifacts/export")
    (root / "good").rename(root / "artifacts/export")


@pytest.fixture
def lock(root: Path) -> Iterator[str]:
    """The text of ``dvc.lock``, which is back afterwards."""
    text = (root / "dvc.lock").read_text()
    yield text
    (root / "dvc.lock").write_text(text)
