"""Printed commands: pasted into a shell they parse, and act on the same profile, store, model and version."""

import ast
import os
import re
import shlex
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eyas.cli import (
    adapt_command,
    compare_command,
    init_command,
    main,
    predict_command,
    profile_command,
    registry_commands,
    run_commands,
    server_commands,
)
from eyas.cli.app import COMMANDS
from eyas.errors import BusyError, EyasError
from tasks import promote as promote_task
from tasks import report
from tasks.next_command import complete, completed_commands, next_command, version_command
from tasks.workspace import Workspace, open_workspace

ROOT = Path(__file__).resolve().parents[2]
PRINTED = re.compile(r"(?:next: +|`|\.venv/bin/)(eyas [a-z][^`\n]*)")
MODULES = (
    adapt_command,
    compare_command,
    init_command,
    predict_command,
    run_commands,
    registry_commands,
    server_commands,
    profile_command,
)
Pasted = Callable[[str], tuple[Any, ...]]
VALUES = st.one_of(
    st.integers(1, 9), st.booleans(), st.text(st.characters(codec="ascii", exclude_characters="\0"), max_size=12)
)


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "check out"
    for folder in ("configs", "below", "flows"):
        (root / folder).mkdir(parents=True)
    (root / "params.yaml").write_text("register: {model: default}\nfetch: {}\n")
    (root / "configs" / "o'mine.yaml").write_text("register: {model: mine}\n")
    (root / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"fetch": {"cmd": "x", "params": ["fetch"]}}}))
    monkeypatch.chdir(root)
    monkeypatch.setenv("PWD", str(root))
    return root


@pytest.fixture
def pasted(monkeypatch: pytest.MonkeyPatch) -> Pasted:
    """Paste a line into a shell that stands in ``PWD``; returns what the project is handed, the command first."""
    handed: list[tuple[Any, ...]] = []

    def take(*arguments: Any, **options: Any) -> int:
        handed.append((*arguments, options))
        return 0

    for module in MODULES:
        monkeypatch.setattr(module, "hand_over", take)

    def paste(line: str) -> tuple[Any, ...]:
        words = shlex.split(line)
        start = next(at for at, word in enumerate(words) if word.endswith(("eyas", "eyas.cli")))
        os.chdir(os.environ["PWD"])
        assert main(words[start + 1 :]) == 0, line
        return handed.pop()

    return paste


def opened(root: Path, handed: tuple[Any, ...]) -> Workspace:
    _, params, overrides, name, *_ = handed
    return open_workspace(root, params, overrides, name=name)


def same(one: Workspace, other: Workspace) -> bool:
    return (one.folder, one.name, one.params, one.runtime) == (other.folder, other.name, other.params, other.runtime)


def same_version(one: Workspace, other: Workspace) -> bool:
    """Whether a version's number means the same in both profiles."""
    return (one.params.register_.model, one.params.runtime) == (other.params.register_.model, other.params.runtime)


def test_the_command_that_is_recorded_makes_the_same_run(checkout: Path, pasted: Pasted) -> None:
    for overrides in ([], ["score.seed=3"], ["baseline.arguments={depth: 18, kind: 'a b'}"]):
        for name in (None, "named"):
            workspace = open_workspace(checkout, checkout / "configs" / "o'mine.yaml", overrides, name=name)
            assert same(opened(checkout, pasted(workspace.command)), workspace)


@pytest.mark.parametrize("start", [".", "below", "configs"])
@pytest.mark.parametrize("command", ["run", "retrain", "promote", "rollback", "status", "reproduce"])
def test_it_opens_the_same_profile_from_any_folder(
    checkout: Path, pasted: Pasted, monkeypatch: pytest.MonkeyPatch, start: str, command: str
) -> None:
    mine = checkout / "configs" / "o'mine.yaml"
    profiles = [
        open_workspace(checkout),
        open_workspace(checkout, mine),
        open_workspace(checkout, mine, name="named"),
        open_workspace(checkout, name="also.named"),
        open_workspace(checkout, None, ["baseline.arguments={depth: 18, kind: 'a b'}", "score.seed=3"]),
        open_workspace(checkout, mine, ["runtime.tracking_uri=sqlite:///a b.db", "runtime.storage.region=eu"]),
        open_workspace(checkout, None, ["runtime.threads=1"]),
    ]
    monkeypatch.setenv("PWD", str(checkout / start))
    for workspace in profiles:
        handed = pasted(next_command(workspace, command))
        assert handed[0] == command
        assert same(opened(checkout, handed), workspace)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.sampled_from(["depth", "a-b", "x"]), VALUES, max_size=2), st.none() | VALUES.map(str))
