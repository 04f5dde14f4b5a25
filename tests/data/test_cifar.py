"""CIFAR's pickles: they run nothing, and batches of another form are refused."""

import codecs
import os
import pickle

import numpy as np
import pytest

from eyas.errors import DataError
from tests.data.reading import listed
from tests.support.image_sources import make_images, write_cifar


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


def crafted(build: bytes) -> bytes:
    """A batch whose dtype is made and given a state by hand, then asked for one number at a pointer of choice."""
    dtype = b"cnumpy\ndtype\n(S'u1'\nI0\nI1\ntR" + build
    return b"(dp0\nS'data'\n" + b"cnumpy.core.multiarray\nscalar\n(" + dtype + b"S'AAAAAAAA'\ntRs."


STATES = {
    "object flags": b"(I3\nS'|'\nNNNI-1\nI-1\nI63\ntb",
    "fields": b"(I3\nS'|'\nN(S'a'\ntd(S'a'\n(I0\nI0\ntdI8\nI1\nI63\ntb",
    "an order that is none": b"(I3\nS'x'\nNNNI-1\nI-1\nI0\ntb",
    "slots": b"(N(dS'dtype'\nI1\nstb",
}


@pytest.mark.parametrize("name", STATES)
def test_a_state_made_by_hand_never_reaches_numpy(tmp_path, name) -> None:
    (tmp_path / "data_batch_1").write_bytes(crafted(STATES[name]))
    with pytest.raises(DataError, match="data_batch_1"):
        listed(tmp_path)


@pytest.mark.parametrize("code", ["O8", "V8", "S4", "U2", "M8", "u1,u1", "i16"])
def test_only_plain_numbers_are_types(tmp_path, code) -> None:
    (tmp_path / "data_batch_1").write_bytes(f"cnumpy\ndtype\n(S'{code}'\ntR.".encode())
    with pytest.raises(DataError, match=f"the pickle asks for an array of type '{code}'"):
        listed(tmp_path)


@pytest.mark.parametrize("name", ["cnumpy.core.multiarray\n_reconstruct\n", "c_codecs\nencode\n", "cnumpy\nndarray\n"])
def test_what_may_be_called_may_not_be_changed(tmp_path, name) -> None:
    (tmp_path / "data_batch_1").write_bytes(name.encode() + b"(N(dS'__doc__'\nS'x'\nstb.")
    with pytest.raises(DataError, match="a state for what it may only call"):
        listed(tmp_path)


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("kind", ["u1", "<i8", ">i4", "f4", "b1"])
def test_arrays_of_numbers_come_back(tmp_path, protocol, order, kind) -> None:
    from eyas.data.formats.safe_pickle import load_dictionary

    values = np.asarray(np.arange(12).reshape(3, 4), dtype=kind, order=order)
    content = {b"data": values, "one": values[1, 1]}
    (tmp_path / "x").write_bytes(pickle.dumps(content, protocol=protocol))
    loaded = load_dictionary(tmp_path / "x")
    np.testing.assert_array_equal(loaded["data"], values)
    assert loaded["data"].dtype == values.dtype
    assert loaded["one"] == values[1, 1]
