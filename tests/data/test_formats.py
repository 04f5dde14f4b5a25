"""Every format gives the same images and labels, and refuses what it cannot read by name."""

import codecs
import gzip
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.testing import assert_array_equal

from eyas.data.decoding import Preprocessing
from eyas.data.formats import Format, Listing, choose_format, detect
from eyas.data.manifest import list_files
from eyas.errors import DataError, ParameterError
from tests.support.image_sources import CLASSES, make_images, write_cifar, write_folder, write_idx_pair, write_parquet

LABELS = [0, 1, 2] * 7


def gzipped(root: Path, images: np.ndarray, labels: list[int]) -> None:
    write_idx_pair(root, images, labels)
    for path in list(root.iterdir()):
        (root / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()


WRITERS: dict[str, tuple[str, int, int, Callable[..., None]]] = {
    "folder": ("folder", 8, 3, write_folder),
    "nested folder": ("folder", 8, 3, lambda root, *rest: write_folder(root, *rest, prefix="set/images")),
    "parquet of structs": ("parquet", 8, 3, lambda root, *rest: write_parquet(root / "a.parquet", *rest)),
    "parquet of bytes": ("parquet", 8, 3, lambda root, *rest: write_parquet(root / "a.parquet", *rest, style="binary")),
    "parquet of texts": ("parquet", 8, 3, lambda root, *rest: write_parquet(root / "a.parquet", *rest, style="text")),
    "idx": ("idx", 8, 1, write_idx_pair),
    "idx.gz": ("idx", 8, 1, gzipped),
    "cifar": ("cifar", 32, 3, write_cifar),
    "cifar, protocol 4": ("cifar", 32, 3, lambda root, *rest: write_cifar(root, *rest, protocol=4)),
}


KINDS = sorted(Format.registry)
WITHOUT_WRITER = sorted(set(KINDS) - {kind for kind, *_ in WRITERS.values()})  # these bring an example themselves
WRITERS |= {kind: (kind, 8, 3, Format.parse(kind).write_example) for kind in WITHOUT_WRITER}


def listed(root: Path, kind: str = "auto", **options: object) -> tuple[Format, Listing]:
    files = list(list_files(root))
    choice = "auto" if kind == "auto" else Format.parse({"kind": kind, **options})
    member = choose_format(choice, files, root.name)
    return member.resolved(root, files), member.list_images(root, files)


def read_all(root: Path) -> list[object]:
    member, listing = listed(root)
    return list(member.read(root / listing.files[0], listing.rows.tolist()))


@pytest.mark.parametrize("kind", KINDS)
def test_a_named_format_that_is_not_there(tmp_path, kind) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(DataError, match="expected"):
        listed(tmp_path, kind)


@pytest.mark.parametrize("kind", KINDS)
def test_files_of_no_image_are_nobodys_and_the_message_names_every_format(kind) -> None:
    member = Format.members()[kind]
    assert not member.recognises([])
    assert not member.recognises(["notes.txt", "folder/README.md"])
    with pytest.raises(DataError) as caught:
        detect(["notes.txt"], "here")
    assert (member.expects or kind) in str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
def test_options_survive_json(kind) -> None:
    member = Format.parse(kind)
    assert Format.parse(member.model_dump(mode="json")) == member


@pytest.mark.parametrize("name", WRITERS)
def test_what_was_written_is_read(tmp_path, name) -> None:
    kind, size, channels, write = WRITERS[name]
    images = make_images(len(LABELS), size, channels)
    write(tmp_path, images, LABELS)
    member, listing = listed(tmp_path)
    assert member.kind == kind
    assert listing.classes == (CLASSES if kind not in {"idx", *WITHOUT_WRITER} else ("0", "1", "2"))
    assert sorted(listing.labels.tolist()) == sorted(LABELS)
    decode = Preprocessing(channels, size)
    wanted = {pixels.tobytes(): label for pixels, label in zip(images, LABELS, strict=True)}
    for at, label in enumerate(listing.labels.tolist()):
        path = tmp_path / listing.files[listing.file_indices[at]]
        (payload,) = member.read(path, [int(listing.rows[at])])
        pixels = decode(payload, "image").transpose(1, 2, 0)
        assert wanted.pop(np.ascontiguousarray(pixels).tobytes()) == label
    assert not wanted


@pytest.mark.parametrize("name", WRITERS)
def test_rows_are_read_in_any_selection(tmp_path, name) -> None:
    _, size, channels, write = WRITERS[name]
    write(tmp_path, make_images(len(LABELS), size, channels), LABELS)
    member, listing = listed(tmp_path)
    if (listing.rows < 0).any():
        pytest.skip("a file of this format is one image")
    path = tmp_path / listing.files[0]
    decode = Preprocessing(channels, size)
    every = [decode(payload, "x") for payload in member.read(path, range(len(LABELS)))]
    chosen = [0, 6, 7, 13, 20]  # both sides of the row groups' borders
    for row, payload in zip(chosen, member.read(path, chosen), strict=True):
        assert_array_equal(decode(payload, "x"), every[row])


def test_a_table_without_class_names_counts_them(tmp_path) -> None:
    pq.write_table(pa.table({"image": [b"x"] * 3, "label": [0, 4, 2]}), tmp_path / "a.parquet")
    _, listing = listed(tmp_path)
    assert listing.classes == ("0", "1", "2", "3", "4")
    assert not listing.named


def test_columns_are_chosen_or_asked_for(tmp_path) -> None:
    table = pa.table({"image": [b"x"], "mask": [b"y"], "fine": [1], "coarse": [0]})
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"`image_column` must be given: 2 columns fit \(image, mask\)"):
        listed(tmp_path)
    with pytest.raises(DataError, match="`label_column` must be given"):
        listed(tmp_path, "parquet", image_column="image")
    member, listing = listed(tmp_path, "parquet", image_column="mask", label_column="fine")
    assert listing.labels.tolist() == [1]
    assert list(member.read(tmp_path / "a.parquet", [0])) == [b"y"]
    with pytest.raises(DataError, match="`image_column` 'picture' does not exist"):
        listed(tmp_path, "parquet", image_column="picture")
    with pytest.raises(DataError, match="`image_column` 'fine' is of another type"):
        listed(tmp_path, "parquet", image_column="fine")


