"""Sparsity through parameters: fine-tuned, saved and exported with every zero where it was."""

import gzip
import shutil

import onnx
import pytest
import torch
from onnx import numpy_helper

import eyas
from eyas.config import parse_params
from eyas.progress import silent
from eyas.pruning.sparsify import SparseLayers
from eyas.pruning.sparsity import Sparsity
from tasks.export import export
from tasks.finetune import finetune
from tests.tasks.conftest import BASELINE

CASES = [
    ({"kind": "unstructured", "zeros": 0.75}, "at_once"),
    ({"kind": "unstructured", "zeros": 0.75}, "granet"),
    ({"kind": "n_m"}, "at_once"),
    ({"kind": "n_m", "n": 1, "m": 4}, "soft_shrinkage"),
    ({"kind": "one_by_n"}, "at_once"),
    ({"kind": "one_by_n", "n": 2, "zeros": 0.6}, "granet"),
]
NAMES = [f"{sparsity['kind']}-{sparsifier}" for sparsity, sparsifier in CASES]


@pytest.fixture
def artifacts(pruned_digits, tmp_path):
    """A workspace in which all stages before ``finetune`` have run."""
    for name in ("fetch", "baseline", "sample", "score"):
        shutil.copytree(pruned_digits / name, tmp_path / "artifacts" / name)
    for name in ("finetune", "export"):
        (tmp_path / "artifacts" / name).mkdir()
    return tmp_path / "artifacts"


def make_params(artifacts, **fields):
    recipe = {"kind": "sgd", "batch_size": 64, "learning_rate": 0.05}
    runtime = {"state": str(artifacts.parent / "state"), "device": "cpu"}
    exports = {"exporters": ["onnx", "onnx_int8"], "parity_images": 100, "bundle": False, "max_accuracy_drop": 1}
    finetuning = {"epochs": 3, "recipe": recipe, **fields}
    return parse_params({"baseline": BASELINE, "finetune": finetuning, "export": exports, "runtime": runtime})


def zeros_of(folder, sparsity):
    """Zeros and all entries of the weights that have the pattern, in the saved network."""
    weights = SparseLayers.choose(eyas.load(folder), Sparsity.parse(sparsity)).weights.values()
    return sum(int((w == 0).sum()) for w in weights), sum(w.numel() for w in weights)


@pytest.mark.parametrize(("sparsity", "sparsifier"), CASES, ids=NAMES)
def test_the_network_is_saved_with_the_zeros_that_were_asked_for(artifacts, sparsity, sparsifier):
    params = make_params(artifacts, sparsity=sparsity, sparsifier=sparsifier)
    metrics = finetune(params, artifacts, silent)
    zeros, total = zeros_of(artifacts / "finetune", sparsity)
    assert zeros >= round(Sparsity.parse(sparsity).share * total)
    assert zeros < total
    model = eyas.load(artifacts / "finetune")
    layers = [m for m in model.modules() if isinstance(m, (torch.nn.Conv2d, torch.nn.Linear))]
    assert metrics["layer_weights"] == sum(layer.weight.numel() for layer in layers)
    assert metrics["nonzero_weights"] == sum(int((layer.weight != 0).sum()) for layer in layers)
    assert metrics["nonzero_macs"] < metrics["macs"]
    assert metrics["best_epoch"] > 0
    assert metrics["test_accuracy"] > 0.2  # a tenth by chance; the network is hardly trained


@pytest.mark.parametrize("kind", ["n_m", "one_by_n", "unstructured"])
def test_files_have_the_networks_zeros_and_agree_with_it(artifacts, kind):
    params = make_params(artifacts, epochs=4, sparsity={"kind": kind})
    finetune(params, artifacts, silent)
    model = eyas.load(artifacts / "finetune")
    layers = [m for m in model.modules() if isinstance(m, (torch.nn.Conv2d, torch.nn.Linear))]
    exported = export(params, artifacts, silent)
    files = {name: artifacts / f"export/{name}.onnx" for name in ("model", "formats/model.int8")}
    expected = [int((layer.weight == 0).sum()) for layer in layers]
    assert sorted(map(zeros_in, onnx_weights(files["model"]))) == sorted(expected)
    assert sum(map(zeros_in, onnx_weights(files["formats/model.int8"]))) >= sum(expected)
    assert exported["agreement"] == 1
    assert exported["max_difference"] < 1e-4
    gzipped = len(gzip.compress(files["model"].read_bytes(), 6))
    assert exported["model_gzip_bytes"] == pytest.approx(gzipped, abs=64)
    assert exported["model_gzip_bytes"] < 0.9 * exported["model_bytes"]


def zeros_in(array):
    return int((array == 0).sum())


def onnx_weights(path):
    """The matrices and kernels of a file; those of 8 bits are symmetric, so that a zero is a zero."""
    arrays = [numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer]
    return [array for array in arrays if array.ndim > 1 and array.dtype.kind in "fi"]


def test_a_training_that_only_harms_leaves_a_network_with_the_zeros(artifacts):
    recipe = {"kind": "sgd", "learning_rate": 30.0, "batch_size": 128}
    for sparsifier in ("at_once", "soft_shrinkage"):
        sparsity = {"kind": "unstructured", "zeros": 0.6}
        metrics = finetune(
            make_params(artifacts, epochs=2, recipe=recipe, sparsity=sparsity, sparsifier=sparsifier), artifacts, silent
        )
        assert metrics["best_epoch"] == 0
        zeros, total = zeros_of(artifacts / "finetune", sparsity)
        assert zeros == round(0.6 * total)
        assert metrics["test_accuracy"] == metrics["recalibrated_test_accuracy"]


def test_without_training_zeros_are_there_and_statistics_go_with_them(artifacts):
    sparsity = {"kind": "one_by_n", "zeros": 0.25}
    metrics = finetune(make_params(artifacts, epochs=0, sparsity=sparsity), artifacts, silent)
    zeros, total = zeros_of(artifacts / "finetune", sparsity)
    assert zeros == round(0.25 * total)
    dense = finetune(make_params(artifacts, epochs=0), artifacts, silent)
    assert "nonzero_weights" not in dense
    assert metrics["test_accuracy"] != dense["test_accuracy"]


@pytest.mark.parametrize("sparsifier", ["at_once", "granet"])
def test_after_several_cuts_the_last_network_becomes_sparse(artifacts, sparsifier):
    sparsity = {"kind": "one_by_n", "n": 2}
    params = make_params(artifacts, epochs=4, gradual={"cuts": 2}, sparsity=sparsity, sparsifier=sparsifier)
    metrics = finetune(params, artifacts, silent)
    zeros, total = zeros_of(artifacts / "finetune", sparsity)
    assert zeros >= round(0.5 * total)
    assert metrics["best_epoch"] > 2


def test_depth_scaling_and_averages_keep_the_zeros(artifacts):
    recipe = {"kind": "sgd", "batch_size": 64, "learning_rate": 0.05, "ema_decay": 0.9}
    sparsity = {"kind": "n_m", "n": 1, "m": 2}
    metrics = finetune(make_params(artifacts, recipe=recipe, sparsity=sparsity, depth_scaling=True), artifacts, silent)
    zeros, total = zeros_of(artifacts / "finetune", sparsity)
    assert zeros == round(0.5 * total)
    assert "depth_share" in metrics
