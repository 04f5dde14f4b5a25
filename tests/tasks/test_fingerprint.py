"""Each part of the fingerprint changes when its cause does, and only then; registered is what was brought."""

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from eyas.errors import BadInputError, StorageError
from eyas.operations.fingerprint import MEANING, Fingerprint, code_digest
from eyas.operations.lineage import params_digest
from eyas.operations.tracking import model_registry, open_store
from tasks import dense_source, fetch
from tasks.fingerprint import STAGE_OF, code_files, recorded_fingerprint, recorded_sources, take_fingerprint
from tasks.source_version import require_unchanged
from tasks.workspace import Workspace, open_workspace
from tests.support.peers import bucket_in, s3_service, set_credentials

PARAMS = {"fetch": {"train": "data/train", "test": "data/test"}, "baseline": {"checkpoint": "weights.pt"}}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for name in ("data/train/a.png", "data/train/sub/b.png", "data/test/c.png", "weights.pt", "tasks/one.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    stage = {"cmd": "x", "deps": ["tasks", "artifacts/fetch/files"], "params": ["fetch"], "outs": ["artifacts/x/y"]}
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"one": stage}}))
    write(tmp_path, PARAMS)
    return tmp_path


def write(checkout: Path, content: dict[str, object]) -> None:
    (checkout / "params.yaml").write_text(yaml.safe_dump(content))


def taken(checkout: Path, *overrides: str, name: str | None = None) -> Fingerprint:
    return take_fingerprint(open_workspace(checkout, overrides=overrides, name=name))


def edit(name: str) -> Callable[[Path], None]:
    return lambda checkout: (checkout / name).write_text("other")


def touch(checkout: Path) -> None:
    """Copied to another machine: the same content at another time."""
    for path in checkout.rglob("*"):
        if path.is_file():
            os.utime(path, (1, 1))


def add(checkout: Path) -> None:
    (checkout / "data/test/d.png").write_text("new")


def rename(checkout: Path) -> None:
    (checkout / "data/train/a.png").rename(checkout / "data/train/z.png")


def compile_(checkout: Path) -> None:
    (checkout / "tasks/__pycache__").mkdir()
    (checkout / "tasks/__pycache__/one.pyc").write_text("machine's own")


def settings(**sections: object) -> Callable[[Path], None]:
    return lambda checkout: write(checkout, {**PARAMS, **sections})


@pytest.mark.parametrize(
    ("cause", "parts"),
    [
        (lambda _: None, []),
        (touch, []),
        (edit("data/train/a.png"), ["data"]),
        (edit("data/test/c.png"), ["data"]),
        (add, ["data"]),
        (rename, ["data"]),
        (edit("weights.pt"), ["checkpoint"]),
        (edit("tasks/one.py"), ["code"]),
        (compile_, []),
        (edit("README.md"), []),
        (settings(score={"seed": 7}), ["params"]),
        (settings(fetch={"train": "data/train", "test": "from_train"}), ["data", "params"]),
        (settings(baseline={}), ["params", "checkpoint"]),
        (settings(runtime={"threads": 3}, schedule={"interval_minutes": 5}, promote={"min_accuracy": 0.9}), []),
        (settings(register={"model": "another"}), []),
    ],
    ids=[
        "nothing", "times", "training image", "test image", "image added", "image renamed", "weights", "code",
        "compiled code", "unlisted file", "parameter", "test set dropped", "checkpoint dropped", "operation",
        "registered name",
    ],
)  # fmt: skip
def test_each_part_changes_with_its_cause_and_only_then(
    checkout: Path, cause: Callable[[Path], None], parts: list[str]
) -> None:
    before = taken(checkout)
    cause(checkout)
    assert taken(checkout).changes_since(before) == parts


def test_relative_paths_are_the_checkouts_in_every_workspace(checkout: Path) -> None:
    assert taken(checkout, name="other").changes_since(taken(checkout)) == []


def test_a_source_that_holds_nothing_is_an_error(checkout: Path) -> None:
    (checkout / "weights.pt").unlink()
    with pytest.raises(BadInputError, match=r"weights\.pt does not exist"):
        taken(checkout)


