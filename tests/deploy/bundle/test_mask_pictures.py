"""The bundle of a network that answers per pixel: its masks are the pipeline's own answers."""

import base64
import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from eyas.data import open_dataset
from eyas.data.decoding import Preprocessing
from eyas.data.formats.masks import Masks
from eyas.data.make_dataset import DatasetOptions, make_dataset
from eyas.data.mask_decoding import decode_mask
from eyas.data.shapes import CLASSES, write_shapes
from eyas.data.tasks import Task
from eyas.deploy.bundle.classifier import Classifier
from eyas.deploy.bundle.contents import BUNDLE, write_list
from eyas.deploy.bundle.make_bundle import make_bundle
from eyas.deploy.bundle.mask_pictures import UNSEEN, picture_on
from eyas.deploy.bundle.served_bundle import PROGRAMS, ServedBundle
from eyas.deploy.bundle.verification import verify_bundle
from eyas.errors import ParityError
from tests.support.colour_bundle import Made, make

SIZE, MEAN, STD = 16, (0.5, 0.4, 0.6), (0.25, 0.2, 0.3)
ALONE = """
import runpy, sys
sys.modules |= dict.fromkeys(("torch", "eyas", "onnx", "pydantic"))  # importing these fails
sys.path.insert(0, sys.argv[1])
sys.argv = sys.argv[1:]
runpy.run_path(f"{sys.argv[0]}/predict.py", run_name="__main__")
"""


class PerPixel(nn.Module):
    """A class for each pixel, by what is around it."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        around = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.layers = nn.Sequential(around, nn.BatchNorm2d(8), nn.Conv2d(8, 4, 1, bias=False))

    def forward(self, images: Tensor) -> Tensor:
        return 3 * self.layers(images)


@pytest.fixture(scope="module", params=[(True, None), (False, 20)], ids=["in the graph", "cropped by Pillow"])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder, (in_graph, resize) = tmp_path_factory.mktemp("masks"), request.param
    write_shapes(folder / "fetch/files/train", images=40, size=20)
    options = DatasetOptions(Preprocessing(3, SIZE, resize), MEAN, STD, 0.2, 0.2, 0.4, Task.parse("segmentation"))
    make_dataset(folder / "fetch", options, {"train": "builtin:shapes"})
    return make(folder / "export", open_dataset(folder / "fetch"), PerPixel().eval(), in_graph=in_graph)


def answers(made: Made, content: bytes) -> np.ndarray:
    """The class of each pixel that the pipeline's network sees, ``(H, W)``."""
    read = Preprocessing(3, SIZE, made.dataset.manifest.image.resize)
    pixels = torch.from_numpy(read(content, "x").copy())[None]
    with torch.inference_mode():
        return PerPixel().eval()(made.dataset.normalise(pixels)).argmax(1)[0].numpy()


