"""``eyas compare`` on real small networks: profiles, registered versions and runs, by any of their names."""

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from eyas.data import open_dataset
from eyas.data.index import read_index, write_index
from eyas.deploy.exported_model import ExportedModel
from eyas.errors import BadInputError
from eyas.operations import tracking
from eyas.operations.comparison.comparison import compare_networks
from eyas.operations.comparison.network_origin import NetworkOrigin
from eyas.operations.paired_counts import PairedCounts
from eyas.operations.tracking import Version
from eyas.operations.tracking.recorded_origin import origin_of_stages, recorded_origin
from eyas.operations.tracking.run_pages import MODEL_TRAINING
from tasks import compare
from tasks.compare import compare_named, log_comparison, print_comparison
from tasks.compared_networks import made_with, of_profile
from tasks.dvc_cli import stage_keys
from tasks.tracking_store import open_store
from tasks.workspace import Workspace
from tests.operations.comparison.test_comparison import HALF, QUARTER, counted
from tests.tasks.registering import Setting, enter, write_lock


def entered(workspace: Workspace) -> Version:
    """A registered version whose run has recorded its stages."""
    version = enter(workspace)
    store = open_store(workspace)
    for stage in ("fetch", "baseline", "finetune", "export"):
        record = tracking.StageRecord(stage, f"{stage} of {version}", workspace.artifacts / stage)
        tracking.record_stage(store, version.run_id, record)
    tracking.tag_run(store, version.run_id, {"eyas.verdict": "lost"})
    return version


def right(folder: Path, artifacts: Path) -> np.ndarray:
    """Which test images an exported network is right on."""
    test = open_dataset(artifacts / "fetch").split("test")
    return ExportedModel.open(folder).answers(test.images()) == test.labels.numpy()


