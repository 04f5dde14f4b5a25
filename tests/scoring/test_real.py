"""On real images with a public checkpoint: numbers that are known from elsewhere."""

import io

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

import eyas
import models
from eyas.networks.checkpoint import load_checkpoint
from eyas.scoring import Rung

MEAN, STD = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])


def read(path, count):
    rows = next(pq.ParquetFile(path).iter_batches(count)).to_pylist()
    pixels = np.stack([np.asarray(Image.open(io.BytesIO(row["img"]["bytes"])).convert("RGB")) for row in rows])
    images = (torch.from_numpy(pixels).float() / 255 - MEAN) / STD
    return images.permute(0, 3, 1, 2), torch.tensor([row["label"] for row in rows])


@pytest.mark.real_data
def test_recalibrating_resnet20_on_jpeg_copies_costs_it_two_points(real_data):
    """The data's README: 81.0 % with its own statistics, 79.2 % with those of JPEG images (3 standard errors here)."""
    model = models.build("resnet20", 10)
    load_checkpoint(model, real_data / "weights/resnet20-12fca82f.th")
    calibration, _ = read(real_data / "cifar10_jpeg/train.parquet", 1024)
    scoring, labels = read(real_data / "cifar10_jpeg/test.parquet", 2000)
    space = eyas.trace(model.eval(), (scoring[:1],))
    rungs = [Rung(images=2000, calibration_images=1024, mode="held_out")]
    table = eyas.score(model, space, [space.plan()], calibration, scoring, labels, rungs=rungs)
    assert table.accuracy[0] == pytest.approx(0.792, abs=0.027)
    assert table.diagnostics["probe"]["original"] == pytest.approx(0.810, abs=0.037)
