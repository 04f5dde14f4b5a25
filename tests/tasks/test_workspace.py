"""Profiles: each has a folder of its own, and none touches another."""

import multiprocessing
from pathlib import Path

import pytest
import yaml
from dvc.repo import Repo

from eyas.errors import BusyError, ParameterError
from eyas.operations.lineage import params_digest
from tasks.workspace import Workspace, apply_overrides, open_workspace, profile_name
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


def test_names_stay_inside_the_workspaces_folder() -> None:
    name = profile_name(Path("../../x.yaml"), ["fetch.train=../../etc/passwd"])
    assert "/" not in name
    assert profile_name(Path("a.yaml"), ["b.c=1", "a.b=2"]) == profile_name(Path("a.yaml"), ["a.b=2", "b.c=1"])


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


@pytest.mark.parametrize("name", ["../../x", "/tmp/x", "", ".hidden", "a b"])
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
