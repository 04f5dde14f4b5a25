"""A registered version answers with class names through MLflow alone."""

import base64
import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image
from torch import nn

from eyas.operations.lineage import Lineage
from eyas.operations.tracking import MlflowStore, model_registry
from eyas.operations.tracking.publish import REQUIREMENTS, register_version
from eyas.storage.digests import file_sha256
from tests.support.colour_bundle import Made, colour_dataset, make, make_colours, photograph

KEYS = {"fetch": "1" * 64, "export": "5" * 64}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return listed(make_colours(tmp_path_factory.mktemp("colours")))


def listed(made: Made, **facts: str) -> Made:
    """With its manifest, which tells more facts."""
    paths = [path for path in made.export.rglob("*") if path.is_file() and path.name != "bundle.tar.gz"]
    files = {path.relative_to(made.export).as_posix(): {"sha256": file_sha256(path)} for path in paths}
    (made.export / "manifest.json").write_text(json.dumps({"version": 1, "files": files, **facts}))
    return made


@pytest.fixture
def model_folder(store: MlflowStore, made: Made, make_lineage, tmp_path: Path) -> Path:
    """The registered version's files as MLflow brings them."""
    import mlflow.artifacts

    lineage: Lineage = make_lineage(KEYS)
    version = register_version(store, "colours", made.export, lineage, shape=(3, 16, 16))
    place = {"artifact_uri": version.source, "dst_path": str(tmp_path / "model"), "tracking_uri": store.uri}
    return Path(mlflow.artifacts.download_artifacts(**place))


def jpeg(colour: str, size: tuple[int, int]) -> bytes:
    buffer = io.BytesIO()
    photograph(colour, size).save(buffer, "JPEG")
    return buffer.getvalue()


def test_version_answers_with_class_names_from_image_bytes(model_folder: Path) -> None:
    import mlflow.pyfunc

    model = mlflow.pyfunc.load_model(str(model_folder))
    answers = model.predict(pd.DataFrame({"image": [jpeg("red", (40, 25)), jpeg("green", (7, 90))]}))
    assert [answer["class"] for answer in answers] == ["red", "green"]
    for answer in answers:
        assert list(answer["probabilities"]) == ["blue", "green", "red"]
        assert sum(answer["probabilities"].values()) == pytest.approx(1)
        assert answer["probability"] == max(answer["probabilities"].values())
    (column,) = model.metadata.signature.inputs.inputs
    assert (column.name, str(column.type)) == ("image", "DataType.binary")
    requirements = (model_folder / "requirements.txt").read_text().split()
    assert {name for name in requirements if not name.startswith("mlflow")} == set(REQUIREMENTS)


def test_a_version_of_a_network_of_pixels_answers_with_masks(store: MlflowStore, make_lineage, tmp_path: Path) -> None:
    import mlflow.artifacts
    import mlflow.pyfunc

    network = nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 3, 1)).eval()
    made = make(tmp_path / "export", colour_dataset(tmp_path / "fetch", None), network, in_graph=True)
    version = register_version(
        store, "pixels", listed(made, task="segmentation").export, make_lineage(KEYS), shape=(3, 16, 16)
    )
    place = {"artifact_uri": version.source, "dst_path": str(tmp_path / "down"), "tracking_uri": store.uri}
    model = mlflow.pyfunc.load_model(mlflow.artifacts.download_artifacts(**place))
    (answer,) = model.predict(pd.DataFrame({"image": [jpeg("red", (40, 25))]}))
    with Image.open(io.BytesIO(base64.b64decode(answer["mask"]))) as mask:
        assert (mask.size, mask.mode) == ((40, 25), "P")
    assert list(answer["shares"]) == ["blue", "green", "red"]
    assert sum(answer["shares"].values()) == pytest.approx(1)
    assert [column.name for column in model.metadata.signature.outputs.inputs] == ["mask", "shares"]


def test_the_network_itself_is_still_there(model_folder: Path, made: Made) -> None:
    import mlflow.onnx

    assert mlflow.onnx.load_model(str(model_folder)).graph.output[0].name == "logits"
    assert (model_folder / "model.onnx").read_bytes() == (made.export / "model.onnx").read_bytes()


def test_an_image_that_cannot_be_read_is_named(model_folder: Path) -> None:
    import mlflow.pyfunc

    model = mlflow.pyfunc.load_model(str(model_folder))
    with pytest.raises(ValueError, match="image 1 cannot be read"):
        model.predict(pd.DataFrame({"image": [jpeg("red", (9, 9)), b"no image"]}))


def test_server_takes_base64_and_knows_nothing_of_us(model_folder: Path, tmp_path: Path) -> None:
    """What ``mlflow models serve`` runs, in a process that cannot import eyas."""
    image = base64.b64encode(jpeg("blue", (30, 20))).decode()
    request = {"dataframe_split": {"columns": ["image"], "data": [[image]]}}
    (tmp_path / "request.json").write_text(json.dumps(request))
    code = (
        "import sys; sys.modules['eyas'] = sys.modules['torch'] = None\n"
        "from mlflow.pyfunc import load_model, scoring_server\n"
        f"model = load_model({str(model_folder)!r})\n"
        f"body = open({str(tmp_path / 'request.json')!r}).read()\n"
        "answer = scoring_server.invocations(body, 'application/json', model, model.metadata.get_input_schema())\n"
        "print(answer.status, answer.response)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    status, response = done.stdout.strip().split(" ", 1)
    assert status == "200"
    assert json.loads(response)["predictions"][0]["class"] == "blue"


def test_a_version_without_a_bundle_answers_with_logits(
    store: MlflowStore, made: Made, make_lineage, tmp_path: Path
) -> None:
    """As networks that are no classifiers do."""
    import mlflow.artifacts
    import mlflow.pyfunc

    bare = tmp_path / "export"
    bare.mkdir()
    shutil.copyfile(made.export / "model.onnx", bare / "model.onnx")
    facts = {"model.onnx": {"sha256": file_sha256(bare / "model.onnx")}}
    (bare / "manifest.json").write_text(json.dumps({"version": 1, "files": facts}))
    version = register_version(store, "bare", bare, make_lineage({**KEYS, "export": "6" * 64}), shape=(3, 16, 16))
    place = {"artifact_uri": version.source, "dst_path": str(tmp_path / "down"), "tracking_uri": store.uri}
    model = mlflow.pyfunc.load_model(mlflow.artifacts.download_artifacts(**place))
    (column,) = model.metadata.signature.inputs.inputs
    assert (column.name, column.shape) == ("images", (-1, 3, 16, 16))
    assert model_registry.get_alias(store, "bare", "candidate") == version
