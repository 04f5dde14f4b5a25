"""The command ``eyas``: where it finds its project, how it ends, what it takes and hands over."""

import inspect
import json
import os
import re
import shlex
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from eyas.cli import main, server_commands
from eyas.cli.app import app
from eyas.cli.program import program
from eyas.cli.project import find_project, hand_over
from eyas.errors import BadInputError

NETWORK_TO_PROFILE = """
from torch import nn


def build(width):
    return nn.Sequential(nn.Conv2d(1, width, 3), nn.ReLU(), nn.Conv2d(width, 3, 3))
"""
SOURCE = Path(__file__).resolve().parents[2] / "src"
STUB = """
import json, os
def run(*arguments, **options):
    print(json.dumps([os.getcwd(), [str(one) for one in arguments], options]))
    return 0
def status(*_, **__):
    raise KeyboardInterrupt
def rollback(*_):
    import signal, time
    print("waiting", flush=True)
    time.sleep(60)
def deploy(_):
    raise PermissionError(13, "Permission denied", "a/file")
def promote(*_, report, **__):
    print(report)
    return 3
"""

COMPARISON_STUB = """
import json
def tell(*arguments, **options):
    print(json.dumps([arguments, options], default=str))
    return 0
sweep = check_sweep = compare = tell
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project whose flows say what they were asked."""
    root = tmp_path / "project"
    (root / "flows").mkdir(parents=True)
    (root / "below" / "it").mkdir(parents=True)
    (root / "flows" / "__init__.py").write_text("")
    (root / "flows" / "commands.py").write_text(STUB)
    (root / "flows" / "comparison_commands.py").write_text(COMPARISON_STUB)
    for name in ("dvc.yaml", "params.yaml"):
        (root / name).write_text("")
    return root


def start(folder: Path, *arguments: str, **variables: str) -> "subprocess.Popen[str]":
    """The command as a process of its own, which finds the library alone on its path."""
    environment = {**os.environ, "PYTHONPATH": str(SOURCE), "PYTHONSAFEPATH": "1", **variables}
    command = [sys.executable, "-m", "eyas.cli", *arguments]
    return subprocess.Popen(
        command, cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def call(folder: Path, *arguments: str, **variables: str) -> tuple[int, str, str]:
    """Exit status, output and errors."""
    with start(folder, *arguments, **variables) as process:
        output, errors = process.communicate(timeout=60)
    return process.returncode, output, errors


@pytest.mark.parametrize("below", [".", "below", "below/it", "flows"])
def test_a_project_is_found_from_any_folder_below_it(project: Path, below: str) -> None:
    assert find_project(project / below) == project
    status, output, errors = call(project / below, "run", "--set", "score.seed=3", "--set", "score.seed=4", "--wait")
    assert (status, errors) == (0, "")
    shown = {"verbose": False, "quiet": False, "as_json": False}
    options = {"wait": True, "register": True, **shown}
    expected = [str(project), ["None", "['score.seed=3', 'score.seed=4']", "None"], options]
    assert json.loads(output) == expected


def test_a_sweep_is_handed_over_with_the_options_of_a_run(project: Path) -> None:
    sweep = ("--sweep", "sample.budget.macs=0.5,0.25", "--sweep", "score.seed=1,2")
    status, output, errors = call(project, "run", "--set", "sample.candidates=9", *sweep, "--no-register", "--json")
    assert (status, errors) == (0, "")
    arguments, options = json.loads(output)
    assert arguments == [None, ["sample.candidates=9"], ["sample.budget.macs=0.5,0.25", "score.seed=1,2"], None]
    assert options == {"wait": False, "register": False, "verbose": False, "quiet": False, "as_json": True}
    assert json.loads(call(project, "run", "--check", *sweep)[1])[0] == [None, [], [*sweep[1::2]], None]
    status, output, errors = call(project, "run", "--name", "mine", *sweep)
    assert (status, output) == (2, "")
    assert errors == "error: --name names one workspace, --sweep makes several: leave --name out\n"


def test_budgets_are_handed_over_beside_sweeps(project: Path) -> None:
    assert json.loads(call(project, "run", "--budgets", "0.5,0.25")[1])[0] == [None, [], [], "0.5,0.25"]
    assert json.loads(call(project, "run", "--budgets", "")[1])[0] == [None, [], [], ""]  # to be refused, not left out
    checked = call(project, "run", "--check", "--budgets", "0.5", "--sweep", "score.seed=1,2")[1]
    assert json.loads(checked)[0] == [None, [], ["score.seed=1,2"], "0.5"]
    status, _, errors = call(project, "run", "--name", "mine", "--budgets", "0.5")
    assert (status, errors) == (2, "error: --name names one workspace, --budgets makes several: leave --name out\n")


def test_files_among_what_is_compared_are_seen_from_where_the_user_stands(project: Path) -> None:
    (project / "below" / "mine.yaml").write_text("")
    names = ("mine.yaml", "default", "3", "models:/net/3")
    arguments, options = json.loads(call(project / "below", "compare", *names, "--html", "page.html", "--no-log")[1])
    assert arguments[0] == [str(project / "below" / "mine.yaml"), *names[1:]]
    assert options == {"html": str(project / "below" / "page.html"), "as_json": False, "log": False}


def test_a_project_with_a_library_of_its_own_is_not_run_by_another(project: Path) -> None:
    (project / "src" / "eyas").mkdir(parents=True)
    status, output, errors = call(project / "below", "run")
    assert (status, output) == (2, "")
    assert errors.startswith(
        f"error: {project} has a library of its own, and this command runs {SOURCE / 'eyas'}: call "
    )


@pytest.mark.parametrize("missing", ["dvc.yaml", "params.yaml"])
def test_a_folder_that_lacks_a_mark_is_none(project: Path, missing: str) -> None:
    (project / missing).unlink()
    assert find_project(project / "below") is None


def test_outside_of_any_project_it_says_so_in_one_line(tmp_path: Path) -> None:
    status, output, errors = call(tmp_path, "status")
    assert (status, output) == (2, "")
    wanted = "go to a folder that holds dvc.yaml, params.yaml, flows, or to one below it"
    assert errors == f"error: {tmp_path} is in no project: {wanted}\n"


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["catalogue", "top1"], ["run", "-h"]], ids=" ".join)
def test_what_needs_no_project_works_anywhere(tmp_path: Path, arguments: list[str]) -> None:
    assert call(tmp_path, *arguments)[0] == 0


