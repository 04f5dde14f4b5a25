"""A sweep: one profile after another; what fails is told and loses nobody else."""

import json
import logging
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from eyas.data.index import IndexRow, write_index
from eyas.errors import ParameterError, StorageError
from eyas.operations.report import read_results
from flows import comparison_commands, named_profile, sweep
from flows.pipeline import Outcome
from flows.sweep import Sweep
from tasks.compare import SharedTest
from tasks.workspace import Workspace, open_workspace
from tests.support.workspace import write_workspace

SEEDS = ("score.seed=1", "score.seed=2", "score.seed=3")


class View:
    """What was shown."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def show(self, text: str, style: str = "") -> None:
        self.lines.append(f"[{style}]{text}" if style else text)

    warn = show


@pytest.fixture
def workspaces(make_workspace: Callable[..., Workspace]) -> tuple[Workspace, ...]:
    root = make_workspace().root
    return tuple(open_workspace(root, overrides=[seed]) for seed in SEEDS)


def swept(
    workspaces: tuple[Workspace, ...], monkeypatch: pytest.MonkeyPatch, error: BaseException | None
) -> tuple[Sweep, View, list[tuple[list[str], dict[str, bool]]]]:
    """A sweep whose second profile ends with an error."""
    calls: list[tuple[list[str], dict[str, bool]]] = []

    def pipeline(_: str, overrides: Sequence[str], name: str | None, **how: bool) -> Outcome:
        calls.append(([*overrides], how))
        if error and "score.seed=2" in overrides:
            raise error
        return Outcome("profile", "folder", "run", "7", ())

    monkeypatch.setattr(sweep, "pipeline", pipeline)
    view, one = View(), Sweep(workspaces, SEEDS)
    one.run("params.yaml", [[seed] for seed in SEEDS], view, wait=False, register=True)  # type: ignore[arg-type]
    return one, view, calls


def same_test_image(workspaces: Sequence[Workspace], monkeypatch: pytest.MonkeyPatch) -> None:
    """So that those with results compare, and their costs are known; nobody is asked, and nothing recorded."""
    for workspace in workspaces:
        (workspace.artifacts / "fetch").mkdir(exist_ok=True)
        metrics = workspace.artifacts / "finetune/metrics.json"
        if metrics.exists():
            macs = {"macs": read_results(workspace.artifacts).winner.macs}
            metrics.write_text(json.dumps(json.loads(metrics.read_text()) | macs))
        write_index(workspace.artifacts / "fetch/index.parquet", [IndexRow("test", "a.png", "f", -1, 0)])
    monkeypatch.setattr(SharedTest, "difference", lambda *_: "their files are gone")
    monkeypatch.setattr(sweep, "log_comparison", lambda *_: None)


def test_every_profile_runs_once_in_order(workspaces: tuple[Workspace, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    one, view, calls = swept(workspaces, monkeypatch, None)
    assert calls == [([seed], {"wait": False, "register": True}) for seed in SEEDS]
    left = ["", *[", less than a minute left"] * 2]
    assert view.lines == [
        f"[bold]{seed}  (profile {number} of 3{left[number - 1]})" for number, seed in enumerate(SEEDS, start=1)
    ]
    assert (one.status, [*one.outcomes]) == (0, [workspace.name for workspace in workspaces])


@pytest.mark.parametrize("error", [StorageError("the disk is full"), RuntimeError("the disk is full")])
def test_one_that_fails_does_not_lose_the_others(
    workspaces: tuple[Workspace, ...],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
) -> None:
    with caplog.at_level(logging.ERROR):
        one, view, calls = swept(workspaces, monkeypatch, error)
    assert len(calls) == 3
    assert (one.status, one.failed) == (1, {workspaces[1].name: "the disk is full"})
    assert view.lines[2] == "score.seed=2 failed: the disk is full"
    assert ("Traceback" in caplog.text) == isinstance(error, RuntimeError), "what does not explain itself is in the log"


def test_what_to_type_next_is_about_the_smallest_that_succeeded_and_what_failed(
    workspaces: tuple[Workspace, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    one, _, _ = swept(workspaces, monkeypatch, StorageError("the disk is full"))
    for number, workspace in enumerate(workspaces):
        write_workspace(workspace.artifacts, seed=number)
        good = {"test_images": 100_000, "test_gained": 3, "test_lost": 5}
        metrics = workspace.artifacts / "finetune/metrics.json"
        metrics.write_text(json.dumps(json.loads(metrics.read_text()) | good | {"score_gained": 4}))
    macs = [read_results(workspace.artifacts).winner.macs for workspace in workspaces]
    smallest = min((workspaces[0], workspaces[2]), key=lambda each: macs[workspaces.index(each)])
    same_test_image(workspaces, monkeypatch)
    one.print_summary(one.compare(), Path("sweep.log"))
    printed = capsys.readouterr().out
    assert "score.seed=2 failed: the disk is full" in printed
    assert printed.count("report.html") == 2
    assert printed.count("test images (") == 2
    assert printed.count(", passes the gates: ") == 2, "verdict and gates together, as after a run"
    assert "run --params params.yaml --set score.seed=2\n" in printed
    next_lines = printed[printed.index("\nnext ") :].splitlines()
    profile = f"--params params.yaml --set {smallest.arguments[-1]}"
    assert any(line.endswith(f"promote {profile} --version 7   (the smallest that succeeded)") for line in next_lines)
    assert any(line.endswith(f"status {profile}") for line in next_lines)
    assert not any(" predict " in line for line in next_lines), "there is no image to show it with"
    assert f"compare {workspaces[0].name} {workspaces[2].name} --html comparison.html" in printed
    assert [line.partition(":")[0] for line in one.headlines()] == ["score.seed=1", "score.seed=3"]
    content = json.loads(one.as_json(None, Path("sweep.log")))
    assert [profile["version"] for profile in content["profiles"]] == ["7", "7"]
    assert content["failed"] == one.failed


def test_where_none_succeeded_the_most_accurate_is_the_one_to_go_on_with(
    workspaces: tuple[Workspace, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    one, _, _ = swept(workspaces, monkeypatch, None)
    for number, workspace in enumerate(workspaces):
        write_workspace(workspace.artifacts, seed=number)
        metrics = workspace.artifacts / "finetune/metrics.json"
        worse = {"test_accuracy": 0.9 + 0.01 * (number == 1), "test_gained": 0, "test_lost": 20}
        metrics.write_text(json.dumps(json.loads(metrics.read_text()) | worse))
    best = workspaces[1]
    golden = best.artifacts / "export/bundle/golden"
    golden.mkdir(parents=True)
    (golden / "0.png").write_text("an image")
    monkeypatch.setattr(sweep, "log_comparison", lambda *_: None)
    comparison = one.compare()
    assert comparison is not None
    assert comparison.choice is None, "which images they were tested on is not known"
    assert one._steps_with(comparison) == []
    same_test_image(workspaces, monkeypatch)
    one.print_summary(one.compare(), Path("sweep.log"))
    printed = capsys.readouterr().out
    profile = f"--params params.yaml --set {best.arguments[-1]}"
    gate = "its gate refuses: it allows a loss of 5 points at most, promote.max_drop"
    why = f"the most accurate; none is a success; {gate}"
    image = f"workspaces/{best.name}/artifacts/export/bundle/golden/0.png"
    first, second, third = printed[printed.index("\nnext ") + 1 :].splitlines()[:3]
    assert first.endswith(f"promote {profile} --version 7   ({why})")
    assert second.endswith(f"predict {image} --version 7"), "a version needs no profile"
    assert third.endswith(f"status {profile}")


def test_what_ended_well_is_compared_on_a_page_beside_the_workspaces(
    workspaces: tuple[Workspace, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    one, _, _ = swept(workspaces, monkeypatch, StorageError("the disk is full"))
    for number, workspace in enumerate(workspaces):
        write_workspace(workspace.artifacts, seed=number)
    same_test_image(workspaces, monkeypatch)
    comparison = one.compare()
    page = workspaces[0].root / "workspaces" / "comparison.html"
    assert one.page == page
    text = page.read_text()
    assert "seed=1" in text
    assert "seed=2" not in text, "it failed"
    assert "the most accurate; none is a success" in text, "as what to type next says it"
    assert text.count("points against the dense network") == 2, "the verdicts, as the terminal has them"
    assert "promote --params params.yaml --set score.seed=" in re.sub("</?span>", "", text)
    one.print_summary(comparison, Path("sweep.log"))
    assert f"page   {sweep.shown_path(page)}\n" in capsys.readouterr().out


def test_budgets_that_make_no_sense_are_refused_before_anything_starts(
    workspaces: tuple[Workspace, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (comparison_commands, named_profile):
        monkeypatch.setattr(module, "ROOT", workspaces[0].root)
    monkeypatch.setattr(comparison_commands, "begin_prefect", lambda: pytest.fail("nothing is started"))
    how = {"wait": False, "register": True, "verbose": False, "quiet": False, "as_json": False}
    with pytest.raises(ParameterError, match="--budgets half: expected numbers above 0"):
        comparison_commands.sweep(None, [], [], "half", **how)
    with pytest.raises(ParameterError, match=r"--budgets 0\.5,0\.25: --set sample\.budget\.macs gives a budget, too"):
        comparison_commands.sweep(None, ["sample.budget.macs=0.5"], [], "0.5,0.25", **how)


def test_ctrl_c_ends_all(workspaces: tuple[Workspace, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(KeyboardInterrupt):
        swept(workspaces, monkeypatch, KeyboardInterrupt())


def test_a_wrong_field_or_value_is_refused_before_anything_runs(
    workspaces: tuple[Workspace, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = workspaces[0].root
    for module in (comparison_commands, named_profile):
        monkeypatch.setattr(module, "ROOT", root)
    monkeypatch.setattr(comparison_commands, "begin_prefect", lambda: pytest.fail("nothing is started"))
    how = {"wait": False, "register": True, "verbose": False, "quiet": False, "as_json": False}
    with pytest.raises(
        ParameterError, match=r"sample.budgt: no such parameter \(did you mean 'budget'\?\); sample knows"
    ):
        comparison_commands.sweep(None, [], ["sample.budgt.macs=0.5,0.25"], **how)
    with pytest.raises(ParameterError) as refused:
        comparison_commands.sweep(None, [], ["sample.budget.macs=0.5,-1,few"], **how)
    typed = "--sweep sample.budget.macs=0.5,-1,few (sample.budget.macs=-1)"
    assert f"{typed}: Input should be greater than 0; given: -1" in str(refused.value)
    assert "given: 'few'" in str(refused.value), "every wrong value is told"


def test_a_profile_that_could_not_run_or_is_held_refuses_the_whole_sweep(
    workspaces: tuple[Workspace, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    from eyas.errors import BusyError
    from tasks import preflight
    from tasks.preflight import Preflight

    faults = {workspaces[1].name: ("fetch.train: gone",)}
    monkeypatch.setattr(preflight, "look", lambda one, _: Preflight(one.name, faults.get(one.name, ())))
    with pytest.raises(ParameterError, match="fetch.train: gone"):
        sweep.require_ready(workspaces, [()] * 3, wait=False)
    faults.clear()
    with workspaces[2]._held(wait=False), pytest.raises(BusyError):
        sweep.require_ready(workspaces, [()] * 3, wait=False)


@pytest.mark.parametrize(
    ("seconds", "done", "words"),
    [
        (0.0, 0, ""),
        (300.0, 1, ", about 10 min left"),
        (300.0, 2, ", about 2 min left"),
        (9.0, 2, ", less than a minute left"),
    ],
)
def test_the_time_that_a_sweep_will_still_take(seconds: float, done: int, words: str) -> None:
    assert sweep.time_left(seconds, done, 3) == words
