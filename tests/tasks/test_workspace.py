"""Profiles: each has a folder of its own, and none touches another."""

import json
import multiprocessing
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from dvc.repo import Repo

from eyas.config import apply_overrides
from eyas.errors import BusyError, ParameterError
from eyas.operations.lineage import params_digest
from tasks.dvc_cli import repro_stage
from tasks.workspace import Workspace, open_workspace
from tasks.workspace_files import derive_pipeline


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "params.yaml").write_text("score: {batch_size: 64}\n")
    (tmp_path / ".dvcignore").write_text("__pycache__\n")
    (tmp_path / "dvc.yaml").write_text(
        yaml.safe_dump(
            {
                "stages": {
                    "one": {
                        "cmd": "PATH=.venv/bin:$PATH python -m tasks.one",
                        "deps": ["tasks/one.py"],
                        "outs": ["artifacts/one/a"],
                        "params": ["score"],
                    },
                    "two": {
                        "cmd": "python -m tasks.two",
                        "deps": ["artifacts/one/a", "src"],
                        "outs": ["artifacts/two/b"],
                    },
                }
            }
        )
    )
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "small.yaml").write_text(
        "fetch: {train: data/train, test: data/test}\nbaseline: {checkpoint: $W/x.pt}\n"
    )
    return tmp_path


def prepared(checkout: Path, *arguments: object, **options: object) -> Workspace:
    workspace = open_workspace(checkout, *arguments, **options)  # type: ignore[arg-type]
    with workspace.locked():
        pass
    return workspace


def test_the_checkouts_own_parameters_run_in_the_checkout(checkout: Path) -> None:
    workspace = open_workspace(checkout)
    assert (workspace.folder, workspace.name) == (checkout, "default")
    assert not (checkout / "workspaces").exists()


def test_runtime_settings_alone_make_no_other_profile(checkout: Path) -> None:
    workspace = open_workspace(checkout, overrides=["runtime.threads=1"])
    assert workspace.name == "default"
    assert workspace.params.runtime.threads == 1
    assert '"threads": 1' in workspace.environment()["EYAS_RUNTIME"]


@pytest.mark.parametrize(
    "item", ["promote.preset=better", "promote.margin=0.02", "schedule.overlap=queue", "notify.style=slack"]
)
@pytest.mark.parametrize("params_file", [None, "configs/small.yaml"])
def test_what_no_stage_reads_makes_no_other_profile(checkout: Path, item: str, params_file: str | None) -> None:
    path = checkout / params_file if params_file else None
    plain, judged = prepared(checkout, path), prepared(checkout, path, overrides=[item])
    assert (judged.name, judged.folder, judged.arguments) == (plain.name, plain.folder, plain.arguments)
    assert judged.content == plain.content  # what DVC sees is the same
    section, _, rest = item.partition(".")
    field, _, value = rest.partition("=")
    assert str(getattr(getattr(judged.params, section), field)) == value
    assert params_digest(judged.all_params) == params_digest(plain.all_params)


def test_a_limit_beside_another_parameter_judges_the_profile_of_that_parameter(checkout: Path) -> None:
    both = open_workspace(checkout, overrides=["promote.max_drop=0.5", "score.seed=3"])
    assert both.name == open_workspace(checkout, overrides=["score.seed=3"]).name
    assert both.params.promote.max_drop == 0.5
    assert both.gates == ("promote.max_drop=0.5",)
    assert "--set promote.max_drop=0.5" not in " ".join(both.arguments)


def test_an_override_makes_a_profile_with_resolved_parameters(checkout: Path) -> None:
    workspace = prepared(checkout, overrides=["score.seed=3", "runtime.threads=1"])
    assert workspace.folder == checkout / "workspaces" / "params+score.seed=3"
    resolved = yaml.safe_load((workspace.folder / "params.yaml").read_text())
    assert resolved == {"score": {"batch_size": 64, "seed": 3}}
    assert yaml.safe_load((checkout / "params.yaml").read_text()) == {"score": {"batch_size": 64}}


def test_a_profiles_pipeline_reads_sources_from_the_checkout(checkout: Path) -> None:
    workspace = prepared(checkout, checkout / "configs" / "small.yaml")
    stages = yaml.safe_load((workspace.folder / "dvc.yaml").read_text())["stages"]
    assert stages["one"]["deps"] == ["../../tasks/one.py"]
    assert stages["two"]["deps"] == ["artifacts/one/a", "../../src"]
    assert stages["one"]["cmd"] == "PYTHONPATH=../..:$PYTHONPATH PATH=../../.venv/bin:$PATH python -m tasks.one"


