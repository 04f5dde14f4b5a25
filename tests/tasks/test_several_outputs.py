"""A network of several outputs through every stage: one is trained, scored, distilled, exported, judged, registered."""

import json
import re
import shutil
from pathlib import Path

import onnx
import onnxruntime
import pytest
import torch
import yaml
from safetensors.torch import load_file

from eyas.config import PipelineParams, parse_params
from eyas.data import open_dataset
from eyas.deploy.exported_model import ExportedModel
from eyas.errors import CheckpointError, DataError, ParameterError, ParityError
from eyas.operations.tracking import model_registry
from eyas.progress import silent
from tasks import baseline, export, finetune, sample, score
from tasks.stage import name_fields, write_json
from tasks.tracking_store import open_store
from tasks.workspace import Workspace
from tests.tasks.registering import enter, write_lock
from tests.tasks.several_outputs import build

STAGES = {
    "baseline": baseline.baseline,
    "sample": sample.sample,
    "score": score.score,
    "finetune": finetune.finetune,
    "export": export.export,
}
CHOSEN = {
    "tuple": (None, "1", ("logits", "output_0")),
    "dict": (None, "logits", ("logits", "aux", "answer")),
    "list": ("1.heads.1", "1.heads.1", ("logits", "output_0", "output_1.heads.0")),
    "namedtuple": ("classes", "classes", ("logits", "features", "aux")),
    "dataclass": (None, "classes", ("logits", "features")),
    "training": (None, None, ("logits",)),
}
"""For each structure what is chosen, the path that follows, and the names in the exported file."""


def params_of(folder: Path, kind: str, epochs: int = 2, **sections: object) -> PipelineParams:
    recipe = {"kind": "sgd", "batch_size": 64, "learning_rate": 0.1}
    section = {"architecture": "tests.tasks.several_outputs:build", "arguments": {"kind": kind}, "recipe": recipe}
    content = {
        "baseline": {**section, "epochs": epochs, "output": CHOSEN.get(kind, (None,))[0]},
        "sample": {"budget": {"macs": 0.5}, "candidates": 8, "tolerance": 0.05},
        "score": {"rungs": [{"images": 64}]},
        "finetune": {"epochs": epochs, "recipe": recipe},
        "export": {"latency_runs": 3, "parity_images": 100},
        "register": {"model": f"several-{kind}"},
        "runtime": {
            "state": str(folder / "state"),
            "device": "cpu",
            "threads": 1,
            "tracking_uri": f"sqlite:///{folder}/mlflow.db",
        },
    }
    for name, fields in sections.items():
        content[name] = {**content[name], **fields}
    return parse_params(content)


def run(params: PipelineParams, artifacts: Path, *names: str) -> dict[str, dict[str, float]]:
    metrics = {}
    for name in names or STAGES:
        (artifacts / name).mkdir(exist_ok=True)
        metrics[name] = dict(STAGES[name](params, artifacts, silent))
        write_json(artifacts / name / "metrics.json", metrics[name])
    return metrics


@pytest.fixture
def artifacts(pruned_digits: Path, tmp_path: Path) -> Path:
    shutil.copytree(pruned_digits / "fetch", tmp_path / "artifacts/fetch")
    return tmp_path / "artifacts"


def judged(output: object, kind: str) -> torch.Tensor:
    """The logits of a structure, read by hand."""
    return {
        "tuple": lambda: output[1],
        "dict": lambda: output["logits"],
        "list": lambda: output[1]["heads"][1],
        "namedtuple": lambda: output.classes,
        "dataclass": lambda: output.classes,
        "training": lambda: output,
    }[kind]()


