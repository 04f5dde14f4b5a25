"""The fetch stage: any source, all or nothing, and every refusal in words."""

import errno
import hashlib
import io
import json
import logging
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

import eyas.data
from eyas.config import FetchParams, PipelineParams, RuntimeParams
from eyas.errors import BadInputError, ChecksumError, DataError, ParameterError, StorageError
from eyas.progress import silent
from eyas.storage.settings import StorageSettings
from tasks import fetch as stage
from tasks.stage import name_fields
from tests.support.image_sources import CLASSES, make_images, png, write_folder, write_parquet
from tests.support.peers import Request, bucket_in, fault_proxy, put_tree, s3_service, set_credentials, web_server

REPOSITORY = Path(__file__).parents[2]
LABELS = [n % 3 for n in range(120)]
SMALL = {"image_size": 8, "mean": (0.5,) * 3, "std": (0.25,) * 3, "calibration_fraction": 0.2, "score_fraction": 0.2}


@pytest.fixture
def run(tmp_path, monkeypatch) -> Callable[..., dict[str, float]]:
    """Run the stage in a workspace of its own."""
    monkeypatch.chdir(tmp_path)

    def make(train: str, *, storage: StorageSettings | None = None, **changes: object) -> dict[str, float]:
        quick = StorageSettings(backoff=0.001, attempts=3, read_timeout=20.0)
        params = PipelineParams(
            fetch=FetchParams(train=train, **{**SMALL, **changes}),
            runtime=RuntimeParams(threads=1, state=str(tmp_path / ".eyas"), storage=storage or quick),
        )
        return dict(stage.fetch(params, tmp_path / "artifacts", silent))

    return make


@pytest.fixture
def folder(tmp_path) -> Path:
    write_folder(tmp_path / "source", make_images(len(LABELS)), LABELS)
    return tmp_path / "source"


@pytest.fixture
def table(tmp_path) -> bytes:
    write_parquet(tmp_path / "made.parquet", make_images(len(LABELS)), LABELS)
    return (tmp_path / "made.parquet").read_bytes()


def nothing_left(tmp_path: Path) -> bool:
    """No data set, and nothing of one."""
    artifacts = tmp_path / "artifacts"
    return not artifacts.exists() or not list(artifacts.iterdir())