def test_shards_must_agree_on_class_names(tmp_path) -> None:
    for name, classes in (("a", "x,y"), ("b", "y,x")):
        table = pa.table({"image": [b"x"], "label": [0]}).replace_schema_metadata({"class_names": classes})
        pq.write_table(table, tmp_path / f"{name}.parquet")
    with pytest.raises(DataError, match=r"b\.parquet lists other class names"):
        listed(tmp_path)


def test_missing_labels_and_images_are_named_by_row(tmp_path) -> None:
    pq.write_table(pa.table({"image": [b"x", b"y"], "label": [0, None]}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"a\.parquet row 1: the label"):
        listed(tmp_path)
    cells = pa.array([{"bytes": b"x", "path": "p"}, {"bytes": None, "path": "q"}])
    pq.write_table(pa.table({"image": cells, "label": [0, 1]}), tmp_path / "a.parquet")
    member, _ = listed(tmp_path)
    with pytest.raises(DataError, match=r"a\.parquet row 1 holds no image bytes"):
        list(member.read(tmp_path / "a.parquet", [0, 1]))


@pytest.mark.parametrize("cut", [0, 3, 200, -1])
def test_a_truncated_table_is_refused(tmp_path, cut) -> None:
    write_parquet(tmp_path / "a.parquet", make_images(len(LABELS)), LABELS)
    data = (tmp_path / "a.parquet").read_bytes()
    (tmp_path / "a.parquet").write_bytes(data[:cut])
    with pytest.raises(DataError, match=r"a\.parquet is no complete Parquet file"):
        listed(tmp_path)


def test_pages_damaged_inside_a_table_are_refused(tmp_path) -> None:
    write_parquet(tmp_path / "a.parquet", make_images(len(LABELS)), LABELS)
    data = bytearray((tmp_path / "a.parquet").read_bytes())
    data[4:60] = bytes(56)
    (tmp_path / "a.parquet").write_bytes(data)
    with pytest.raises(DataError, match=r"a\.parquet cannot be read"):
        read_all(tmp_path)


def test_a_stray_file_beside_class_folders_is_named(tmp_path) -> None:
    write_folder(tmp_path, make_images(3), [0, 1, 2])
    (tmp_path / "stray.png").write_bytes(b"x")
    with pytest.raises(DataError, match=r"stray\.png lies beside the class folders"):
        listed(tmp_path)


def test_a_class_folder_may_be_called_train_when_it_is_one_of_many(tmp_path) -> None:
    for name in ("train", "tram"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "0.png").write_bytes(b"x")
    assert listed(tmp_path)[1].classes == ("train", "tram")


IDX_DAMAGE = {
    "another magic number": (lambda data: b"\1\0\x08\3" + data[4:], "is no IDX file"),
    "a body cut short": (lambda data: data[:-5], "should hold"),
    "a body too long": (lambda data: data + b"x", "should hold"),
    "a header cut short": (lambda data: data[:6], "is no IDX file"),
    "an empty file": (lambda data: b"", "is no IDX file"),
}


@pytest.mark.parametrize("damage", IDX_DAMAGE)
@pytest.mark.parametrize("compress", [False, True])
def test_a_damaged_idx_file_is_refused(tmp_path, damage, compress) -> None:
    change, words = IDX_DAMAGE[damage]
    write_idx_pair(tmp_path, make_images(3, 8, 1), [0, 1, 2])
    path = tmp_path / "train-images-idx3-ubyte"
    data = change(path.read_bytes())
    path.unlink()
    target = tmp_path / ("train-images-idx3-ubyte.gz" if compress else path.name)
    target.write_bytes(gzip.compress(data) if compress else data)
    with pytest.raises(DataError, match=words):
        read_all(tmp_path)


def test_a_broken_gzip_is_refused(tmp_path) -> None:
    gzipped(tmp_path, make_images(3, 8, 1), [0, 1, 2])
    path = tmp_path / "train-labels-idx1-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DataError, match="labels-idx1-ubyte.gz"):
        listed(tmp_path)


def test_idx_needs_both_files_of_the_same_length(tmp_path) -> None:
    write_idx_pair(tmp_path, make_images(3, 8, 1), [0, 1])
    with pytest.raises(DataError, match="holds 3 images but"):
        listed(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte").unlink()
    with pytest.raises(DataError, match="has no labels file"):
        listed(tmp_path)


class Attack:
    """What an attacker's pickle looks like: it asks for a call while it is loaded."""

    def __init__(self, call, *arguments) -> None:
        self.call, self.arguments = call, arguments

    def __reduce__(self):
        return self.call, self.arguments


ATTACKS = {
    "os.system": Attack(os.system, "touch pwned"),
    "eval": Attack(eval, "open('pwned', 'w')"),
    "open": Attack(open, "pwned", "w"),
    "codecs": Attack(codecs.decode, "x", "rot13"),
    "an object array": np.array([Attack(os.system, "touch pwned")], dtype=object),
    "getattr": Attack(getattr, "text", "upper"),
}


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_pickle_runs_nothing(tmp_path, monkeypatch, name, protocol) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "set").mkdir()
    content = {b"data": np.zeros((1, 3072), np.uint8), b"labels": [0], b"evil": ATTACKS[name]}
    (tmp_path / "set" / "data_batch_1").write_bytes(pickle.dumps(content, protocol=protocol))
    with pytest.raises(DataError, match="data_batch_1: the pickle asks for"):
        listed(tmp_path / "set")
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([1, 2], "holds a list"),
        ({b"labels": [0]}, "must be .N, 3072. unsigned bytes, it is NoneType"),
        ({b"data": np.zeros((2, 3072), np.float32), b"labels": [0, 1]}, "it is float32"),
        ({b"data": np.zeros((2, 3072), np.uint8), b"labels": [0]}, "holds 2 images but 1 labels"),
        ({b"data": np.zeros((2, 3072), np.uint8)}, "no list"),
    ],
)
def test_a_batch_of_another_shape_is_refused(tmp_path, content, words) -> None:
    (tmp_path / "data_batch_1").write_bytes(pickle.dumps(content))
    with pytest.raises(DataError, match=words):
        listed(tmp_path)


