"""What a store promises, whatever the peer: bytes arrive, nothing escapes its folder, settings are obeyed."""

import hashlib
import io
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eyas.errors import ChecksumError, DataError, ParameterError, StorageError
from eyas.storage import Store
from eyas.storage.addresses import parse
from eyas.storage.ranged_file import RangedFile
from eyas.storage.retry import Retry, TransientError
from eyas.storage.s3_integrity import ObjectInfo, etag_of
from eyas.storage.settings import StorageSettings


def test_a_tree_comes_as_it_is(s3, large, tmp_path) -> None:
    files = {"a.txt": b"a", "sub/empty": b"", "sub/dir/large.bin": large, "naïve name+&?.txt": b"odd"}
    for name, data in files.items():
        s3.put(f"tree/{name}", data)
    s3.store().bring(s3.address("tree"), tmp_path / "out")
    paths = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert {path.relative_to(tmp_path / "out").as_posix(): path.read_bytes() for path in paths} == files


def test_a_broken_tree_continues(s3, tmp_path) -> None:
    for number in range(6):
        s3.put(f"tree/{number}", bytes([number]) * 10)
    s3.proxy.add("status", match=lambda r: r.path.endswith("/tree/4"), times=10_000)
    with pytest.raises(StorageError):
        s3.store(concurrency=1).bring(s3.address("tree"), tmp_path / "out")
    s3.proxy.faults.clear()
    s3.proxy.requests.clear()
    s3.store(concurrency=1).bring(s3.address("tree"), tmp_path / "again")
    assert s3.proxy.count(lambda r: "/tree/" in r.path and r.method == "GET") <= 2
    assert len(list((tmp_path / "again").iterdir())) == 6


def test_a_changed_object_of_a_tree_is_brought_again(s3, tmp_path) -> None:
    s3.put("tree/a", b"old")
    s3.store().bring(s3.address("tree"), tmp_path / "one")
    s3.put("tree/a", b"new")
    s3.store().bring(s3.address("tree"), tmp_path / "two")
    assert (tmp_path / "two" / "a").read_bytes() == b"new"


@pytest.mark.parametrize("key", ["tree/../escaped", "tree//etc/x"])
def test_a_key_cannot_leave_the_folder(s3, tmp_path, key) -> None:
    s3.put(key, b"evil")
    store = s3.store()
    stored = s3.keys()
    if key not in stored:
        pytest.skip("the service does not take such keys")
    with pytest.raises(DataError, match="outside of its folder"):
        store.bring(s3.address("tree"), tmp_path / "out")


def test_an_empty_prefix_is_an_error(s3, tmp_path) -> None:
    with pytest.raises(DataError, match="holds no object"):
        s3.store().bring(s3.address("nothing/"), tmp_path / "out")


def test_a_large_prefix_is_listed_in_full(s3) -> None:
    for number in range(25):
        s3.put(f"many/{number:04}", b"")
    store = s3.store()
    store._s3.page_size = 10
    names = [entry.name for entry in store.entries(s3.address("many/"))]
    assert names == [f"{number:04}" for number in range(25)]
    assert s3.proxy.count(lambda request: "list-type=2" in request.path) == 3


@pytest.mark.parametrize(
    ("answer", "known"),
    [
        ({}, True),
        ({"ServerSideEncryption": "AES256"}, True),
        ({"ServerSideEncryption": "aws:kms"}, False),
        ({"SSECustomerAlgorithm": "AES256"}, False),
        ({"ETag": '"not-a-digest"'}, False),
        ({"Metadata": {"sha256": "ab"}, "ServerSideEncryption": "aws:kms"}, True),
    ],
)
def test_etags_are_digests_only_without_a_key(answer, known) -> None:
    head = {"ContentLength": 3, "ETag": f'"{hashlib.md5(b"abc").hexdigest()}"', **answer}
    assert ObjectInfo.of(head).can_tell is known
    if not head.get("Metadata"):
        assert not ObjectInfo.of(head, etag_is_md5=False).can_tell


def test_multipart_etags_follow_the_formula(tmp_path) -> None:
    data = bytes(range(256)) * 10
    (tmp_path / "x").write_bytes(data)
    parts = [hashlib.md5(data[start : start + 1000]).digest() for start in range(0, len(data), 1000)]
    assert etag_of(tmp_path / "x", 1000) == f"{hashlib.md5(b''.join(parts)).hexdigest()}-3"