def test_profile_version_and_run_of_one_network_are_equal_and_another_differs(
    setting: Setting, root: Path, lock: str, spoilt: Callable[[Workspace], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = setting()
    version = entered(workspace)
    good = right(workspace.artifacts / "export", workspace.artifacts)
    same = compare_named(workspace, ["default", "1", "candidate", version.run_id])
    assert [(one.kind, one.name) for one in same.networks] == [
        *(
            ("profile", "default"),
            ("version", "version 1"),
            ("version", "candidate"),
            ("run", f"run {version.run_id[:8]}"),
        ),
    ]
    assert same.networks[2].detail == "version 1, macs=0.5"
    assert len({(one.accuracy, one.macs, one.file_bytes, one.test_set) for one in same.networks}) == 1
    assert same.networks[3].verdict == "lost"
    assert [one and one.paired for one in same.differences] == [None, *[PairedCounts(349, 0, 0)] * 3]
    spoilt(workspace)
    write_lock(root, "spoilt")
    entered(workspace)
    bad = right(workspace.artifacts / "export", workspace.artifacts)
    model = workspace.params.register_.model
    both = compare_named(workspace, ["1", f"models:/{model}/2"])
    assert both.differences[1] is not None
    assert both.differences[1].paired == PairedCounts(349, int((bad & ~good).sum()), int((good & ~bad).sum()))
    monkeypatch.setattr(ExportedModel, "answers", lambda *_: pytest.fail("nobody is asked twice"))
    again = compare_named(workspace, [f"models:/{model}@candidate", "1"])
    assert again.differences[1] is not None
    assert again.differences[1].paired == both.differences[1].paired.mirrored


def test_other_test_images_are_shown_without_a_difference(setting: Setting, root: Path) -> None:
    workspace = setting()
    version = entered(workspace)
    index = root / "artifacts/fetch/index.parquet"
    was = index.read_bytes()
    shutil.rmtree(root / ".eyas" / compare.ANSWERS, ignore_errors=True)
    rows = read_index(index)
    write_index(index, [row for row in rows if row != next(one for one in rows if one.split == "test")])
    try:
        comparison = compare_named(workspace, ["1", "default"])
        assert comparison.differences[1].paired is None
        assert "were tested on different images" in comparison.notes[0]
        both = compare_named(workspace, ["1", version.run_id])
    finally:
        index.write_bytes(was)
    why = "their test images are in no workspace here: bring one up to date with `eyas run`"
    assert both.notes == [f"run {version.run_id[:8]} is not held against version 1: {why}"]


def test_a_name_that_leads_nowhere_is_told_with_what_there_is(setting: Setting, root: Path) -> None:
    workspace = setting()
    entered(workspace)
    with pytest.raises(BadInputError) as refused:
        compare_named(workspace, ["default", "candidat"])
    assert "candidat is no profile, version, alias or run (did you mean 'candidate'?): there are" in str(refused.value)
    assert "profiles default; versions of" in str(refused.value)
    for names, why in (
        (["default", "7"], "has no version 7; registered versions: 1"),
        (["default", "0" * 32], "MLflow has no such run"),
        (["default", "models:/x"], "expected models:/NAME/NUMBER or models:/NAME@ALIAS"),
        (["default", "default"], "default is named twice"),
        (["default"], "one network alone compares with nothing"),
        (["gone.yaml"], "gone.yaml does not exist: give a parameter file that is there, a profile"),
    ):
        with pytest.raises(BadInputError, match=why):
            compare_named(workspace, names)


def test_a_profile_without_a_result_says_what_to_do(setting: Setting, root: Path) -> None:
    workspace, folder = setting(), root / "workspaces" / "unfinished"
    folder.mkdir(parents=True)
    (folder / "params.yaml").write_text("")
    with pytest.raises(BadInputError, match="profile unfinished has no result yet .*name one that has: default; or"):
        compare_named(workspace, ["default", "unfinished"])
    shutil.rmtree(folder)  # other tests list the workspaces there are


def test_a_profile_that_never_ran_is_known_all_the_same(setting: Setting, root: Path) -> None:
    """As after a sweep, which leaves results in profiles of its own."""
    workspace = replace(setting(), name="mine", folder=root / "workspaces" / "mine")
    with pytest.raises(BadInputError, match="profile mine has no result yet"):
        compare_named(workspace, ["default", workspace.name])


def test_a_profile_with_a_hash_in_its_name_is_called_by_what_it_sets(setting: Setting, root: Path) -> None:
    folder = root / "workspaces" / "net-5d41402a"
    folder.mkdir(parents=True)
    (folder / "params.yaml").write_text("")
    shutil.copytree(setting().artifacts, folder / "artifacts")
    try:
        for command, name in (
            (None, folder.name),
            (
                "eyas run --params a/net.yaml --set score.seed=3 --set sample.budget.macs=0.25",
                "net+sample.budget.macs=0.25+score.seed=3",
            ),
            ("eyas run --params a/net.yaml --set score.seed=3 --name net-5d41402a", folder.name),
            ("eyas run --params 'a/two words.yaml'", "two words"),
        ):
            if command:
                (folder / "origin.json").write_text(json.dumps({"params_file": "net.yaml", "command": command}))
            assert of_profile(folder.name, folder).name == name
    finally:
        shutil.rmtree(folder)


def test_a_comparison_is_a_run_of_mlflow_with_its_page(setting: Setting, root: Path, tmp_path: Path) -> None:
    workspace = setting()
    entered(workspace)
    comparison = compare_named(workspace, ["default", "1"])
    store, run_id = open_store(workspace), log_comparison(workspace, comparison)
    run = store.client.get_run(run_id)
    assert run.info.run_name == "compare resnet8 on digits: default, version 1"
    model = workspace.params.register_.model
    assert json.loads(run.data.tags["eyas.compared"]) == ["default", f"models:/{model}/1"]
    assert "| default |" in run.data.tags["mlflow.note.content"]
    assert "| dense |" in run.data.tags["mlflow.note.content"]
    names = ("comparison.html", "comparison.md", "comparison.json")
    html, table, content = (Path(store.client.download_artifacts(run_id, name, str(tmp_path))) for name in names)
    assert "<h1>resnet8 on digits <span>default, version 1</span></h1>" in html.read_text()
    assert table.read_text() == run.data.tags["mlflow.note.content"]
    assert f"runs/{comparison.networks[1].origin.run_id}{MODEL_TRAINING})" in table.read_text(), "the address is whole"
    assert json.loads(content.read_text()) == json.loads(json.dumps(comparison.as_dict()))


def test_profile_version_and_run_lead_to_their_run_version_and_pages(setting: Setting, root: Path) -> None:
    workspace = setting()
    version = entered(workspace)
    store, model = open_store(workspace), workspace.params.register_.model
    before = compare_named(workspace, ["default", "1"]).networks[0].origin
    assert (before.architecture, before.data, before.run_id) == ("resnet8", "digits", ""), "its export is not recorded"
    record = tracking.StageRecord("export", stage_keys(root)["export"], workspace.artifacts / "export")
    tracking.record_stage(store, version.run_id, record)
    report = workspace.artifacts / "report" / "report.html"
    report.parent.mkdir(exist_ok=True)
    report.write_text("<title>report</title>")
    tracking.log_report(store, version.run_id, report.parent)
    try:
        comparison = compare_named(workspace, ["default", "1", version.run_id])
    finally:
        shutil.rmtree(report.parent)
    origins = [network.origin for network in comparison.networks]
    day = datetime.fromtimestamp(store.client.get_run(version.run_id).info.start_time / 1000, UTC)
    assert {(one.run_id, one.version, one.date) for one in origins} == {
        (version.run_id, f"{model} version 1", day.strftime("%Y-%m-%d"))
    }
    assert [one.settings["fetch.train"] for one in origins] == [workspace.params.fetch.train] * 3
    assert [one.report for one in origins] == [report, None, None]
    assert comparison.about == "resnet8 on digits"
    run = f"http://127.0.0.1:5000/#/experiments/{store.experiment_id}/runs/{version.run_id}"
    pages = {
        "version": f"http://127.0.0.1:5000/#/models/{model}/versions/1{MODEL_TRAINING}",
        "run": f"{run}{MODEL_TRAINING}",
        "report": f"{run}/artifacts/report/report.html{MODEL_TRAINING}",
    }
    assert [one.pages for one in origins] == [pages] * 3


def test_a_run_that_is_gone_leaves_a_comparison_without_its_page(setting: Setting, root: Path) -> None:
    workspace = setting()
    store = open_store(workspace)
    assert recorded_origin(store, "0" * 32) == NetworkOrigin()
    assert recorded_origin(store, "", Version("net", "3")).version == "net version 3"
    assert origin_of_stages(store, {"export": "never made"}) == NetworkOrigin()


def test_versions_of_one_budget_are_told_apart_by_what_else_was_set() -> None:
    command = "eyas run --params mine.yaml --set finetune.epochs=2 --set sample.budget.macs=0.5"
    tags = {"eyas.budget": '{"macs": 0.5}', "eyas.command": command}
    assert made_with(Version("mine", "1", tags)) == "macs=0.5, epochs=2"
    assert made_with(Version("mine", "2", {"eyas.budget": '{"macs": 0.5}'})) == "macs=0.5"
    assert made_with(Version("mine", "3")) == ""


def test_on_a_terminal_title_conclusion_and_notes_keep_its_width(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    adapted = replace(QUARTER, name="version 3", adaptation="adapted from version 1: " + "it follows images " * 20)
    comparison = compare_networks([HALF, adapted], counted, "2026-11-27")
    for name, value in (("FORCE_COLOR", "1"), ("NO_COLOR", "1"), ("COLUMNS", "80"), ("TERM", "xterm")):
        monkeypatch.setenv(name, value)
    print_comparison(comparison)
    shown = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
    assert max(map(len, shown.splitlines())) <= 80
    for whole in (comparison.title, comparison.conclusion, *comparison.notes):
        assert " ".join(whole.split()) in " ".join(shown.split())