def test_a_batch_cut_short_is_refused(tmp_path) -> None:
    write_cifar(tmp_path, make_images(3, 32), [0, 1, 2])
    path = tmp_path / "data_batch_1"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match="data_batch_1 is no readable pickle"):
        listed(tmp_path)


def test_fine_labels_of_cifar_100(tmp_path) -> None:
    data = np.zeros((2, 3072), np.uint8)
    (tmp_path / "train").write_bytes(pickle.dumps({b"data": data, b"fine_labels": [1, 0], b"coarse_labels": [0, 0]}))
    (tmp_path / "meta").write_bytes(pickle.dumps({b"fine_label_names": [b"apple", b"baby"]}))
    _, listing = listed(tmp_path)
    assert listing.labels.tolist() == [1, 0]
    assert listing.classes == ("apple", "baby")


def test_unknown_files_say_what_is_known(tmp_path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(DataError, match=r"notes\.txt.*Parquet.*IDX.*CIFAR"):
        listed(tmp_path)
    with pytest.raises(ParameterError, match="cifar, folder, idx, parquet"):
        Format.parse("tfrecord")


def test_the_most_telling_format_is_asked_first() -> None:
    files = ["cat/1.png", "train", "images-idx3-ubyte", "a.parquet"]
    assert [detect(files[:count], "here").kind for count in (1, 2, 3, 4)] == ["folder", "cifar", "idx", "parquet"]