def test_whatever_is_set_survives_the_shell(
    checkout: Path, pasted: Pasted, arguments: dict[str, Any], experiment: str | None
) -> None:
    overrides = [f"baseline.arguments={yaml.safe_dump(arguments, default_flow_style=True).strip()}"]
    overrides += [] if experiment is None else [f"runtime.experiment={yaml.safe_dump(experiment).splitlines()[0]}"]
    try:
        workspace = open_workspace(checkout, None, overrides, name="p")
    except EyasError:
        return  # refused at once: no such run, so nothing to type after it
    handed = pasted(next_command(workspace, "promote", "--version", "3"))
    assert same(opened(checkout, handed), workspace)
    assert handed[4] == "3"


def test_outside_of_the_checkout_paths_are_as_seen_from_the_checkout(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PWD", str(tmp_path))
    line = next_command(open_workspace(checkout, checkout / "configs" / "o'mine.yaml"), "status")
    assert shlex.split(line)[-2:] == ["--params", "configs/o'mine.yaml"]


def test_the_program_is_one_that_the_shell_can_find(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = open_workspace(checkout)
    script = tmp_path / "venv" / "bin" / "eyas"
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "venv"))
    assert next_command(workspace, "status") == shlex.join([sys.executable, "-m", "eyas.cli", "status"])
    script.parent.mkdir(parents=True)
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", "/nowhere")
    assert next_command(workspace, "status") == f"{script} status"
    monkeypatch.setenv("PATH", str(script.parent))
    assert next_command(workspace, "status") == "eyas status"
    own = checkout / ".venv" / "bin" / "eyas"
    own.parent.mkdir(parents=True)
    own.symlink_to(script)
    monkeypatch.setattr(sys, "prefix", str(checkout / ".venv"))
    monkeypatch.setenv("PATH", "/nowhere")
    assert next_command(workspace, "status") == ".venv/bin/eyas status"
    monkeypatch.setenv("PWD", str(checkout / "below"))
    assert shlex.split(next_command(workspace, "status")) == [str(own), "status"]


def test_secrets_are_not_printed(checkout: Path) -> None:
    workspace = open_workspace(checkout, None, ["runtime.tracking_uri=postgresql://me:secret@host/mlflow"])
    assert "secret" not in next_command(workspace, "promote")


@pytest.mark.parametrize(
    "options", [[], ["adapt.since=7d", "adapt.detector=hyperdimensional"], ["adapt.batch_size=16"]]
)
def test_the_command_that_a_refusal_names_repeats_what_was_set(checkout: Path, options: list[str]) -> None:
    workspace = open_workspace(checkout, overrides=["adapt.adapter.kind=alpha_bn", *options])
    forced = shlex.split(next_command(workspace, "adapt", "photos", "--force"))
    assert [value for name, value in pairwise(forced) if name == "--set"] == ["adapt.adapter.kind=alpha_bn", *options]
    other = shlex.split(next_command(workspace, "adapt", "photos", "--adapter", "ada_bn"))
    assert [value for name, value in pairwise(other) if name == "--set"] == options, "--set goes before --adapter"
    assert "--set" not in next_command(workspace, "status")


def test_a_refusal_that_names_a_command_names_the_whole_command(checkout: Path, pasted: Pasted) -> None:
    workspace = open_workspace(checkout, checkout / "configs" / "o'mine.yaml", ["score.seed=3"])
    message = "the champion moved; look at `eyas status`, or `eyas promote --version 4`, then `make ui`"
    with pytest.raises(BusyError) as refused, completed_commands(workspace):
        raise BusyError(message)
    status, promote = (opened(checkout, pasted(line)) for line in re.findall(r"`(\S*eyas [^`]*)`", str(refused.value)))
    assert same(status, workspace)
    assert same(promote, workspace)
    assert str(refused.value).endswith("--version 4`, then `make ui`")
    with pytest.raises(BusyError, match="^no command here$"), completed_commands(workspace):
        raise BusyError("no command here")