def test_relative_addresses_still_point_at_the_same_files(checkout: Path) -> None:
    workspace = prepared(checkout, checkout / "configs" / "small.yaml")
    resolved = yaml.safe_load((workspace.folder / "params.yaml").read_text())
    assert (workspace.folder / resolved["fetch"]["train"]).resolve() == checkout / "data" / "train"
    assert resolved["baseline"]["checkpoint"] == "$W/x.pt"


def test_opening_a_profile_again_rewrites_nothing(checkout: Path) -> None:
    folder = prepared(checkout, overrides=["score.seed=3"]).folder
    before = {
        path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file() and ".eyas" not in path.parts
    }
    prepared(checkout, overrides=["score.seed=3"])
    assert {
        path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file() and ".eyas" not in path.parts
    } == before


def test_a_section_that_dvc_looks_at_must_be_written_down(checkout: Path) -> None:
    (checkout / "params.yaml").write_text("runtime: {threads: 1}\n")
    with pytest.raises(ParameterError, match=r"add\n  score: {}"):
        open_workspace(checkout)
    folder = prepared(checkout, overrides=["fetch.image_size=8"]).folder
    assert yaml.safe_load((folder / "params.yaml").read_text())["score"] == {}


def test_a_wrong_parameter_prepares_nothing(checkout: Path) -> None:
    with pytest.raises(ParameterError, match="score.sed"):
        open_workspace(checkout, overrides=["score.sed=3"])
    assert not (checkout / "workspaces").exists()


@pytest.mark.parametrize("item", ["score.seed", "seed=3", "=", ""])
def test_an_override_of_another_form_is_refused(item: str) -> None:
    with pytest.raises(ParameterError, match=r"section\.field=value"):
        apply_overrides({}, [item])


def test_overrides_reach_nested_fields_and_leave_the_original_alone() -> None:
    content = {"sample": {"budget": {"macs": 0.5}}}
    assert apply_overrides(content, ["sample.budget.macs=0.25", "score.seed=1"]) == {
        "sample": {"budget": {"macs": 0.25}},
        "score": {"seed": 1},
    }
    assert content == {"sample": {"budget": {"macs": 0.5}}}


def _hold(folder: Path, ready: "multiprocessing.synchronize.Event", leave: "multiprocessing.synchronize.Event") -> None:
    with open_workspace(folder).locked():
        ready.set()
        leave.wait(20)


def test_a_second_run_at_the_same_time_is_refused_and_told_by_whom(checkout: Path) -> None:
    context = multiprocessing.get_context("spawn")
    ready, leave = context.Event(), context.Event()
    holder = context.Process(target=_hold, args=(checkout, ready, leave))
    holder.start()
    try:
        assert ready.wait(60)
        with (
            pytest.raises(BusyError, match=rf"process {holder.pid}\) holds 'default'"),
            open_workspace(checkout).locked(),
        ):
            pass
    finally:
        leave.set()
        holder.join()
    with open_workspace(checkout).locked():
        pass


def test_the_derived_pipeline_leaves_the_original_alone() -> None:
    pipeline = {"stages": {"a": {"cmd": "x", "deps": ["src"]}}}
    derive_pipeline(pipeline, "../..")
    assert pipeline == {"stages": {"a": {"cmd": "x", "deps": ["src"]}}}


def test_looking_at_a_profile_changes_nothing_of_it(checkout: Path) -> None:
    folder = prepared(checkout, overrides=["score.seed=3"], name="mine").folder
    before = (folder / "params.yaml").read_text()
    open_workspace(checkout, overrides=["score.seed=4"], name="mine")
    assert (folder / "params.yaml").read_text() == before


@pytest.mark.parametrize("name", ["../../x", "/tmp/x", "", ".hidden", "a b", "default", "x" * 300])
def test_a_name_that_leaves_the_workspaces_is_refused(checkout: Path, name: str) -> None:
    with pytest.raises(ParameterError, match="--name"):
        open_workspace(checkout, name=name)


def test_a_value_that_is_not_yaml_is_refused() -> None:
    with pytest.raises(ParameterError, match=r"--set score.seed=\[1: the value is not YAML"):
        apply_overrides({}, ["score.seed=[1"])


