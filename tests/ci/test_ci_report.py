"""The comment on a pull request: what ``.ci/report`` writes, and the pictures that ``.ci/pictures`` puts into it."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ADDRESS = "https://git.example/team/eyas/blob"
REPORT = """# resnet8: pruned against dense

| | dense | pruned |
| --- | ---: | ---: |
| test accuracy | 97.2 % | 96.7 % |

## Pictures

![Score of every candidate.](scores.png)

*Score of every candidate.*

![Widths.](widths.png)

| not | this | table |
"""
PICTURES = {"scores.png": b"\x89PNG scores", "widths.png": b"\x89PNG widths"}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A clone of an empty repository with the scripts, a report, and a stand-in for DVC."""
    folder = tmp_path / "checkout"
    git(tmp_path, "init", "-q", "--bare", "origin.git")
    git(tmp_path, "clone", "-q", "origin.git", "checkout")
    shutil.copytree(ROOT / ".ci", folder / ".ci")
    (folder / "artifacts/report").mkdir(parents=True)
    (folder / "artifacts/report/report.md").write_text(REPORT)
    for name, content in PICTURES.items():
        (folder / "artifacts/report" / name).write_bytes(content)
    (folder / ".venv/bin").mkdir(parents=True)
    stand_in(folder, 'echo "| Path | $6 |"')
    return folder


def stand_in(folder: Path, line: str, program: str = "python") -> None:
    (folder / ".venv/bin" / program).write_text(f"#!/bin/sh\n{line}\n")
    (folder / ".venv/bin" / program).chmod(0o755)


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-c", "init.defaultBranch=main", *arguments]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


