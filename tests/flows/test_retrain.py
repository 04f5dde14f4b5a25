"""What retraining decides: nothing where nothing changed, a run where something did, and which stages bring anew."""

import json
import logging
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from eyas.operations.fingerprint import Fingerprint, code_digest
from eyas.operations.tracking import model_registry, open_store
from flows import retrain as module
from flows.pipeline import Outcome
from flows.retrain import as_json, decide_and_run
from tasks.fingerprint import code_files, recorded_fingerprint, take_fingerprint
from tasks.source_version import SOURCE, data_versions
from tasks.workspace import Workspace


class Case:
    """A workspace with a registry of its own; the stages are left out, what they are asked to do is kept."""

    def __init__(self, workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
        self.workspace = workspace
        self.store = open_store(workspace.root, uri=workspace.params.runtime.tracking_uri)
        self.store.client.create_registered_model("net")
        self.asked: list[list[str]] = []
        self.skipped: tuple[str, ...] = ()
        self.files = "files"
        monkeypatch.setattr(module, "run_stages", self.run_stages)
        monkeypatch.setattr(module, "get_run_logger", lambda: logging.getLogger("test"))

    def run_stages(self, workspace: Workspace, *, again: list[str]) -> Outcome:
        self.asked.append(list(again))
        self.bring()
        number = self.register(recorded_fingerprint(workspace, code_digest(code_files(workspace))))
        return Outcome("default", str(workspace.folder), "run", number, self.skipped)

    def bring(self) -> None:
        """What the stages keep of their sources."""
        from eyas.storage import Store

        kept = {"fetch": data_versions(self.workspace.params.fetch, Store(), self.workspace.root), "baseline": {}}
        for stage, signatures in kept.items():
            (self.workspace.artifacts / stage).mkdir(parents=True, exist_ok=True)
            (self.workspace.artifacts / stage / SOURCE).write_text(json.dumps(signatures))

    def register(self, fingerprint: Fingerprint, alias: str = "candidate") -> str:
        tags = fingerprint.tags() | {"eyas.manifest_digest": self.files}
        made = self.store.client.create_model_version("net", source="file:///nowhere", tags=tags)
        model_registry.set_alias(self.store, "net", alias, str(made.version))
        return str(made.version)

    def decide(self, *, force: bool = False) -> dict[str, Any]:
        return as_json(decide_and_run(self.workspace, "test", force=force))


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database whose tables are made once."""
    folder = tmp_path_factory.mktemp("mlflow")
    open_store(folder, uri=f"sqlite:///{folder / 'mlflow.db'}")
    return folder / "mlflow.db"


@pytest.fixture
def case(
    make_workspace: Callable[..., Workspace], monkeypatch: pytest.MonkeyPatch, database: Path, tmp_path: Path
) -> Case:
    copy = tmp_path / "mlflow.db"
    copy.write_bytes(database.read_bytes())
    return Case(make_workspace(runtime={"tracking_uri": f"sqlite:///{copy}"}), monkeypatch)


def test_without_a_reference_it_runs(case: Case) -> None:
    decision = case.decide()
    assert decision["ran"] is True
    assert decision["reason"] == "no version is registered yet"
    assert decision["version"] == "1"
    assert case.asked == [["fetch"]]


def test_what_it_proposes_next_is_of_the_same_profile_model_and_version(
    case: Case, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    arguments = ("--params", "configs/mine.yaml", "--set", "sample.budget={macs: 0.4}")
    case.workspace = replace(case.workspace, arguments=arguments, runtime={"tracking_uri": "sqlite:///a b.db"})
    case.register(take_fingerprint(case.workspace), "champion")
    case.register(take_fingerprint(case.workspace), "candidate")
    decision = case.decide(force=True)
    (line,) = (record.getMessage() for record in caplog.records if "next:" in record.getMessage())
    said, _, command = line.partition("; next: ")
    assert said == f"net version {decision['version']} is proposed"
    options = shlex.split(command)[shlex.split(command).index("promote") + 1 :]
    runtime = ("--set", 'runtime.tracking_uri="sqlite:///a b.db"')
    assert options == [*arguments, *runtime, "--version", str(decision["version"])]


def test_nothing_changed_does_nothing_and_says_what_was_compared(case: Case) -> None:
    case.bring()
    case.register(take_fingerprint(case.workspace), "champion")
    decision = case.decide()
    assert decision["ran"] is False
    assert decision["version"] == "1"
    assert "nothing changed since net version 1" in decision["reason"]
    for part in ("data", "parameters", "code", "checkpoint"):
        assert part in decision["reason"]
    assert case.asked == []


def test_force_runs_every_stage_again_and_says_so(case: Case) -> None:
    case.bring()
    case.register(take_fingerprint(case.workspace), "champion")
    decision = case.decide(force=True)
    assert decision["ran"] is True
    assert decision["reason"] == "forced; nothing changed since net version 1"
    assert case.asked == [["one"]]


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ("data", "the data in its source"),
        ("params", "the parameters"),
        ("code", "the code of the stages"),
        ("checkpoint", "the base checkpoint"),
    ],
)
def test_each_change_is_a_reason_to_run(case: Case, part: str, words: str) -> None:
    case.bring()
    case.register(replace(take_fingerprint(case.workspace), **{part: "other"}), "champion")
    decision = case.decide()
    assert decision["changes"] == (part,)
    assert decision["reason"] == f"changed since net version 1: {words}"
    assert decision["compared_with"] == "net version 1"
    version = model_registry.get_version(case.store, "net", "2")
    assert version.tags["eyas.retrain.because"] == decision["reason"]
    assert version.tags["eyas.retrain.reason"] == "test"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda lib: (lib / "mypkg/net.py").write_text("import mypkg.free"), "code: mypkg/net.py changed"),
        (lambda lib: (lib / "mypkg/free.py").write_text("x = 2"), "code: mypkg/free.py changed"),
        (lambda lib: (lib / "mypkg/free.py").unlink(), "code: mypkg/free.py is gone"),
        (lambda lib: (lib.parent / "checkout/tasks/two.py").write_text("x = 2"), "code: tasks/two.py is new"),
        (lambda lib: (lib.parent / "checkout/tasks/one.py").write_text("x = 2"), "code: tasks/one.py changed"),
    ],
    ids=["factory", "free function", "module gone", "new file of a stage", "file of a stage"],
)
def test_code_that_changed_is_named(
    make_workspace: Callable[..., Workspace], case: Case, monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
    change: Callable[[Path], object], said: str,
) -> None:  # fmt: skip
    lib = tmp_path / "lib"
    (lib / "mypkg").mkdir(parents=True)
    (lib / "mypkg/net.py").write_text("from mypkg.free import act")
    (lib / "mypkg/free.py").write_text("act = abs")
    monkeypatch.setenv("PYTHONPATH", str(lib))
    runtime = case.workspace.params.runtime.model_dump(mode="json")
    case.workspace = make_workspace(runtime=runtime, baseline={"architecture": "mypkg.net:build"})
    pipeline = yaml.safe_load((case.workspace.root / "dvc.yaml").read_text())
    pipeline["stages"]["one"]["deps"] = ["tasks", "models"]
    (case.workspace.root / "dvc.yaml").write_text(yaml.safe_dump(pipeline))
    (case.workspace.root / "models").mkdir()
    case.bring()
    then = code_files(case.workspace)
    monkeypatch.setattr(model_registry, "fetch_code", lambda *_: then)
    case.register(take_fingerprint(case.workspace), "champion")
    assert case.decide()["ran"] is False
    change(lib)
    assert case.decide()["reason"] == f"changed since net version 1: {said}"


def test_the_champion_is_compared_with_before_the_candidate(case: Case) -> None:
    case.bring()
    case.register(take_fingerprint(case.workspace), "champion")
    case.register(replace(take_fingerprint(case.workspace), data="other"), "candidate")
    assert case.decide()["ran"] is False


def test_where_every_stage_was_up_to_date_nothing_was_retrained(case: Case) -> None:
    case.register(replace(take_fingerprint(case.workspace), params="other"), "champion")
    case.files, case.skipped = "others", ("one",)
    decision = case.decide()
    assert (decision["ran"], decision["version"]) == (False, "2")
    assert decision["reason"] == (
        "every stage was up to date, and net version 2 has these files; changed since net version 1: the parameters"
    )
    assert "eyas.retrain.because" not in model_registry.get_version(case.store, "net", "2").tags
    case.skipped = ()
    assert case.decide()["ran"] is True


def test_a_change_that_made_the_champions_files_again_is_no_reason_for_a_second_run(case: Case) -> None:
    case.register(take_fingerprint(case.workspace), "champion")
    code = case.workspace.root / "tasks/one.py"
    before = code.read_text()
    for text in (before + "# a comment\n", before + "# another\n"):
        code.write_text(text)
        assert case.decide()["ran"] is True
        assert case.decide()["ran"] is False
    latest = case.decide()
    assert (latest["version"], latest["compared_with"]) == ("3", "net version 3")
    code.write_text(before)
    assert case.decide()["version"] == "1"
    case.files = "others"
    code.write_text(before + "x = 2\n")
    assert [case.decide()["ran"] for _ in range(2)] == [True, True]  # its files differ: the gates are asked each time


def test_a_champion_of_another_budget_is_no_reference_where_the_profile_has_a_candidate(case: Case) -> None:
    case.register(replace(take_fingerprint(case.workspace), params="of half the MACs"), "champion")
    case.store.client.set_model_version_tag("net", "1", "eyas.budget", '{"macs": 0.9}')
    case.files = "of a quarter"
    case.register(take_fingerprint(case.workspace))
    case.store.client.set_model_version_tag("net", "2", "eyas.profile", case.workspace.name)
    decision = case.decide()
    assert (decision["ran"], decision["compared_with"]) == (False, "net version 2")
    case.store.client.set_model_version_tag("net", "1", "eyas.profile", case.workspace.name)
    assert case.decide()["compared_with"] == "net version 1", "the profile's own budget was another one then"


def test_a_version_without_fingerprint_is_no_reference_to_trust(case: Case) -> None:
    case.store.client.create_model_version("net", source="file:///nowhere")
    model_registry.set_alias(case.store, "net", "champion", "1")
    decision = case.decide()
    assert decision["ran"] is True
    assert decision["reason"] == "net version 1 does not say what it was made of"


def test_data_is_brought_again_where_this_workspace_holds_an_older_state(case: Case) -> None:
    case.bring()
    case.register(take_fingerprint(case.workspace), "champion")
    (case.workspace.root / "data" / "new.png").write_text("new")
    case.files = "of more data"
    assert case.decide()["changes"] == ("data",)
    assert case.asked == [["fetch"]]
    # The candidate is not promoted yet: it runs again, but what it would bring is here already.
    assert case.decide()["changes"] == ("data",)
    assert case.asked == [["fetch"], []]


def test_what_is_registered_is_not_overwritten_by_what_the_source_holds_by_now(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_stages = case.run_stages

    def meanwhile(*arguments: Any, **options: Any) -> Outcome:
        outcome = run_stages(*arguments, **options)
        (case.workspace.root / "data" / "late.png").write_text("came while the stages ran")
        return outcome

    monkeypatch.setattr(module, "run_stages", meanwhile)
    assert case.decide()["ran"] is True
    monkeypatch.setattr(module, "run_stages", run_stages)
    decision = case.decide()
    assert (decision["ran"], decision["changes"]) == (True, ("data",))
    assert case.decide()["ran"] is False