def test_a_workspace_has_the_checkouts_remotes_and_cache(checkout):
    (checkout / ".dvc").mkdir()
    (checkout / ".dvc" / "config").write_text(
        "[core]\n    remote = far\n['remote \"near\"']\n    url = ../.eyas/remote\n"
    )
    local = "['remote \"far\"']\n    url = s3://bucket/dvc\n    endpointurl = http://localhost:9000\n"
    (checkout / ".dvc" / "config.local").write_text(local)
    workspace = prepared(checkout, checkout / "configs" / "small.yaml")
    repo = Repo(workspace.folder)
    assert repo.config["core"]["no_scm"]
    assert repo.config["core"]["remote"] == "far"
    assert repo.config["remote"]["far"]["url"] == "s3://bucket/dvc"
    assert repo.config["remote"]["far"]["endpointurl"] == "http://localhost:9000"
    assert Path(repo.config["remote"]["near"]["url"]).resolve() == checkout.resolve() / ".eyas" / "remote"
    assert Path(repo.cache.local.path).parents[1].resolve() == checkout.resolve() / ".dvc" / "cache"


@pytest.fixture
def ran(checkout: Path) -> Path:
    """A checkout whose two stages have run; each tells in ``runs`` that it did."""
    (checkout / ".dvc").mkdir()
    (checkout / ".dvc" / "config").write_text("[core]\n    no_scm = True\n    analytics = false\n")
    (checkout / "tasks").mkdir()
    say = "import pathlib as p, sys; a = p.Path(sys.argv[1]); a.parent.mkdir(parents=True, exist_ok=True)"
    code = f"{say}; a.write_text('made'); print('at work', file=p.Path({str(checkout / 'runs')!r}).open('a'))\n"
    (checkout / "tasks" / "write.py").write_text(code)
    pipeline = {
        name: {
            "cmd": f"PATH=.venv/bin:$PATH {sys.executable} -W ignore {checkout}/tasks/write.py artifacts/{name}/a",
            "deps": ["tasks/write.py", *needs],
            "outs": [f"artifacts/{name}/a"],
            "params": [section],
        }
        for name, section, needs in (("one", "score", []), ("two", "finetune", ["artifacts/one/a"]))
    }
    (checkout / "dvc.yaml").write_text(yaml.safe_dump({"stages": pipeline}))
    (checkout / "params.yaml").write_text("score: {batch_size: 64}\nfinetune: {epochs: 3}\n")
    assert [repro_stage(checkout, name, os.environ, print).skipped for name in pipeline] == [False, False]
    return checkout


@pytest.mark.parametrize(("override", "runs"), [("finetune.epochs=4", 1), ("score.batch_size=32", 1)])
def test_a_new_workspace_is_given_what_the_checkout_made_with_the_same_parameters(
    ran: Path, override: str, runs: int
) -> None:
    folder = prepared(ran, overrides=[override]).folder
    for name in ("one", "two"):
        repro_stage(folder, name, os.environ, print)
    assert (folder / "artifacts/one/a").read_text() == (folder / "artifacts/two/a").read_text() == "made"
    assert len((ran / "runs").read_text().splitlines()) == 2 + runs, "stages of the same parameters ran again"
    before = (folder / "dvc.lock").read_text()
    (ran / "dvc.lock").write_text("stages: {}")
    prepared(ran, overrides=[override])
    assert (folder / "dvc.lock").read_text() == before, "what a workspace has is its own"


def test_a_workspace_says_whose_it_is(checkout: Path) -> None:
    folder = prepared(checkout, checkout / "configs" / "small.yaml", overrides=["score.seed=3"]).folder
    origin = json.loads((folder / "origin.json").read_text())
    command = "eyas run --params configs/small.yaml --set score.seed=3"
    assert origin == {"params_file": "configs/small.yaml", "command": command}


@pytest.mark.parametrize("options", [{}, {"overrides": ["score.seed=3"]}, {"name": "mine"}])
@pytest.mark.parametrize("place", ["configs/mine.yaml", "mine.yaml", "../mine.yaml"])
def test_a_file_of_the_same_name_elsewhere_takes_over_no_workspace(
    checkout: Path, place: str, options: dict[str, Any]
) -> None:
    first, second = checkout / "elsewhere" / "mine.yaml", checkout / place
    for path, seed in ((first, 1), (second, 2)):
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"finetune: {{seed: {seed}}}\n")
    folder = prepared(checkout, first, **options).folder
    before = (folder / "params.yaml").read_text()
    with pytest.raises(ParameterError, match=rf"workspace of elsewhere/mine.yaml: give .*{place} .*--name NAME"):
        open_workspace(checkout, second, **options)
    assert (folder / "params.yaml").read_text() == before
    assert prepared(checkout, second, **{**options, "name": "other"}).folder.name == "other"
    assert prepared(checkout, first, **options).folder == folder