def test_a_network_beside_the_user_is_inspected_anywhere(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from torch import nn\n"
        "def build(width=4):\n"
        "    convolutions = nn.Conv2d(3, width, 3), nn.ReLU(), nn.Conv2d(width, 8, 3)\n"
        "    return nn.Sequential(*convolutions, nn.Flatten(1), nn.Linear(128, 2))\n"
    )
    network = ["inspect", "--model", "mine:build", "--input", "1,3,8,8", "--json"]
    status, output, errors = call(tmp_path, *network, "--arguments", '{"width": 6}')
    assert status == 0, errors
    assert '"channels": 6' in output
    status, _, errors = call(tmp_path, *network, "--input", "1,x")
    assert (status, errors.count("\n")) == (2, 1)
    assert errors.startswith("error: --input 1,x: expected positive integers")


def test_paths_are_those_of_where_the_user_stands(project: Path) -> None:
    status, output, _ = call(project / "below", "run", "--params", "mine.yaml", "--no-register")
    assert status == 0
    _, arguments, options = json.loads(output)
    assert arguments == [str(project / "below" / "mine.yaml"), "[]", "None"]
    assert (options["wait"], options["register"]) == (False, False)
    status, output, _ = call(project / "below" / "it", "promote", "--report", "../gate.md")
    assert (status, output) == (3, f"{project / 'below' / 'gate.md'}\n")


@pytest.mark.parametrize(
    "arguments",
    [
        ["predict", "nothing.png"],
        ["bench", "nothing.onnx"],
        ["verify", "nothing"],
    ],
    ids=" ".join,
)
def test_a_file_that_is_not_there_is_told_before_anything_is_handed_over(project: Path, arguments: list[str]) -> None:
    (project / "flows" / "commands.py").write_text("raise AssertionError\n")
    status, output, errors = call(project, *arguments)
    assert (status, output) == (2, "")
    assert errors == f"error: {arguments[-1]}: there is no such file or folder\n"


def test_an_interrupted_command_says_what_that_means(project: Path) -> None:
    assert call(project, "status") == (130, "", f"stopped; go on with: {shlex.join(program(project))} status\n")


@pytest.mark.parametrize("signal", ["SIGINT", "SIGTERM"])
def test_asked_to_end_a_command_ends_as_on_ctrl_c(project: Path, signal: str) -> None:
    import signal as signals

    with start(project, "rollback") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "waiting\n"
        process.send_signal(getattr(signals, signal))
        begin = time.monotonic()
        _, errors = process.communicate(timeout=30)
        assert time.monotonic() - begin < 20
    assert (process.returncode, errors) == (130, f"stopped; go on with: {shlex.join(program(project))} rollback\n")


def test_a_missing_permission_is_told_in_one_line(project: Path) -> None:
    assert call(project, "deploy") == (2, "", "error: no permission for a/file: Permission denied\n")


