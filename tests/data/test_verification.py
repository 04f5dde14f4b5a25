"""Images that do not decode and files that changed are named."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image

import eyas.data
from eyas.errors import ChecksumError, DataError
from tests.data.conftest import LABELS
from tests.support.image_sources import png


@pytest.mark.parametrize("broken", [b"no image", b""])
def test_an_image_that_does_not_decode_is_named(fetched, folder, broken) -> None:
    victim = sorted((folder / "bee").iterdir())[7]
    victim.write_bytes(broken)
    with pytest.raises(DataError, match=f"train/bee/{victim.name} does not decode"):
        fetched(folder)


def test_a_row_that_does_not_decode_is_named(fetched, tmp_path, images) -> None:
    import pyarrow as pa

    cells = [png(pixels) for pixels in images]
    cells[17] = cells[17][:60]
    (tmp_path / "t").mkdir()
    pq.write_table(pa.table({"image": cells, "label": LABELS}), tmp_path / "t" / "a.parquet")
    with pytest.raises(DataError, match=r"train/a\.parquet row 17 does not decode"):
        fetched(tmp_path / "t")


def test_colour_modes_are_converted_to_the_networks_channels(fetched, folder) -> None:
    victim = sorted((folder / "bee").iterdir())[0]
    with Image.open(victim) as image:
        image.convert("L").save(victim)
    assert eyas.data.open_dataset(fetched(folder)).image_shape == (3, 8, 8)
    grey = eyas.data.open_dataset(fetched(folder, channels=1))
    assert grey.split("train").images().shape[1:] == (1, 8, 8)


def tamper_flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


TAMPERING = {
    "a flipped bit": (tamper_flip, "sha256"),
    "a cut": (lambda path: path.write_bytes(path.read_bytes()[:-1]), "bytes, the manifest says"),
    "a loss": (lambda path: path.unlink(), "is missing"),
}


@pytest.mark.parametrize("kind", TAMPERING)
@pytest.mark.parametrize("which", ["image", "index"])
def test_changed_data_is_named(fetched, folder, kind, which) -> None:
    target = fetched(folder)
    victim = target / "index.parquet" if which == "index" else sorted((target / "files").rglob("*.png"))[11]
    change, words = TAMPERING[kind]
    change(victim)
    with pytest.raises(ChecksumError, match=f"{victim.name}.*{words}"):
        eyas.data.open_dataset(target)


def test_changed_data_is_found_while_reading_where_hashing_all_would_take_long(fetched, folder) -> None:
    target = fetched(folder)
    dataset = eyas.data.open_dataset(target, hash_limit=0)
    row = next(row for row in pq.read_table(target / "index.parquet").to_pylist() if row["split"] == "train")
    tamper_flip(target / "files" / row["file"])
    with pytest.raises(ChecksumError, match=f"{row['file']} changed since it was fetched"):
        dataset.split("train").images()
    streamed = eyas.data.open_dataset(target, hash_limit=0, memory_limit=0)
    with pytest.raises(ChecksumError, match="changed since"):
        list(streamed.split("train").batches(8))


def test_a_missing_or_damaged_manifest(fetched, folder, tmp_path) -> None:
    with pytest.raises(DataError, match="run the fetch stage first"):
        eyas.data.open_dataset(tmp_path)
    target = fetched(folder)
    content = json.loads((target / "manifest.json").read_text())
    for damage in ("{", json.dumps({**content, "files": 3}), json.dumps({**content, "surprise": 1})):
        (target / "manifest.json").write_text(damage)
        with pytest.raises(DataError, match="is damaged"):
            eyas.data.open_dataset(target)