def test_the_checkouts_own_parameters_and_another_file_of_that_name_do_not_share(checkout: Path) -> None:
    (checkout / "configs" / "params.yaml").write_text("score: {seed: 1}\n")
    prepared(checkout, overrides=["score.seed=3"])
    with pytest.raises(ParameterError, match="is the workspace of params.yaml"):
        open_workspace(checkout, checkout / "configs" / "params.yaml", ["score.seed=3"])


def test_a_file_reached_by_another_way_is_the_same_file(checkout: Path) -> None:
    (checkout / "link.yaml").symlink_to("configs/small.yaml")
    folder = prepared(checkout, checkout / "configs" / "small.yaml", name="mine").folder
    assert prepared(checkout, checkout / "link.yaml", name="mine").folder == folder
    assert prepared(checkout, checkout / "configs" / ".." / "configs" / "small.yaml", name="mine").folder == folder


def test_a_moved_checkout_keeps_its_workspaces(checkout: Path, caplog: pytest.LogCaptureFixture) -> None:
    outside = checkout.parent / "outside.yaml"
    outside.write_text("{}")
    for path in (checkout / "configs" / "small.yaml", outside):
        prepared(checkout, path)
    moved = checkout.parent / "deeper" / "moved"
    moved.parent.mkdir()
    checkout.rename(moved)
    assert prepared(moved, moved / "configs" / "small.yaml").name == "small"
    assert prepared(moved, outside).name == "outside"
    assert not caplog.records


def test_a_moved_file_goes_on_with_its_workspace_and_that_is_told(
    checkout: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = prepared(checkout, checkout / "configs" / "small.yaml").folder
    moved = (checkout / "configs" / "small.yaml").rename(checkout / "small.yaml")
    assert prepared(checkout, moved).folder == folder
    assert "was made of configs/small.yaml, which is gone: it goes on with" in caplog.text
    assert json.loads((folder / "origin.json").read_text())["params_file"] == "small.yaml"


def test_a_workspace_of_an_earlier_version_goes_on_and_that_is_told(
    checkout: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = prepared(checkout, checkout / "configs" / "small.yaml").folder
    (folder / "origin.json").unlink()
    prepared(checkout, checkout / "configs" / "small.yaml")
    assert "is of an earlier version" in caplog.text
    caplog.clear()
    prepared(checkout, checkout / "configs" / "small.yaml")
    assert not caplog.records


def test_a_workspace_under_its_former_name_is_told(checkout: Path, caplog: pytest.LogCaptureFixture) -> None:
    former = checkout / "workspaces" / "params+score.scorer=-kind-top1-"
    former.mkdir(parents=True)
    folder = prepared(checkout, overrides=["score.scorer={kind: top1}"]).folder
    assert f"{former} is now {folder}" in caplog.text


@pytest.mark.parametrize(
    "name", ["...yaml", "....yaml", ".yaml", "-rf.yaml", "a\nb.yaml", "gr\u00f6\u00dfe.yaml", "x" * 250 + ".yaml"]
)
def test_no_name_of_a_file_leads_out_of_the_workspaces(checkout: Path, name: str) -> None:
    own = {path: path.read_bytes() for path in checkout.rglob("*") if path.is_file()}
    (checkout / "configs" / name).write_text("finetune: {seed: 5}\n")
    workspace = prepared(checkout, checkout / "configs" / name)
    assert workspace.folder.parent == checkout / "workspaces"
    assert yaml.safe_load((workspace.folder / "params.yaml").read_text())["finetune"] == {"seed": 5}
    assert {path: path.read_bytes() for path in own} == own
    assert prepared(checkout, checkout / "configs" / name).folder == workspace.folder


def test_a_file_name_that_no_command_line_repeats_is_refused(checkout: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(checkout) + b"/\xff.yaml"))
    path.write_text("{}")
    with pytest.raises(ParameterError, match=r"'\\udcff.yaml' is not UTF-8: rename"):
        open_workspace(checkout, path)


@pytest.mark.parametrize(
    ("override", "differs"),
    [
        ("promote.margin=0.02", False),  # what the file says
        ("promote.margin=0.020", False),
        ("promote.margin=0.03", True),
        ("promote.max_drop=0.05", False),  # the default of what it leaves out
        ("promote.max_drop=null", True),
        ("promote.preset=better", True),
    ],
)
def test_a_limit_is_of_this_command_only_where_it_differs(checkout: Path, override: str, differs: bool) -> None:
    (checkout / "params.yaml").write_text("score: {batch_size: 64}\npromote: {margin: 0.02}\n")
    assert open_workspace(checkout, overrides=[override]).gates == ((override,) if differs else ())