def test_a_fault_of_ours_keeps_its_traceback(project: Path) -> None:
    (project / "flows" / "commands.py").write_text("def run(*_, **__): {}['gone']\n")
    status, _, errors = call(project, "run")
    assert status == 1
    assert errors.startswith("Traceback")
    assert errors.endswith("KeyError: 'gone'\n")


def test_a_network_beside_the_user_is_profiled_for_another_device(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(NETWORK_TO_PROFILE)
    network = ["profile", "--model", "mine:build", "--arguments", '{"width": 6}']
    status, output, errors = call(tmp_path, *network, "--input", "1,1,6,6", "--plan", "plan")
    assert (status, errors) == (0, "")
    assert output.startswith(f"{tmp_path / 'plan'}: 2 layers, ")
    assert output.endswith("there: python eyas_profile.py plan --out device.json\n")
    assert {path.name for path in (tmp_path / "plan").iterdir()} == {"eyas_profile.py", "networks", "plan.json"}


@pytest.mark.parametrize(("option", "told"), [("--out", "its folder cannot be made"), ("--plan", "cannot be made")])
def test_a_place_that_cannot_be_written_is_refused_before_anything_is_measured(
    option: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], kept_process: None
) -> None:
    (tmp_path / "file").touch()
    network = ["profile", "--model", "resnet8", "--input", "1,1,8,8"]
    assert main([*network, option, str(tmp_path / "file" / "device.json")]) == 2
    errors = capsys.readouterr().err
    assert errors.startswith(f"error: {option} {tmp_path / 'file'}")
    assert told in errors


def test_a_network_to_profile_needs_the_shape_of_its_images(
    capsys: pytest.CaptureFixture[str], kept_process: None
) -> None:
    assert main(["profile", "--model", "mine:build"]) == 2
    message = "error: --model mine:build: give the shape of its input too, such as --input 1,3,224,224\n"
    assert capsys.readouterr().err == message


@pytest.mark.parametrize(("name", "near"), [("nope", ""), ("mobilenetv2", r" \(did you mean 'mobilenet_v2'\?\)")])
def test_a_network_that_models_do_not_have_is_told_beside_those_that_they_have(
    name: str, near: str, capsys: pytest.CaptureFixture[str], kept_process: None
) -> None:
    assert main(["inspect", "--model", name, "--input", "1,3,8,8"]) == 2
    words = (
        rf"error: --model {name}: models/ has no such name{near}, but .*resnet20, .*package.module:factory, such as "
    )
    assert re.match(words, capsys.readouterr().err)


def test_outside_of_a_project_a_network_is_named_by_its_factory(tmp_path: Path) -> None:
    status, _, errors = call(tmp_path, "inspect", "--model", "nope", "--input", "1,3,8,8")
    assert (status, errors.count("\n")) == (2, 1)
    assert errors.startswith("error: --model nope: a name is one of a project's models/, and ")
    assert errors.endswith("is in no project: go to one, or give package.module:factory\n")


def test_a_shape_without_a_batch_is_told_as_one(capsys: pytest.CaptureFixture[str], kept_process: None) -> None:
    network = ["--model", "resnet8", "--arguments", '{"width": 4}']
    assert main(["inspect", *network, "--input", "3,8,8"]) == 2
    message = "error: --input 3,8,8 has no number for the batch: give 1,3,8,8 (batch, channels, height, width); torch"
    assert capsys.readouterr().err.startswith(message)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "--nope"], "No such option: --nope"),
        (["fly"], "No such command 'fly'"),
        (["inspect", "--model", "resnet20"], "Missing option '--input'"),
        (["promote", "--version", "1", "--of-lock"], "--of-lock is not allowed with --version"),
        (["serve", "extra"], "unexpected extra argument"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_command_line_ends_with_status_2_and_usage(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str], kept_process: None
) -> None:
    assert main(arguments) == 2
    errors = capsys.readouterr().err
    assert message in errors
    assert errors.startswith("Usage: eyas")


def test_without_arguments_it_shows_what_there_is(capsys: pytest.CaptureFixture[str], kept_process: None) -> None:
    assert main([]) == 2
    printed = "".join(capsys.readouterr())
    names = [
        *(
            "init",
            "run",
            "retrain",
            "compare",
            "predict",
            "watch",
            "adapt",
            "promote",
            "rollback",
            "status",
            "reproduce",
            "serve",
        ),
        *("deploy", "servers", "ui", "inspect", "profile", "bench", "verify", "doctor", "catalogue", "completion"),
        "sites",
    ]
    assert [line.split()[0] for line in printed.partition("Commands:\n")[2].splitlines()] == names