def test_alone_it_writes_the_pipelines_masks_and_their_shares(made: Made, tmp_path: Path) -> None:
    images = sorted((made.dataset.folder / "files/train/images").iterdir())[:6]
    (tmp_path / "in").mkdir()
    for number, path in enumerate(images):
        with Image.open(path) as image:  # in the network's own size, so that nothing is rounded otherwise
            image.crop((0, 0, 20, 20) if made.dataset.manifest.image.resize else (0, 0, SIZE, SIZE)).save(
                tmp_path / f"in/{number}.png"
            )
    (tmp_path / "in/torn.png").write_bytes(images[0].read_bytes()[:90])
    names = [f"in/{number}.png" for number in range(len(images))]
    command = [sys.executable, "-c", ALONE, str(made.folder), *names, "in/torn.png"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("in/torn.png: ")
    assert len(done.stderr.splitlines()) == 1
    for name, line in zip(names, done.stdout.splitlines(), strict=True):
        expected = answers(made, (tmp_path / name).read_bytes())
        assert len(np.unique(expected)) > 1
        mask = tmp_path / f"masks/{name}.png"
        read = Preprocessing(3, SIZE, made.dataset.manifest.image.resize)
        told, size = decode_mask(mask.read_bytes(), name, read, Masks(classes=CLASSES))  # as masks to train on are read
        np.testing.assert_array_equal(told, expected)
        with Image.open(tmp_path / name) as image:
            assert size == image.size
        assert line.endswith(f" -> masks/{name}.png")
        shares = dict(part.rsplit(" ", 1) for part in line.split(": ")[1].split(" -> ")[0].split(", "))
        assert {label: float(share) for label, share in shares.items()} == pytest.approx(
            {label: float((expected == k).mean()) for k, label in enumerate(CLASSES)}, abs=1e-4
        )


def test_images_of_one_name_in_two_folders_keep_two_masks(made: Made, tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        shutil.copyfile(made.folder / "golden/0.png", tmp_path / folder / "x.png")
    command = [sys.executable, str(made.folder / "predict.py"), "a/x.png", str(tmp_path / "b/x.png")]
    subprocess.run(command, check=True, capture_output=True, cwd=tmp_path)
    masks = {path.relative_to(tmp_path / "masks").as_posix() for path in (tmp_path / "masks").rglob("*.png")}
    assert masks == {"a/x.png.png", str(tmp_path / "b/x.png.png").lstrip("/")}


def test_what_the_crop_leaves_out_has_no_class() -> None:
    mask = np.asarray(picture_on(np.full((10, 10), 3), (60, 30), {"size": 10, "resize": 15}))
    assert mask.shape == (30, 60)
    assert (mask[4:24, 20:40] == 3).all()
    assert (mask == 3).sum() == 20 * 20
    assert set(np.unique(mask)) == {3, UNSEEN}


def test_golden_masks_are_replayed_and_another_answer_is_told(made: Made, tmp_path: Path) -> None:
    assert made.parity.agreement > 0.99
    bundle = Path(shutil.copytree(made.folder, tmp_path / "bundle"))
    subprocess.run([sys.executable, "predict.py", "golden/0.png"], check=True, capture_output=True, cwd=bundle)
    assert (bundle / "masks/golden/0.png.png").exists()
    assert verify_bundle(bundle).pairs == 8  # what was answered there is no fault
    shutil.rmtree(bundle / "masks")
    golden = json.loads((bundle / "golden/expected.json").read_text())
    (bundle / "golden/expected.json").write_text(json.dumps(golden | {"tolerance": 1}))
    Image.fromarray(np.full((SIZE, SIZE), 2, np.uint8)).save(bundle / "golden/3.mask.png")
    write_list(bundle)
    with pytest.raises(
        ParityError, match=r"golden/3\.png: a share of [\d.]+ of its pixels has another class, allowed is 0\.01"
    ):
        verify_bundle(bundle)


def test_a_bundle_that_answers_otherwise_is_not_made(made: Made, tmp_path: Path) -> None:
    network = PerPixel().eval()
    with torch.no_grad():
        network.layers[2].weight[0] += 0.5  # not the one that was exported
    (tmp_path / BUNDLE).mkdir()
    options = {"in_graph": False, "licence": "", "card": str}
    with pytest.raises(ParityError, match=r"top-1 agreement of pixels is 0\.\d+, at least 0\.99 is needed"):
        make_bundle(made.export, tmp_path / BUNDLE, made.dataset, network, **options)


def test_served_it_answers_with_a_mask_and_shares(made: Made) -> None:
    content = (made.folder / "golden/1.png").read_bytes()
    known = {name: sys.modules.get(name) for name in PROGRAMS}
    (answer,) = ServedBundle(made.folder).predict({"image": [base64.b64encode(content).decode()]})
    assert {name: sys.modules.get(name) for name in PROGRAMS} == known
    assert answer.keys() == {"mask", "shares"}
    with Image.open(io.BytesIO(base64.b64decode(answer["mask"]))) as mask, Image.open(io.BytesIO(content)) as image:
        assert mask.size == image.size
        classes = Classifier(made.folder, threads=1)(image.convert("RGB")).argmax(0)
    assert sum(answer["shares"].values()) == pytest.approx(1)
    assert answer["shares"] == pytest.approx({label: (classes == k).mean() for k, label in enumerate(CLASSES)})
    with pytest.raises(ValueError, match="image 0 cannot be read"):
        ServedBundle(made.folder).predict({"image": [b"torn"]})
