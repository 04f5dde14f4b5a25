"""Data sets built from small sources."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from eyas.data.decoding import Preprocessing
from eyas.data.make_dataset import DatasetOptions, make_dataset
from eyas.data.sources import fetch_files
from tests.support.image_sources import make_images, write_folder

LABELS = [n % 3 for n in range(120)]


@pytest.fixture
def options() -> Callable[..., DatasetOptions]:
    def make(**changes: object) -> DatasetOptions:
        channels = changes.pop("channels", 3)
        size = changes.pop("size", 8)
        preprocessing = Preprocessing(channels, size, changes.pop("resize", None))
        defaults = {
            "mean": (0.5,) * channels,
            "std": (0.25,) * channels,
            "calibration_fraction": 0.2,
            "score_fraction": 0.2,
            "test_fraction": 0.2,
        }
        return DatasetOptions(preprocessing, **{**defaults, **changes})

    return make


@pytest.fixture
def fetched(tmp_path: Path, options: Callable[..., DatasetOptions]) -> Callable[..., Path]:
    """Build a data set from local sources; returns its folder."""
    from eyas.storage import Store

    counter = iter(range(100))

    def make(
        train: Path,
        test: Path | None = None,
        sha256: dict[str, str] | None = None,
        where: str | None = None,
        **changes: object,
    ) -> Path:
        folder = tmp_path / f"fetch{next(counter)}"
        source = {"train": str(train)} | ({"test": str(test)} if test else {})
        for name, address in source.items():
            fetch_files(address, folder / "files" / name, Store(state=tmp_path / "state").bring, sha256 or {})
        make_dataset(folder, options(test=where, **changes), dict.fromkeys(source, "somewhere"))
        return folder

    return make


@pytest.fixture
def images() -> np.ndarray:
    return make_images(len(LABELS))


@pytest.fixture
def folder(tmp_path, images) -> Path:
    write_folder(tmp_path / "source", images, LABELS)
    return tmp_path / "source"