def test_a_remote_source_is_known_by_what_the_remote_says(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import boto3

    set_credentials(monkeypatch.setenv)
    with s3_service() as endpoint, bucket_in(endpoint) as bucket:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        client = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1")
        client.put_object(Bucket=bucket, Key="train/a", Body=b"one")
        write(checkout, {"fetch": {"train": f"s3://{bucket}/train"}})
        before = taken(checkout)
        assert taken(checkout) == before
        client.put_object(Bucket=bucket, Key="train/a", Body=b"two")
        assert taken(checkout).changes_since(before) == ["data"]
        client.close()


@pytest.fixture
def store(tmp_path: Path) -> str:
    """A registry with two versions of ``net``; the second has alias ``champion``."""
    uri = f"sqlite:///{tmp_path / 'registry' / 'mlflow.db'}"
    opened = open_store(tmp_path, uri=uri)
    opened.client.create_registered_model("net")
    for number in ("1", "2"):
        tags = {"eyas.manifest_digest": f"digest {number}"}
        opened.client.create_model_version("net", source=f"file:///nowhere/{number}", tags=tags)
    model_registry.set_alias(opened, "net", "champion", "2")
    return uri


def test_an_alias_that_moves_is_a_change(checkout: Path, store: str) -> None:
    content = {"fetch": PARAMS["fetch"], "runtime": {"tracking_uri": store}}
    write(checkout, {**content, "baseline": {"checkpoint": "models:/net@champion"}})
    before = taken(checkout)
    assert taken(checkout) == before
    model_registry.set_alias(open_store(checkout, uri=store), "net", "champion", "1")
    assert taken(checkout).changes_since(before) == ["checkpoint"]
    write(checkout, {**content, "baseline": {"checkpoint": "models:/net/2"}})
    assert taken(checkout).checkpoint == before.checkpoint


def test_a_registry_that_does_not_answer_is_an_error(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    runtime = {"tracking_uri": "http://127.0.0.1:9"}
    content = {"baseline": {"checkpoint": "models:/net@champion"}, "runtime": runtime}
    write(checkout, {**PARAMS, **content})
    with pytest.raises(StorageError, match="cannot be used"):
        taken(checkout)


def workspace_with(checkout: Path, train: str) -> Workspace:
    write(checkout, {"fetch": {"train": train, "image_size": 8, "mean": [0.5], "std": [0.5]}})
    return open_workspace(checkout)


def run_fetch(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stage as DVC runs it; building the data set is not looked at here."""
    monkeypatch.chdir(workspace.folder)
    monkeypatch.setattr(fetch, "make_dataset", lambda *_: {"images": 0})
    fetch.fetch(workspace.params, Path("artifacts"), lambda *_: None)


def test_what_is_registered_is_what_was_brought_not_what_the_source_holds_now(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = workspace_with(checkout, "data/train")
    present = take_fingerprint(workspace)
    run_fetch(workspace, monkeypatch)
    assert recorded_fingerprint(workspace, code_digest(code_files(workspace))).changes_since(present) == []
    edit("data/train/a.png")(checkout)
    assert recorded_fingerprint(workspace, code_digest(code_files(workspace))).changes_since(present) == []
    assert take_fingerprint(workspace).changes_since(
        recorded_fingerprint(workspace, code_digest(code_files(workspace)))
    ) == ["data"]
    run_fetch(workspace, monkeypatch)
    assert (
        take_fingerprint(workspace).changes_since(recorded_fingerprint(workspace, code_digest(code_files(workspace))))
        == []
    )


def test_a_source_that_changes_while_it_is_brought_gives_no_data(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = workspace_with(checkout, "data/train")
    bring = fetch.fetch_files

    def meanwhile(*arguments: object) -> set[str]:
        met = bring(*arguments)  # type: ignore[arg-type]
        add_to_train(checkout)
        return met

    monkeypatch.setattr(fetch, "fetch_files", meanwhile)
    with pytest.raises(StorageError, match="train changed in the source while it was brought"):
        run_fetch(workspace, monkeypatch)
    assert not (workspace.artifacts / "fetch").exists()


def add_to_train(checkout: Path) -> None:
    (checkout / "data/train/late.png").write_text("late")


def test_a_checkpoint_that_changes_while_it_is_brought_is_refused(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(checkout)
    params = open_workspace(checkout).params
    source = dense_source.find_dense_source(params)
    assert source.versions == dense_source.checkpoint_versions(params, checkout)
    download = dense_source._download
    monkeypatch.setattr(
        dense_source, "_download", lambda *arguments: (download(*arguments), edit("weights.pt")(checkout))[0]
    )
    with pytest.raises(StorageError, match="checkpoint changed"):
        dense_source.find_dense_source(params)


def test_nothing_brought_yet_is_no_version(checkout: Path) -> None:
    workspace = open_workspace(checkout)
    assert recorded_sources(workspace) == {"data": "", "checkpoint": ""}
    assert take_fingerprint(workspace).changes_since(
        recorded_fingerprint(workspace, code_digest(code_files(workspace)))
    ) == list(STAGE_OF)


def test_tags_keep_a_fingerprint() -> None:
    fingerprint = Fingerprint(**dict.fromkeys(MEANING, "x"))
    assert Fingerprint.from_tags(fingerprint.tags() | {"other": "tag"}) == fingerprint
    assert Fingerprint.from_tags({}) is None


def test_a_version_of_before_one_digest_of_parameters_is_known_by_its_lineages() -> None:
    """Its fingerprint had one of its own, which counted the registered model's name, too."""
    parts = {f"eyas.fingerprint.{part}": "x" for part in ("data", "code", "checkpoint")}
    tags = {**parts, "eyas.fingerprint.params": "with register", "eyas.params_digest": "without"}
    assert Fingerprint.from_tags(tags) == Fingerprint(data="x", params="without", code="x", checkpoint="x")


def test_the_parameters_digest_is_that_of_the_lineage(checkout: Path) -> None:
    workspace = open_workspace(checkout)
    sections = {"fetch", "baseline", "sample", "score", "finetune", "export"}
    network = {name: section for name, section in workspace.all_params.items() if name in sections}
    text = json.dumps(network, sort_keys=True)
    assert take_fingerprint(workspace).params == hashlib.sha256(text.encode()).hexdigest()
    assert params_digest(workspace.all_params) == take_fingerprint(workspace).params


def test_versions_are_compared_part_by_part() -> None:
    require_unchanged({"train": "1", "test": "2"}, {"train": "1", "test": "2"})
    with pytest.raises(StorageError, match="^test changed"):
        require_unchanged({"train": "1", "test": "2"}, {"train": "1", "test": "3"})