@pytest.mark.parametrize("kind", ["dict", "list", "dataclass", "training"])
def test_the_whole_way(kind: str, artifacts: Path) -> None:
    params = params_of(artifacts.parent, kind, epochs=4)
    metrics = run(params, artifacts)
    _, path, names = CHOSEN[kind]
    for folder in ("baseline", "finetune", "export"):
        assert json.loads((artifacts / folder / "architecture.json").read_text()).get("output") == path
    data = open_dataset(artifacts / "fetch")
    test = data.split("test")
    images, labels = data.normalise(test.images()), test.labels
    dense = build(10, kind).eval()
    dense.load_state_dict(load_file(artifacts / "baseline/model.safetensors"))
    with torch.inference_mode():
        answers = judged(dense(images), kind).argmax(1)
    assert metrics["baseline"]["test_accuracy"] == pytest.approx(float((answers == labels).double().mean()))
    assert metrics["baseline"]["test_accuracy"] > 0.5
    assert metrics["finetune"]["test_accuracy"] > 0.4
    assert metrics["finetune"]["macs"] < 0.6 * metrics["baseline"]["macs"]

    for name, compared in json.loads((artifacts / "export/parity.json").read_text())["files"].items():
        assert [node.name for node in onnx.load(artifacts / "export" / name).graph.output] == list(names)
        assert sorted(compared.get("outputs", {})) == sorted(names[1:])
    session = onnxruntime.InferenceSession(str(artifacts / "export/dense.onnx"))
    exported = session.run(["logits"], {"images": images.numpy()})[0]
    with torch.inference_mode():
        torch.testing.assert_close(torch.from_numpy(exported), judged(dense(images), kind), rtol=1e-4, atol=1e-4)
    model = ExportedModel.open(artifacts / "export")
    right = float((torch.from_numpy(model.answers(test.images())) == labels).double().mean())
    assert right == pytest.approx(metrics["finetune"]["test_accuracy"], abs=0.01)

    root = artifacts.parent
    stages = {"fetch": {"deps": [], "outs": []}, "export": {"deps": [], "outs": []}}
    (root / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    write_lock(root, "first")
    workspace = Workspace(root, root, "default", params)
    version = enter(workspace)
    files = model_registry.download(open_store(workspace), version, root / "registered")
    assert (ExportedModel.open(files).answers(test.images()) == model.answers(test.images())).all()


@pytest.mark.parametrize("kind", ["tuple", "dict", "namedtuple"])
def test_the_chosen_output_is_trained(kind: str, artifacts: Path) -> None:
    metrics = run(params_of(artifacts.parent, kind, epochs=6), artifacts, "baseline")
    assert metrics["baseline"]["test_accuracy"] > 0.5
    weights = load_file(artifacts / "baseline/model.safetensors")
    assert json.loads((artifacts / "baseline/architecture.json").read_text())["output"] == CHOSEN[kind][1]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        fresh = build(10, kind).state_dict()
    assert not torch.equal(weights["head.weight"], fresh["head.weight"])
    # Nothing but weight decay reaches the head that is not trained.
    scale = (weights["aux.weight"] / fresh["aux.weight"]).flatten()
    torch.testing.assert_close(scale, scale[:1].expand_as(scale), rtol=1e-3, atol=1e-3)


def test_what_may_be_several_outputs_is_asked(artifacts: Path) -> None:
    params = params_of(artifacts.parent, "namedtuple", baseline={"output": None})
    with pytest.raises(DataError) as caught:
        run(params, artifacts, "baseline")
    message = name_fields(str(caught.value), baseline.FIELDS)
    assert re.search(r"features \(2, 24\), classes \(2, 10\), aux \(2, 10\): name .* by baseline.output", message)


@pytest.mark.parametrize(
    ("choice", "error", "words"),
    [
        ("nowhere", DataError, "a Answer of features, classes, aux, and `output` 'nowhere' is no tensor there"),
        (7, DataError, "is no tensor there"),
    ],
)
def test_an_output_that_is_not_there_is_refused(choice: object, error: type, words: str, artifacts: Path) -> None:
    with pytest.raises(error, match=words):
        run(params_of(artifacts.parent, "namedtuple", baseline={"output": choice}), artifacts, "baseline")


def test_too_few_logits_are_refused(artifacts: Path) -> None:
    params = params_of(artifacts.parent, "dict", baseline={"output": "answer"})
    with pytest.raises(ParameterError, match=r"answers two images with \(2,\); needed are logits"):
        run(params, artifacts, "baseline")


def test_score_output_stands_for_it_and_may_not_change_alone(artifacts: Path) -> None:
    """DVC sees no change of baseline there; a network trained by another output is not scored."""
    first = params_of(artifacts.parent, "namedtuple", epochs=1, baseline={"output": None}, score={"output": -1})
    run(first, artifacts, "baseline", "sample")
    assert json.loads((artifacts / "baseline/architecture.json").read_text())["output"] == "aux"
    other = params_of(artifacts.parent, "namedtuple", epochs=1, baseline={"output": None}, score={"output": 1})
    with pytest.raises(CheckpointError, match="trained by output 'aux', params.yaml says 'classes'"):
        run(other, artifacts, "score")


def test_every_leaf_is_compared(artifacts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file whose other output is wrong is refused, though its logits agree."""
    params = params_of(artifacts.parent, "tuple", epochs=1)
    run(params, artifacts, "baseline", "sample", "score", "finetune")
    outputs = type(params.export.exporters[0]).outputs

    def spoilt(self, path, images):
        right = outputs(self, path, images)
        return {**right, "output_0": right["output_0"] + 0.1}

    monkeypatch.setattr(type(params.export.exporters[0]), "outputs", spoilt)
    with pytest.raises(ParityError, match=r"dense.onnx computes another output output_0 .*max_difference"):
        run(params, artifacts, "export")


@pytest.mark.parametrize("scorer", ["cross_entropy", "dense_kl"])
@pytest.mark.parametrize("kind", sorted(CHOSEN))
def test_a_refit_is_judged_by_the_chosen_output(kind: str, scorer: str, artifacts: Path) -> None:
    untrained = {"epochs": 0, "recovery": "least_squares"}
    params = params_of(artifacts.parent, kind, epochs=3, score={"scorer": scorer}, finetune=untrained)
    refitted = run(params, artifacts, "baseline", "sample", "score", "finetune")["finetune"]
    plain = params.model_copy(update={"finetune": params.finetune.model_copy(update={"recovery": None})})
    before = run(plain, artifacts, "finetune")["finetune"]
    if refitted.get("refitted_layers"):
        assert refitted["score_cross_entropy"] < before["score_cross_entropy"] + (0.1 if scorer == "dense_kl" else 0)
    else:
        assert refitted == before
