"""The predicted size of the exported file against exported files."""

import numpy as np
import pytest
import torch

import eyas
import models
from eyas.deploy.exporters import Exporter
from eyas.errors import ParameterError
from eyas.sampling.budget import Budget
from eyas.sampling.file_size import FileSize

IMAGES = torch.zeros(1, 3, 16, 16)


@pytest.fixture(scope="module")
def space():
    model = models.build("resnet8", 10, width=8).eval()
    for name, buffer in model.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_()  # folded biases of zero would be left out of the file
    return eyas.trace(model, (IMAGES,))


def test_a_file_is_as_large_as_predicted(space, tmp_path):
    widths = {group.name: max(1, int(0.4 * group.channels)) for group in space.groups}
    small = eyas.prune(space.model, space, space.plan(widths))
    path = Exporter.parse("onnx")(small, IMAGES, tmp_path / "small.onnx")
    predicted = FileSize.of(space).bytes(space.cost(widths).params, np.array(list(widths.values())))
    assert predicted == pytest.approx(path.stat().st_size, rel=0.005)


def test_bytes_and_shares_of_the_file_are_limits(space, tmp_path, monkeypatch):
    exported = Exporter.parse("onnx")(space.model, IMAGES, tmp_path / "dense.onnx").stat().st_size
    size = FileSize.of(space)
    monkeypatch.setattr(FileSize, "of", lambda _: size)
    assert Budget.of(space, "file_bytes", 0.5).limits[0].target == pytest.approx(0.5 * exported)
    assert Budget.of(space, "file_bytes", 20_000).limits[0].target == 20_000


def test_a_network_that_takes_more_than_images_has_no_file(space, monkeypatch):
    monkeypatch.setattr(space, "example", ((IMAGES, IMAGES), {}))
    with pytest.raises(ParameterError, match="takes one tensor of images and nothing else"):
        Budget.of(space, "file_bytes", 0.5)