@pytest.mark.parametrize("port", ["0", "65536", "-1", "x"])
@pytest.mark.parametrize("option", ["serve --webhook-port", "servers --postgres-port", "ui --mlflow-port"])
def test_what_is_no_port_is_refused_with_status_2(
    option: str, port: str, capsys: pytest.CaptureFixture[str], kept_process: None
) -> None:
    assert main([*option.split(), port]) == 2
    assert option.split()[1] in capsys.readouterr().err


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_gets_its_completion(tmp_path: Path, shell: str) -> None:
    status, output, _ = call(tmp_path, _EYAS_COMPLETE=f"source_{shell}")
    assert status == 0
    assert "eyas" in output


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_what_the_shell_reads(
    shell: str, capsys: pytest.CaptureFixture[str], kept_process: None
) -> None:
    assert main(["completion", shell]) == 0
    assert f"_EYAS_COMPLETE=complete_{shell}" in capsys.readouterr().out


def test_a_port_of_the_pages_is_followed_by_the_other(monkeypatch: pytest.MonkeyPatch, kept_process: None) -> None:
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(server_commands, "hand_over", lambda _, *ports: asked.append(ports) or 0)
    for options in ("", "--port 6001", "--port 6001 --prefect-port 7000"):
        assert main(["ui", *options.split()]) == 0
    assert asked == [(5000, 4200), (6001, 6002), (6001, 7000)]


def test_completion_knows_the_commands(tmp_path: Path) -> None:
    variables = {"_EYAS_COMPLETE": "complete_bash", "COMP_WORDS": "eyas re", "COMP_CWORD": "1"}
    status, output, _ = call(tmp_path, **variables)
    assert (status, output.split()) == (0, ["retrain", "reproduce"])


def test_help_imports_nothing_heavy(tmp_path: Path) -> None:
    code = (
        "import sys; from eyas.cli import main; main(['--help']); "
        "print(sorted({'torch', 'prefect', 'mlflow', 'pydantic', 'rich', 'dvc', 'boto3', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(SOURCE)}, cwd=tmp_path, text=True,
        capture_output=True, check=True,
    )  # fmt: skip
    assert done.stdout.splitlines()[-1] == "[]"


def test_every_command_shows_how_it_is_used() -> None:
    for command in app.registered_commands:
        assert command.callback is not None
        text = CliRunner().invoke(app, [command.callback.__name__, "--help"]).output
        assert "Examples:\n    " in text
        examples = re.findall(r"^ .*\beyas (\w+)", text, re.MULTILINE)
        assert set(examples) == {command.callback.__name__}


def test_what_is_handed_over_must_stand_in_a_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadInputError, match="in no project"):
        hand_over("run")


COMMANDS = (
    "run", "retrain", "promote", "rollback", "status", "reproduce", "serve", "deploy", "servers", "ui", "profile",
    "init",
)  # fmt: skip


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, kept_process: None) -> dict[str, inspect.BoundArguments]:
    """What the real flows are handed, by the names and the order of their arguments; they do nothing."""
    from flows import commands

    handed: dict[str, inspect.BoundArguments] = {}

    def stand_in(name: str) -> Callable[..., int]:
        signature = inspect.signature(getattr(commands, name))

        def do(*arguments: Any, **options: Any) -> int:
            handed[name] = signature.bind(*arguments, **options)
            return 0

        return do

    for name in (*COMMANDS, "predict"):
        monkeypatch.setattr(commands, name, stand_in(name))
    return handed


def test_every_command_of_the_project_takes_what_it_is_handed(asked: dict[str, inspect.BoundArguments]) -> None:
    for name in COMMANDS:
        assert main([name]) == 0
    assert set(asked) == set(COMMANDS)
    assert asked["servers"].arguments["ports"] == {"postgres_port": 5433, "mlflow_port": 5000, "prefect_port": 4200}


def test_predict_is_handed_the_files(asked: dict[str, inspect.BoundArguments], tmp_path: Path) -> None:
    (tmp_path / "cat.png").touch()
    assert main(["predict", str(tmp_path / "cat.png"), "--top", "2"]) == 0
    assert set(asked) == {"predict"}
    assert asked["predict"].arguments["images"] == [tmp_path / "cat.png"]


def test_reproduce_is_handed_the_version_and_a_name(asked: dict[str, inspect.BoundArguments]) -> None:
    assert main(["reproduce", "--version", "7", "--name", "mine", "--json"]) == 0
    assert asked["reproduce"].arguments == {
        "params": None, "overrides": [], "name": "mine", "version": "7", "as_json": True
    }  # fmt: skip


def test_the_script_that_is_installed_is_this_command() -> None:
    scripts = tomllib.loads((SOURCE.parent / "pyproject.toml").read_text())["project"]["scripts"]
    assert EntryPoint("eyas", scripts["eyas"], "console_scripts").load() is main
