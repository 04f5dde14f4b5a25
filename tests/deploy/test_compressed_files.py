"""Compressed sizes: those of gzip, told where a network has many zeros."""

import gzip
from pathlib import Path

import pytest
import torch

from eyas.deploy.compressed_files import compressed_sizes, gzip_bytes


@pytest.mark.parametrize("size", [0, 1, 5000, 3_000_000])
def test_the_size_is_that_of_gzip(tmp_path: Path, size: int) -> None:
    path = tmp_path / "file"
    content = bytes(torch.randint(0, 50, (size,), generator=torch.Generator().manual_seed(0)).tolist())
    path.write_bytes(content)
    assert gzip_bytes(path) == len(gzip.compress(content, 6))
    assert len(gzip.decompress(gzip.compress(content, 6))) == size


def test_without_zeros_nothing_is_told(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"0" * 1000)
    weights = torch.ones(100)
    weights[:9] = 0
    assert compressed_sizes({"w": weights}, {"model": path}) == {}
    weights[:10] = 0
    assert compressed_sizes({"w": weights}, {"model": path}) == {"model_gzip_bytes": gzip_bytes(path)}