def test_a_move_that_met_another_says_how_to_look_at_this_profile(
    checkout: Path, pasted: Pasted, monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy(*_: object, **__: object) -> None:
        raise BusyError("the champion became version 3; look at `eyas status`, then repeat it")

    workspace = open_workspace(checkout, checkout / "configs" / "o'mine.yaml")
    for name, task in (("promote", promote_task.promote_candidate), ("roll_back", promote_task.roll_back_champion)):
        monkeypatch.setattr(promote_task, name, busy)
        with pytest.raises(BusyError) as refused:
            task.fn(workspace)
        (line,) = re.findall(r"`(\S*eyas status[^`]*)`", str(refused.value))
        assert same(opened(checkout, pasted(line)), workspace)


STORE = 'runtime.tracking_uri="sqlite:///a b.db"'
OTHER = ["register.model=other", "score.seed=3"]


@pytest.mark.parametrize(
    ("content", "overrides", "typed"),
    [
        ("register: {model: mine}", ["score.seed=3", STORE], [STORE]),
        ("", ["score.seed=3", "promote.max_drop=0.02"], []),
        ("register: {model: mine}", OTHER, OTHER),
        ("fetch: {score_fraction: 7}", ["fetch.score_fraction=0.2"], ["fetch.score_fraction=0.2"]),  # refused alone
    ],
)
def test_a_version_is_named_without_what_its_profile_sets_unless_that_names_the_model(
    checkout: Path, pasted: Pasted, content: str, overrides: list[str], typed: list[str]
) -> None:
    file = checkout / "mine.yaml" if content else None
    for path, text in ((checkout / "mine.yaml", content), (checkout / "0.png", "an image")):
        path.write_text(text)
    workspace = open_workspace(checkout, file, overrides)
    handed = pasted(version_command(workspace, "predict", "0.png", "--version", "3"))
    assert same_version(opened(checkout, handed), workspace)
    assert handed[1:3] == (file, typed)


@pytest.mark.parametrize("version", ["3", None])
@pytest.mark.parametrize("start", [".", "below", ".."])
def test_the_commands_after_a_result_act_on_its_profile_and_an_image_that_is_there(
    checkout: Path, pasted: Pasted, monkeypatch: pytest.MonkeyPatch, start: str, version: str | None
) -> None:
    monkeypatch.setenv("PWD", str(checkout / start))
    monkeypatch.setattr(report, "open_store", lambda _: None)
    monkeypatch.setattr(report, "get_alias", lambda *_: None)
    overrides = ["baseline.arguments={depth: 18, kind: 'a b'}", "sample.budget.macs=0.25"]
    workspace = open_workspace(checkout, checkout / "configs" / "o'mine.yaml", overrides)
    golden = workspace.artifacts / report.GOLDEN
    golden.mkdir(parents=True)
    (golden / "0.png").write_text("an image")
    lines = report.next_steps(workspace, version)
    if start == "..":  # from outside, commands are as seen from the checkout
        monkeypatch.setenv("PWD", str(checkout))
    handed = [pasted(line) for line in lines]
    assert [one[0] for one in handed] == [*(["promote"] if version else []), "predict", "status"]
    predict = handed[-2]
    assert all(same(opened(checkout, one), workspace) for one in handed if version is None or one is not predict)
    assert same_version(opened(checkout, predict), workspace)
    assert predict[2] == ([] if version else overrides)
    assert predict[4] == [golden / "0.png"]
    assert predict[-1]["version"] == version or (version is None and predict[-1]["version"] == "run")


def printed_strings() -> list[tuple[str, str]]:
    """Every string of the sources that is no docstring and names a command of ours."""
    texts = []
    for path in sorted(path for room in ("src", "tasks", "flows") for path in (ROOT / room).rglob("*.py")):
        tree = ast.parse(path.read_text())
        documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
        doc = {ast.get_docstring(node, clean=False) for node in ast.walk(tree) if isinstance(node, documented)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value not in doc:
                texts += [(path.relative_to(ROOT).as_posix(), line) for line in PRINTED.findall(node.value)]
    return texts


def test_every_command_that_a_message_names_is_one_that_parses(pasted: Pasted, checkout: Path) -> None:
    workspace = open_workspace(checkout, checkout / "configs" / "o'mine.yaml")
    names = {command.__name__ for command in COMMANDS}
    texts = printed_strings()
    assert {"eyas status", "eyas run", "eyas serve"} <= {line for _, line in texts}
    for _, line in texts:
        assert line.split()[1] in names
        if line.split()[1] in {"run", "retrain", "promote", "rollback", "status", "reproduce"}:
            assert same(opened(checkout, pasted(complete(f"`{line}`", workspace).strip("`"))), workspace)
        else:
            assert pasted(line)[0].rpartition(".")[2] == line.split()[1]