def test_digits_in_a_process_as_dvc_runs_it(tmp_path) -> None:
    shutil.copy(REPOSITORY / "params.yaml", tmp_path)
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(
        [sys.executable, "-m", "tasks.fetch"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    metrics = json.loads((tmp_path / "artifacts/fetch/metrics.json").read_text())
    assert metrics["images"] == 1797
    assert sum(metrics[name] for name in ("train", "calibration", "score", "test")) == 1797
    events = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert events[-1]["done"] == events[-1]["total"] == 1797
    dataset = eyas.data.open_dataset(tmp_path / "artifacts" / "fetch")
    from sklearn.datasets import load_digits

    images = dataset.split("test").images()
    known = {
        (image * 255 / 16).round().astype("uint8").tobytes(): label
        for image, label in zip(*_digits(load_digits), strict=True)
    }
    for pixels, label in zip(images.numpy(), dataset.split("test").labels.tolist(), strict=True):
        assert known[pixels.tobytes()] == label


def _digits(load: Callable[..., object]) -> tuple[object, object]:
    bunch = load()
    return bunch.images, bunch.target


def test_a_wrong_source_ends_the_process_with_status_2(tmp_path) -> None:
    (tmp_path / "params.yaml").write_text(yaml.safe_dump({"fetch": {"train": "nowhere"}}))
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(
        [sys.executable, "-m", "tasks.fetch"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 2
    assert "fetch: nowhere does not exist" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_same_source_gives_the_same_bytes_again(run, folder, tmp_path) -> None:
    run(str(folder))
    before = {path: path.read_bytes() for path in (tmp_path / "artifacts").rglob("*") if path.is_file()}
    run(str(folder))
    assert {path: path.read_bytes() for path in (tmp_path / "artifacts").rglob("*") if path.is_file()} == before


def test_environment_names_are_expanded_but_not_recorded(run, folder, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("EYAS_TEST_PLACE", str(tmp_path))
    run("$EYAS_TEST_PLACE/source")
    dataset = eyas.data.open_dataset(tmp_path / "artifacts" / "fetch")
    assert dataset.manifest.source == {"train": "$EYAS_TEST_PLACE/source"}
    with pytest.raises(ParameterError, match="EYAS_TEST_ABSENT"):
        run("$EYAS_TEST_ABSENT/source")


def archive(kind: str, files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(buffer, "w") as bundle:
            for name, data in files.items():
                bundle.writestr(name, data)
        return buffer.getvalue()
    with tarfile.open(fileobj=buffer, mode="w:gz") as bundle:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            bundle.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_an_archive_from_a_web_server(run, tmp_path, kind, monkeypatch) -> None:
    images = make_images(len(LABELS))
    files = {
        f"set/{CLASSES[label]}/{at}.png": png(image)
        for at, (image, label) in enumerate(zip(images, LABELS, strict=True))
    }
    with web_server() as (url, site):
        site.files[f"set.{kind}"] = archive(kind, files)
        digest = hashlib.sha256(site.files[f"set.{kind}"]).hexdigest()
        monkeypatch.setenv("SIGNATURE", "t0ken")
        assert run(f"{url}/set.{kind}?sig=$SIGNATURE", sha256={f"set.{kind}": digest})["images"] == len(LABELS)
    manifest = (tmp_path / "artifacts/fetch/manifest.json").read_text()
    assert "t0ken" not in manifest
    assert eyas.data.open_dataset(tmp_path / "artifacts" / "fetch").class_names == CLASSES


def test_a_table_over_a_bad_line(run, table, tmp_path) -> None:
    with web_server() as (upstream, site), fault_proxy(upstream) as (url, proxy):
        site.files["a.parquet"] = table
        proxy.add("cut", after=2000, match=is_download)
        proxy.add("status", status=503, match=is_download)
        assert run(f"{url}/a.parquet")["images"] == len(LABELS)
        downloads = [request for request in proxy.requests if is_download(request)]
        assert len(downloads) == 3
        assert "Range" in downloads[2].headers


def is_download(request: Request) -> bool:
    """Not the question for the file's version."""
    return request.headers.get("Range") != "bytes=0-0"


def test_a_server_that_tells_no_size_is_brought_but_its_version_stays_unknown(
    run, table, tmp_path, monkeypatch, caplog
) -> None:
    from eyas.storage.http import HttpRemote

    def silent_server(*_: object) -> tuple[int, str | None]:
        raise StorageError("the server does not tell the file's size")

    monkeypatch.setattr(HttpRemote, "stat", silent_server)
    with web_server() as (url, site):
        site.files["a.parquet"] = table
        assert run(f"{url}/a.parquet")["images"] == len(LABELS)
    assert json.loads((tmp_path / "artifacts/fetch/source.json").read_text()) == {}
    assert "cannot be seen later" in caplog.text


@pytest.fixture
def s3(monkeypatch) -> Iterator[tuple[str, str]]:
    set_credentials(monkeypatch.setenv)
    with s3_service() as endpoint, bucket_in(endpoint) as bucket:
        yield endpoint, bucket


def test_tables_and_trees_from_s3(run, folder, table, tmp_path, s3) -> None:
    endpoint, bucket = s3
    settings = StorageSettings(endpoint_url=endpoint, backoff=0.001)
    put_tree(endpoint, bucket, "tree", folder)
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "t.parquet").write_bytes(table)
    put_tree(endpoint, bucket, "tables", tmp_path / "tables")
    run(f"s3://{bucket}/tree", storage=settings)
    tree = eyas.data.open_dataset(tmp_path / "artifacts" / "fetch").digest
    run(f"s3://{bucket}/tables/t.parquet", storage=settings)
    one = eyas.data.open_dataset(tmp_path / "artifacts" / "fetch").digest
    run(str(folder))
    assert eyas.data.open_dataset(tmp_path / "artifacts" / "fetch").digest == tree == one


BAD_SOURCES = {
    "nothing there": (lambda root: shutil.rmtree(root), {}, DataError, "does not exist"),
    "an image that is none": (
        lambda root: (root / "bee" / "0001.png").write_bytes(b"x"),
        {},
        DataError,
        r"1 image is broken, \S*/source/bee/0001\.png does not decode: not an image; repair or remove it",
    ),
    "a class too rare": (
        lambda root: [path.unlink() for path in sorted((root / "bee").iterdir())[2:]],
        {},
        DataError,
        "class 'bee' has no image in split .*: give more images, smaller shares for the other splits",
    ),
    "no known format": (
        lambda root: [shutil.rmtree(root), root.mkdir(), (root / "a").touch()],
        {},
        DataError,
        "no known format .*name one with fetch.format",
    ),
    "another digest": (lambda root: None, {"sha256": {"0001.png": "ab" * 32}}, ChecksumError, "0001.png has sha256"),
    "a digest of nothing": (
        lambda root: None,
        {"sha256": {"typo.png": "ab" * 32}},
        DataError,
        "fetch.sha256 names 'typo.png'",
    ),
    "another format": (lambda root: None, {"format": "parquet"}, DataError, "no Parquet files"),
}


@pytest.mark.parametrize("name", BAD_SOURCES)
def test_bad_sources_are_refused_and_leave_nothing(run, folder, tmp_path, name) -> None:
    spoil, changes, kind, words = BAD_SOURCES[name]
    spoil(folder)
    with pytest.raises(kind) as caught:
        run(str(folder), **changes)
    message = name_fields(str(caught.value), stage.FIELDS)
    assert re.search(words, message)
    assert "`" not in message
    assert isinstance(caught.value, BadInputError)
    assert nothing_left(tmp_path)


def test_every_argument_that_a_message_of_the_library_names_is_a_parameter() -> None:
    sources = [path.read_text() for path in Path(eyas.data.__file__).parent.rglob("*.py")]
    arguments = {name for text in sources for name in re.findall(r"(?<!`)`(\w+)`(?!`)", text)}
    assert {"max_images", "sha256", "format", "image_column"} <= arguments
    assert arguments <= set(stage.FIELDS)


def test_a_truncated_archive_leaves_nothing(run, tmp_path) -> None:
    images = make_images(6)
    data = archive("tar.gz", {f"{CLASSES[n % 3]}/{n}.png": png(image) for n, image in enumerate(images)})
    (tmp_path / "set.tar.gz").write_bytes(data[:-200])
    with pytest.raises(DataError, match=r"set\.tar\.gz is no complete archive"):
        run(str(tmp_path / "set.tar.gz"))
    assert nothing_left(tmp_path)


def test_an_evil_archive_writes_nothing_outside(run, tmp_path) -> None:
    (tmp_path / "set.zip").write_bytes(archive("zip", {"../../../evil.png": b"x"}))
    with pytest.raises(DataError, match="outside of its folder"):
        run(str(tmp_path / "set.zip"))
    assert not list(tmp_path.rglob("evil*"))
    assert nothing_left(tmp_path)


def test_a_failed_fetch_keeps_the_data_set_that_was_there(run, folder, tmp_path) -> None:
    run(str(folder))
    before = eyas.data.open_dataset(tmp_path / "artifacts" / "fetch").digest
    with pytest.raises(DataError):
        run(str(tmp_path / "nowhere"))
    assert eyas.data.open_dataset(tmp_path / "artifacts" / "fetch").digest == before
    assert [path.name for path in (tmp_path / "artifacts").iterdir()] == ["fetch"]


def test_what_a_killed_fetch_left_is_cleared(run, folder, tmp_path) -> None:
    wreck = tmp_path / "artifacts" / ".fetch.building" / "files" / "train"
    wreck.mkdir(parents=True)
    (wreck / "stray.png").write_bytes(b"half")
    run(str(folder))
    assert [path.name for path in (tmp_path / "artifacts").iterdir()] == ["fetch"]
    assert not list((tmp_path / "artifacts").rglob("stray.png"))


def test_a_full_disk_is_named(run, folder, tmp_path, monkeypatch) -> None:
    def full(source: str, target: str) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", target)

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(StorageError, match=r"no space left for the data in .*artifacts"):
        run(str(folder))
    assert nothing_left(tmp_path)


def test_no_write_permission_ends_with_status_2(run, folder, tmp_path, monkeypatch, capsys) -> None:
    (tmp_path / "artifacts").mkdir()
    (tmp_path / "params.yaml").write_text(
        yaml.safe_dump({"fetch": {**SMALL, "train": str(folder), "mean": [0.5] * 3, "std": [0.25] * 3}})
    )
    from tasks import stage as frame

    refuse_writes(tmp_path / "artifacts", monkeypatch)
    with pytest.raises(SystemExit) as caught:
        frame.main("fetch", stage.fetch)
    assert caught.value.code == 2
    assert "no permission to write" in capsys.readouterr().err
    logging.getLogger().handlers.clear()


def refuse_writes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the permission away; for root, who may do everything, through the call that creates folders."""
    if os.geteuid():
        folder.chmod(0o500)
        return
    make = os.mkdir

    def mkdir(path: object, *rest: object, **named: object) -> None:
        if str(folder) in os.path.abspath(str(path)):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        make(path, *rest, **named)

    monkeypatch.setattr(os, "mkdir", mkdir)


def test_training_images_in_the_test_set_are_left_out_of_it_and_said(run, folder, tmp_path, caplog) -> None:
    caplog.set_level(logging.WARNING)
    images = make_images(30, seed=9)
    images[:4] = make_images(len(LABELS))[:4]  # four of the training images
    write_folder(tmp_path / "held", images, [n % 3 for n in range(30)])
    metrics = run(str(folder), test=str(tmp_path / "held"))
    assert metrics["train_images_in_test"] == 4
    assert metrics["test"] == 26
    assert "4 of 30 images of the test set are in the training data as well: they are left out" in caplog.text


@pytest.mark.parametrize("changes", [{}, {"max_images": 90}])
def test_a_source_that_holds_the_workspace_is_refused_and_nothing_is_left(run, folder, tmp_path, changes) -> None:
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(DataError, match=r"holds .*artifacts, where its copy would go"):
        run("..", **changes)
    assert sorted(tmp_path.rglob("*")) == before


def test_duplicates_are_counted_and_stay_together(run, folder, tmp_path, caplog) -> None:
    source = sorted((folder / "ant").iterdir())
    shutil.copy(source[0], folder / "ant" / "again.png")
    shutil.copy(source[1], folder / "bee" / "contradiction.png")
    metrics = run(str(folder))
    assert (metrics["duplicates"], metrics["contradicting_labels"]) == (2, 1)
    from eyas.data.index import read_index

    splits: dict[str, set[str]] = {}
    for row in read_index(tmp_path / "artifacts" / "fetch" / "index.parquet"):
        splits.setdefault(row.sha256, set()).add(row.split)
    assert all(len(names) == 1 for names in splits.values())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"resize": 7}, "resize 7 must not be smaller than image_size 8"),
        ({"mean": (0.5, 0.5), "std": (1.0, 1.0)}, "1, 3 or 4 channels"),
        ({"score_fraction": 0.7}, "must stay below 1"),
    ],
)
def test_parameters_that_cannot_work_are_refused_before_any_work(changes, words) -> None:
    with pytest.raises(ValueError, match=words):
        FetchParams(**{**SMALL, **changes})


@pytest.mark.real_data
def test_real_cifar10(run, real_data, tmp_path) -> None:
    source = real_data / "cifar10_jpeg" / "test.parquet"
    metrics = run(str(source), image_size=32, sha256={"test.parquet": "99406625"}, max_images=2000)
    assert metrics["images"] == 2000
    assert metrics["classes"] == 10