def call(folder: Path, script: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GITHUB_")}
    command = [str(folder / ".ci" / script), *arguments]
    return subprocess.run(command, env={**kept, **variables}, capture_output=True, text=True, check=False)


def test_the_comment_has_the_table_the_metrics_and_the_pictures_names(checkout: Path) -> None:
    assert call(checkout, "report", "origin/main").returncode == 0
    comment = (checkout / "comment.md").read_text()
    assert "| test accuracy | 97.2 % | 96.7 % |" in comment
    assert "not | this" not in comment
    assert "| Path | origin/main |" in comment
    assert "`scores.png`, `widths.png`" in comment
    assert "![" not in comment


def test_without_metrics_the_comment_says_why(checkout: Path) -> None:
    stand_in(checkout, 'echo "ERROR: unknown revision" >&2; exit 1')
    assert call(checkout, "report", "origin/main").returncode == 0
    assert "no metrics to compare with: ERROR: unknown revision" in (checkout / "comment.md").read_text()


def test_the_gates_report_is_part_of_the_comment_where_there_is_one(checkout: Path) -> None:
    call(checkout, "report", "origin/main")
    assert "Promotion gates" not in (checkout / "comment.md").read_text()
    (checkout / "gate.md").write_text("### Promotion gates\n\n| gain | 0.01 | 0 | yes | better |\n")
    call(checkout, "report", "origin/main")
    assert "| gain | 0.01 | 0 | yes | better |" in (checkout / "comment.md").read_text()


def test_pictures_are_pushed_to_their_branch_and_linked_by_commit(checkout: Path) -> None:
    call(checkout, "report", "origin/main")
    before = (checkout / "comment.md").read_text()
    done = call(checkout, "pictures", ADDRESS)
    assert done.returncode == 0, done.stderr
    comment = (checkout / "comment.md").read_text()
    assert comment.startswith(before)
    links = re.findall(rf"!\[(.+?)\]\({ADDRESS}/([0-9a-f]{{40}})/(\w+\.png)\?raw=true\)", comment)
    assert [(text, name) for text, _, name in links] == [
        ("Score of every candidate.", "scores.png"),
        ("Widths.", "widths.png"),
    ]
    origin = checkout.parent / "origin.git"
    for _, commit, name in links:
        shown = subprocess.run(["git", "show", f"{commit}:{name}"], cwd=origin, capture_output=True, check=True)
        assert shown.stdout == PICTURES[name]
    assert git(checkout, "status", "--porcelain", "--untracked-files=no") == ""
    assert git(origin, "for-each-ref", "--format=%(refname)") == "refs/heads/eyas-report-assets"


def test_pictures_of_earlier_comments_stay_reachable(checkout: Path) -> None:
    commits = []
    for content in (b"first", b"second"):
        (checkout / "artifacts/report/scores.png").write_bytes(content)
        (checkout / "comment.md").write_text("")
        assert call(checkout, "pictures", ADDRESS).returncode == 0
        commits.append(re.findall(r"/([0-9a-f]{40})/scores", (checkout / "comment.md").read_text())[0])
    origin = checkout.parent / "origin.git"
    assert git(origin, "rev-list", "eyas-report-assets").split() == commits[::-1]
    assert git(origin, "show", f"{commits[0]}:scores.png") == "first"


def test_two_runs_that_push_at_once_both_arrive(checkout: Path) -> None:
    other = checkout.parent / "other"
    git(checkout.parent, "clone", "-q", "origin.git", "other")
    for name in (".ci", "artifacts"):
        shutil.copytree(checkout / name, other / name)
    # A push from elsewhere arrives between this run's look at the branch and its own push, once.
    hook = checkout / ".git/hooks/pre-push"
    hook.write_text(f'#!/bin/sh\n[ -e ran ] && exit 0\ntouch ran\nunset GIT_DIR\n"{other}/.ci/pictures" "{ADDRESS}"\n')
    hook.chmod(0o755)
    for folder in (checkout, other):
        (folder / "comment.md").write_text("")
    done = call(checkout, "pictures", ADDRESS)
    assert done.returncode == 0, done.stderr
    linked = {re.findall(r"/([0-9a-f]{40})/", (folder / "comment.md").read_text())[0] for folder in (checkout, other)}
    assert len(linked) == 2
    assert set(git(checkout.parent / "origin.git", "rev-list", "eyas-report-assets").split()) == linked


def test_on_github_the_address_is_known_and_elsewhere_nothing_is_pushed(checkout: Path) -> None:
    (checkout / "comment.md").write_text("as it was\n")
    assert call(checkout, "pictures").returncode == 0
    assert (checkout / "comment.md").read_text() == "as it was\n"
    assert git(checkout.parent / "origin.git", "for-each-ref") == ""
    there = {"GITHUB_SERVER_URL": "https://github.com", "GITHUB_REPOSITORY": "team/eyas", "GITHUB_RUN_ID": "77"}
    assert call(checkout, "pictures", **there).returncode == 0
    assert "(https://github.com/team/eyas/blob/" in (checkout / "comment.md").read_text()
    assert "run 77" in git(checkout.parent / "origin.git", "log", "--format=%s", "eyas-report-assets")


def test_a_push_that_is_refused_is_a_failure_and_leaves_the_comment(checkout: Path) -> None:
    (checkout / "comment.md").write_text("as it was\n")
    git(checkout, "remote", "set-url", "origin", str(checkout.parent / "nowhere.git"))
    done = call(checkout, "pictures", ADDRESS, EYAS_PICTURES_PAUSE="0")
    assert done.returncode == 1
    assert "could not be pushed" in done.stderr
    assert (checkout / "comment.md").read_text() == "as it was\n"


@pytest.mark.parametrize(("version", "asked"), [("", "promote --of-lock"), ("7", "promote --version 7")])
def test_what_was_merged_is_promoted_unless_a_version_is_named(checkout: Path, version: str, asked: str) -> None:
    stand_in(checkout, 'echo "$@"; exit 3', "eyas")
    done = call(checkout, "promote", version, MLFLOW_TRACKING_URI="http://mlflow.example")
    assert (done.stdout, done.returncode) == (f"{asked}\n", 3)


def test_on_github_the_gates_are_the_jobs_summary(checkout: Path) -> None:
    stand_in(checkout, 'echo "$@"', "eyas")
    variables = {"MLFLOW_TRACKING_URI": "http://mlflow.example", "GITHUB_STEP_SUMMARY": "/a place/summary"}
    assert call(checkout, "promote", **variables).stdout.endswith("--of-lock --report /a place/summary\n")


GH = """#!/bin/sh
echo "$*" >> asked
[ "$2" = list ] && cat opened
exit 0
"""


def propose(checkout: Path, lock: str, reason: str = "changed since net version 1: the data") -> list[str]:
    """Propose a lock file from a fresh state of main; returns what ``gh`` was asked."""
    programs = checkout.parent / "programs"
    programs.mkdir(exist_ok=True)
    (programs / "gh").write_text(GH)
    (programs / "gh").chmod(0o755)
    git(checkout, "reset", "-q", "--hard", "origin/main")
    (checkout / "dvc.lock").write_text(lock)
    (checkout / "decision.json").write_text(json.dumps({"reason": reason}))
    (checkout / "comment.md").write_text("the report")
    (checkout / "asked").unlink(missing_ok=True)
    (checkout / "opened").touch()
    done = call(checkout, "propose", PATH=f"{programs}:{os.environ['PATH']}")
    assert done.returncode == 0, done.stderr
    return (checkout / "asked").read_text().splitlines() if (checkout / "asked").exists() else []


@pytest.fixture
def with_main(checkout: Path) -> Path:
    """A clone whose main holds a lock file."""
    (checkout / "dvc.lock").write_text("first")
    git(checkout, "checkout", "-q", "-b", "main")
    git(checkout, "add", "dvc.lock")
    git(checkout, "-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-q", "-m", "first")
    git(checkout, "push", "-q", "origin", "main")
    return checkout


def test_one_branch_and_one_pull_request_stand_for_all_retrainings_that_nobody_merged(with_main: Path) -> None:
    origin = with_main.parent / "origin.git"
    listed, created = propose(with_main, "second")
    assert "--head retrain --base main --state open" in listed
    assert created.startswith("pr create --title Retrain: changed since net version 1: the data --body-file comment.md")
    assert git(origin, "show", "retrain:dvc.lock") == "second"
    first = git(origin, "rev-parse", "retrain")
    (with_main / "opened").write_text("12\n")
    assert propose(with_main, "second", "asked again")[1].startswith("pr edit 12 --title Retrain: asked again")
    assert git(origin, "rev-parse", "retrain") == first
    assert propose(with_main, "third")[1].startswith("pr edit 12")
    assert git(origin, "show", "retrain:dvc.lock") == "third"
    assert git(origin, "rev-list", "--count", "main..retrain") == "1"
    assert git(origin, "for-each-ref", "--format=%(refname:short)").split() == ["main", "retrain"]


def test_an_unchanged_lock_file_is_not_proposed(with_main: Path) -> None:
    assert propose(with_main, "first") == []
    assert git(with_main.parent / "origin.git", "branch", "--list", "retrain") == ""
