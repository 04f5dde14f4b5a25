"""Small sources of every format, made from the same images."""

import gzip
import io
import json
import pickle
import struct
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

CLASSES = ("ant", "bee", "cat")


def make_images(count: int, size: int = 8, channels: int = 3, seed: int = 0) -> NDArray[np.uint8]:
    """Random images (N, H, W, C)."""
    return np.random.default_rng(seed).integers(0, 256, (count, size, size, channels), dtype=np.uint8)


def png(pixels: NDArray[np.uint8], mode: str | None = None) -> bytes:
    buffer = io.BytesIO()
    image = Image.fromarray(pixels.squeeze())
    (image.convert(mode) if mode else image).save(buffer, "PNG")
    return buffer.getvalue()


def write_folder(root: Path, images: NDArray[np.uint8], labels: list[int], prefix: str = "") -> None:
    for position, (pixels, label) in enumerate(zip(images, labels, strict=True)):
        path = root / prefix / CLASSES[label] / f"{position:04}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(pixels))


def write_parquet(
    path: Path, images: NDArray[np.uint8], labels: list[int], *, style: str = "struct", group: int = 7
) -> None:
    encoded = [png(pixels) for pixels in images]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    if style == "binary":
        columns = {"image": pa.array(encoded, pa.binary()), "label": pa.array(labels, pa.int64())}
        table = pa.table(columns).replace_schema_metadata({"class_names": ",".join(CLASSES)})
    elif style == "text":
        columns = {"image": pa.array(encoded, pa.binary()), "label": [CLASSES[label] for label in labels]}
        table = pa.table(columns)
    else:
        cells = [{"bytes": data, "path": f"{position}.png"} for position, data in enumerate(encoded)]
        table = pa.table({"img": pa.array(cells, kind), "label": pa.array(labels, pa.int64())})
        features = {"img": {"_type": "Image"}, "label": {"names": list(CLASSES), "_type": "ClassLabel"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=group)


def write_idx_pair(root: Path, images: NDArray[np.uint8], labels: list[int], stem: str = "train-") -> None:
    root.mkdir(parents=True, exist_ok=True)
    count, height, width, _ = images.shape
    header = struct.pack(">4i", 0x803, count, height, width)  # MNIST's magic numbers, 2051 and 2049
    (root / f"{stem}images-idx3-ubyte").write_bytes(header + images[..., 0].tobytes())
    (root / f"{stem}labels-idx1-ubyte").write_bytes(struct.pack(">2i", 0x801, len(labels)) + bytes(labels))


def write_gzipped_idx_pair(root: Path, images: NDArray[np.uint8], labels: list[int]) -> None:
    write_idx_pair(root, images, labels)
    for path in list(root.iterdir()):
        (root / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()


def write_cifar(
    root: Path, images: NDArray[np.uint8], labels: list[int], name: str = "data_batch_1", protocol: int = 2
) -> None:
    root.mkdir(parents=True, exist_ok=True)
    data = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
    content = {b"data": data, b"labels": list(labels), b"batch_label": b"x"}
    (root / name).write_bytes(pickle.dumps(content, protocol=protocol))
    (root / "batches.meta").write_bytes(
        pickle.dumps({b"label_names": [text.encode() for text in CLASSES]}, protocol=protocol)
    )