def test_the_customers_own_key_goes_with_every_request(s3, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("EYAS_S3_SSE_CUSTOMER_KEY", "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=")
    address = s3.put("data", b"payload")
    with suppress(StorageError, DataError):  # a service may refuse a key that the object was not written with
        s3.store().download(address, tmp_path / "data")
    name = "x-amz-server-side-encryption-customer-key"
    assert all(name in {key.lower() for key in request.headers} for request in s3.proxy.requests)
    assert s3.proxy.requests


def test_parquet_is_read_without_downloading_it(s3) -> None:
    rows = 200_000
    buffer = io.BytesIO()
    table = pa.table({"label": list(range(rows)), "payload": [f"{number:032}" for number in range(rows)]})
    pq.write_table(table, buffer, row_group_size=rows // 10, compression="none", use_dictionary=False)
    s3.put("t.parquet", buffer.getvalue())
    with s3.store().open(s3.address("t.parquet")) as file:
        group = pq.ParquetFile(file).read_row_group(7, columns=["label"])
        assert group["label"][0].as_py() == 7 * rows // 10
        assert file.fetched < len(buffer.getvalue()) / 2


def test_an_object_replaced_while_it_is_read_is_noticed(s3) -> None:
    s3.put("data", b"a" * 3_000_000)
    with s3.store().open(s3.address("data")) as file:
        file.read(10)
        s3.put("data", b"b" * 3_000_000)
        file.seek(2_000_000)
        with pytest.raises(StorageError, match="changed"):
            file.read(10)


def test_a_tree_is_streamed_without_being_stored(s3) -> None:
    for number in range(4):
        s3.put(f"tree/{number}", bytes([number]) * 1000)
    streamed = {entry.name: data for entry, data in s3.store().stream(s3.address("tree"))}
    assert streamed == {str(number): bytes([number]) * 1000 for number in range(4)}
    assert not s3.state.exists()


def test_a_fingerprint_follows_the_content(s3) -> None:
    s3.put("tree/a", b"one")
    store = s3.store()
    before = store.fingerprint(s3.address("tree"))
    assert store.fingerprint(s3.address("tree")) == before
    s3.put("tree/a", b"two")
    changed = store.fingerprint(s3.address("tree"))
    s3.put("tree/b", b"")
    assert len({before, changed, store.fingerprint(s3.address("tree"))}) == 3


def test_addressing_style(s3, tmp_path) -> None:
    s3.put("data", b"x")
    s3.store().download(s3.address("data"), tmp_path / "data")
    assert all(request.path.startswith(f"/{s3.bucket}/") for request in s3.proxy.requests)
    other = Store(StorageSettings(endpoint_url="http://localhost:1", path_style=False), state=tmp_path)
    client = other._s3.access._current()
    assert client.meta.config.s3 == {"addressing_style": "auto"}
    client.close()


def test_settings_come_from_the_environment_and_given_ones_win() -> None:
    environment = {
        "AWS_ENDPOINT_URL": "http://general",
        "AWS_ENDPOINT_URL_S3": "http://s3",
        "AWS_REGION": "eu-north-1",
        "EYAS_S3_PATH_STYLE": "false",
        "EYAS_S3_ETAG_IS_MD5": "false",
        "AWS_PROFILE": "edge",
    }
    settings = StorageSettings.from_environment(StorageSettings(region="eu-west-1"), environment)
    assert settings.endpoint_url == "http://s3"
    assert settings.region == "eu-west-1"
    assert settings.path_style is False
    assert (settings.etag_is_md5, settings.profile) == (False, "edge")
    assert (
        StorageSettings.from_environment(environment={"EYAS_S3_ENDPOINT": "http://own", **environment}).endpoint_url
        == "http://own"
    )


def test_a_wrong_variable_is_named() -> None:
    with pytest.raises(ParameterError, match="EYAS_S3_PATH_STYLE.*boolean.*rot13"):
        StorageSettings.from_environment(environment={"EYAS_S3_PATH_STYLE": "rot13"})


def test_an_unknown_profile_is_named(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    with pytest.raises(ParameterError, match="nobody"):
        Store(StorageSettings(profile="nobody"), state=tmp_path).download("s3://bucket/key", tmp_path / "out")


@pytest.mark.parametrize("address", ["ftp://host/x", "s3://", "https:///x"])
def test_a_wrong_address_is_a_parameter_error(tmp_path, address) -> None:
    with pytest.raises(ParameterError):
        Store(state=tmp_path).download(address, tmp_path / "out")


def test_local_files_are_checked_and_placed_at_once(tmp_path) -> None:
    (tmp_path / "in").write_bytes(b"payload")
    store = Store(state=tmp_path / "state")
    with pytest.raises(ChecksumError):
        store.download(str(tmp_path / "in"), tmp_path / "out" / "x", sha256="00" * 8)
    assert not (tmp_path / "out").exists()
    store.download(str(tmp_path / "in"), tmp_path / "out" / "x", sha256=hashlib.sha256(b"payload").hexdigest())
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["x"]
    with pytest.raises(DataError, match="does not exist"):
        store.download(str(tmp_path / "none"), tmp_path / "out" / "y")


def test_a_pattern_brings_what_it_matches(tmp_path) -> None:
    for name in ("train-0.parquet", "train-1.parquet", "test-0.parquet"):
        (tmp_path / name).write_bytes(name.encode())
    Store(state=tmp_path / "state").bring(str(tmp_path / "train-*.parquet"), tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["train-0.parquet", "train-1.parquet"]


def test_addresses_are_taken_apart() -> None:
    address = parse("s3://bucket/some/key?x#y")
    assert (address.bucket, address.key, address.name) == ("bucket", "some/key?x#y", "key?x#y")
    assert parse("https://host/a%20b.zip?sig=1").name == "a b.zip"
    assert parse("file:///tmp/x").key == "/tmp/x"


@given(
    st.binary(max_size=200),
    st.lists(st.tuples(st.integers(0, 220), st.integers(-1, 100)), max_size=8),
    st.integers(1, 64),
)
def test_a_ranged_file_reads_like_a_file(data, reads, window) -> None:
    real, ranged = io.BytesIO(data), RangedFile(lambda start, stop: data[start:stop], len(data), window)
    for position, size in reads:
        assert real.seek(position) == ranged.seek(position)
        assert real.read(size) == ranged.read(size)
        assert real.tell() == ranged.tell() or position > len(data)


def test_pauses_grow_are_jittered_and_bounded() -> None:
    slept: list[float] = []
    retry = Retry(attempts=8, base=1.0, cap=20.0, sleep=slept.append)

    def fail() -> None:
        raise TransientError("busy")

    with pytest.raises(StorageError, match="thing: busy; gave up after 8 tries"):
        retry(fail, "thing")
    assert len(slept) == 7
    assert all(0 <= pause <= min(20.0, 2.0**number) for number, pause in enumerate(slept))
    assert len({round(pause, 9) for pause in slept}) == 7  # drawn, not fixed


def test_the_server_may_ask_for_a_longer_pause() -> None:
    slept: list[float] = []
    answers = iter([TransientError("busy", retry_after="7"), None])

    def once() -> str:
        error = next(answers)
        if error:
            raise error
        return "done"

    assert Retry(attempts=3, base=0.0, cap=20.0, sleep=slept.append)(once, "x") == "done"
    assert slept == [7.0]


def test_other_errors_are_not_repeated() -> None:
    calls: list[int] = []

    def fail() -> None:
        calls.append(1)
        raise DataError("gone")

    with pytest.raises(DataError):
        Retry(attempts=5, base=0.0, cap=0.0)(fail, "x")
    assert len(calls) == 1


def test_a_folder_without_permission_is_no_silent_loss(tmp_path) -> None:
    (tmp_path / "in").write_bytes(b"x")
    target = tmp_path / "file"
    target.write_bytes(b"not a folder")
    with pytest.raises(OSError, match="file"):
        Store(state=tmp_path / "state").download(str(tmp_path / "in"), Path(target) / "x")


def test_a_copy_that_breaks_leaves_the_old_file(tmp_path, monkeypatch) -> None:
    import shutil

    (tmp_path / "in").write_bytes(b"new content")
    (tmp_path / "out").write_bytes(b"old")

    def half(source: Path, target: Path) -> None:
        Path(target).write_bytes(Path(source).read_bytes()[:3])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", half)
    with pytest.raises(OSError, match="No space"):
        Store(state=tmp_path / "state").download(str(tmp_path / "in"), tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == b"old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out"]
