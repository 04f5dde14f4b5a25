"""Promoting and rolling back on a real small network and an MLflow store of its own."""

import json
import os
import re
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import onnx
import pytest
import torch

import eyas
from eyas.cli import main
from eyas.config import parse_params
from eyas.data import open_dataset
from eyas.data.comparability import COMPARABLE, Comparability
from eyas.data.index import read_index
from eyas.data.manifest import INDEX
from eyas.deploy.exported_model import ExportedModel
from eyas.errors import BadInputError, ParameterError, RefusedError
from eyas.operations.tracking import alias_move, model_registry, promotion
from eyas.storage.digests import file_sha256
from flows import commands
from tasks.after_promotion import refused_with_ways, rollback_text
from tasks.given_places import path_from_here
from tasks.promote import promote, roll_back
from tasks.stage import write_json
from tasks.status import status_lines
from tasks.tracking_store import open_store
from tasks.workspace import Workspace
from tasks.workspace_files import write_origin
from tests.tasks.registering import Setting, aliases, enter, write_lock


def with_budget(workspace: Workspace, profile: str, macs: float, alias: str | None = None) -> Workspace:
    """Another profile of the same model."""
    content = workspace.all_params
    content["sample"]["budget"] = {"macs": macs}
    content["register"]["alias"] = alias
    return replace(workspace, name=profile, params=parse_params(content))


def test_each_budget_has_a_candidate_of_its_own(setting: Setting, root: Path, lock: str) -> None:
    half = setting()
    quarter = with_budget(half, "quarter", 0.25)
    assert enter(half).number == "1"
    write_lock(root, "quarter")
    assert enter(quarter).number == "2"
    assert aliases(half) == {"candidate": "1", "candidate-macs-25": "2"}
    assert promote(quarter, dry_run=True).candidate == "2"
    assert promote(half).candidate == "1"
    assert promote(quarter, number="candidate-macs-25", dry_run=True).candidate == "2"
    lines = "\n".join(status_lines(quarter))
    assert re.search(r"^candidate +version 1, macs=0.5, test accuracy", lines, re.MULTILINE)
    assert re.search(r"^candidate-macs-25 +version 2, macs=0.25, test accuracy", lines, re.MULTILINE)
    with pytest.raises(BadInputError, match="no version with alias 'candidate-macs-75' .'candidate' is another budget"):
        promote(with_budget(half, "more", 0.75))
    write_lock(root, "asked for")
    asked = with_budget(half, "quarter", 0.25, alias="candidate")
    assert enter(asked).number == "3"
    assert aliases(half) == {"champion": "1", "candidate": "3", "candidate-macs-25": "2"}


def test_good_one_is_promoted_worse_one_refused_and_champion_stays(
    setting: Setting, spoilt: Callable[..., None]
) -> None:
    workspace = setting()
    enter(workspace)
    first = promote(workspace)
    assert (first.outcome, first.champion) == ("promoted", None)
    assert aliases(workspace) == {"champion": "1", "candidate": "1"}
    assert promote(workspace).outcome == "unchanged"
    spoilt(workspace)
    enter(workspace)
    with pytest.raises(RefusedError, match="gain over the champion −") as refused:
        promote(workspace)
    assert refused.value.exit_status == 3
    assert aliases(workspace) == {"champion": "1", "candidate": "2"}
    assert (
        model_registry.get_version(open_store(workspace), workspace.params.register_.model, 2).tags["eyas.outcome"]
        == "refused"
    )


@pytest.fixture
def refused_second(setting: Setting, spoilt: Callable[..., None]) -> Workspace:
    """Version 1 is champion; version 2, which is worse, was refused."""
    workspace = setting()
    enter(workspace)
    promote(workspace)
    spoilt(workspace)
    enter(workspace)
    with pytest.raises(RefusedError):
        promote(workspace)
    return workspace


def forced_and_rolled_back(workspace: Workspace) -> str:
    """The message of a rollback, for "drill over", of version 2, which was promoted by force."""
    assert promote(workspace, force="a drill").outcome == "forced"
    assert aliases(workspace) == {"champion": "2", "previous": "1", "candidate": "2"}
    return roll_back(workspace, "drill over")


def test_a_rollback_of_what_was_forced_brings_the_champion_before_back(refused_second: Workspace) -> None:
    message = forced_and_rolled_back(refused_second)
    assert "version 1 is champion again" in message
    first, later, *_ = rollback_text(refused_second, message, "drill over").splitlines()
    assert first == message
    assert later == "promoting it again takes --force with a written reason; the reason is recorded: drill over"
    assert "no reason was given: --reason TEXT records one next time" in rollback_text(refused_second, message)
    assert aliases(refused_second) == {"champion": "1"}


def test_what_was_rolled_back_is_promoted_again_only_by_force(refused_second: Workspace) -> None:
    forced_and_rolled_back(refused_second)
    with pytest.raises(BadInputError, match="has no candidate, no version with alias 'candidate': run the pipeline"):
        promote(refused_second)
    gate = r"was rolled back before \(drill over\): promoted again only with --force and a reason"
    with pytest.raises(RefusedError, match=gate) as refused, refused_with_ways(refused_second, "2"):
        promote(refused_second, "2")
    _, compare, force = str(refused.value).splitlines()
    assert re.match(r"next +.*eyas.* compare .*2 champion ", compare)
    assert re.search(r"promote .*--version 2 --force 'why it is good enough' ", force)


def test_status_tells_what_became_of_each_version(refused_second: Workspace) -> None:
    forced_and_rolled_back(refused_second)
    with pytest.raises(RefusedError):
        promote(refused_second, "2")
    short, whole = status_lines(refused_second, width=120), status_lines(refused_second, verbose=True)
    assert any(len(line) > 160 for line in whole)
    assert all(len(line) <= 120 for line in short[2:])
    assert "status --verbose" not in "\n".join(short), "no version with an alias was refused: it says no more"
    lines = "\n".join(status_lines(refused_second))
    assert "champion   version 1" in lines
    assert "candidate  none: no version waits for promotion" in lines
    statuses = re.findall(r"(promotion|rollback|pipeline) +(\w+) ", lines)
    assert [status for kind, status in statuses if kind == "promotion"] == ["refused", "forced", "refused", "promoted"]
    assert [status for kind, status in statuses if kind == "rollback"] == ["rolled_back"]
    assert re.search(r"rolled_back .*  from version 2 to version 1: drill over$", lines, re.MULTILINE)


def test_champion_of_another_task_is_replaced_only_by_force(setting: Setting, spoilt: Callable[..., None]) -> None:
    workspace = setting()
    enter(workspace)
    promote(workspace)
    file = workspace.artifacts / "export/manifest.json"
    manifest = json.loads(file.read_text())
    write_json(file, manifest | {"classes": [*manifest["classes"], "ten"]})
    enter(workspace)
    with pytest.raises(RefusedError, match=r"10 classes .* and the candidate .* 11 classes"):
        promote(workspace)
    assert promote(workspace, force="a class was added").outcome == "forced"
    assert aliases(workspace)["champion"] == "2"


def test_a_version_of_another_profile_is_judged_on_the_images_of_the_run_that_made_it(
    setting: Setting, root: Path
) -> None:
    made = setting()
    made = replace(made, folder=root / "workspaces" / "mine+seed=1", name="mine+seed=1")
    shutil.copytree(root / "artifacts", made.artifacts)
    for name in ("dvc.lock", "dvc.yaml"):
        shutil.copy(root / name, made.folder)
    enter(made)
    asked = replace(made, folder=root / "workspaces" / "mine", name="mine")
    asked.folder.mkdir()
    decision = promote(asked, number="1", dry_run=True)
    assert decision.message == (
        f"{asked.params.register_.model} version 1 would be promoted (no champion yet), judged on the test images of "
        "mine+seed=1: every gate held"
    )
    shutil.rmtree(made.artifacts / "fetch")
    with pytest.raises(BadInputError, match=r"no test images here to judge .* repeat the run that made it, eyas run"):
        promote(asked, number="1", dry_run=True)


def write_input(workspace: Workspace, **changes: object) -> None:
    """Let the exported network say something else of the images that it takes; "unknown" leaves a field out."""
    file = workspace.artifacts / "export/manifest.json"
    manifest = json.loads(file.read_text())
    entries = (manifest["input"] | changes).items()
    write_json(file, manifest | {"input": {name: value for name, value in entries if value != "unknown"}})


@pytest.mark.parametrize("champion_first", [True, False])
def test_champion_and_candidate_are_each_fed_as_their_own_manifests_say(
    setting: Setting, spoilt: Callable[..., None], champion_first: bool
) -> None:
    workspace = setting()
    test = open_dataset(workspace.artifacts / "fetch").split("test")
    exported, labels = ExportedModel.open(workspace.artifacts / "export"), test.labels.numpy()
    whole = float((exported.answers(test.images()) == labels).mean())
    cropped = float((exported.answers(test.decoded_as((1, 8, 8), 12).images()) == labels).mean())
    assert cropped < whole - 0.1
    of_champion, of_candidate = (None, 12) if champion_first else (12, None)
    write_input(workspace, resize=of_champion)
    enter(workspace)
    promote(workspace, force="the first")
    write_input(workspace, resize=of_candidate)
    enter(workspace)
    numbers = promote(workspace, dry_run=True).numbers
    accuracies = {None: whole, 12: cropped}
    assert numbers["champion_accuracy"] == accuracies[of_champion]
    assert numbers["accuracy"] == accuracies[of_candidate]


@pytest.mark.parametrize("resize", [None, 12])
def test_a_champion_of_before_that_does_not_say_how_it_resizes(
    setting: Setting, spoilt: Callable[..., None], resize: int | None
) -> None:
    workspace = setting()
    write_input(workspace, resize="unknown")
    enter(workspace)
    promote(workspace)
    write_input(workspace, resize=resize)
    enter(workspace)
    decision = promote(workspace, dry_run=True)
    failed = {gate.name: gate.reason for gate in decision.gates if not gate.passed}
    assert ("champion_accuracy" in decision.numbers) == (resize is None)
    assert ("same_task" in failed) == (resize is not None)
    if resize is not None:
        assert (
            "the champion takes images of 1 x 8 x 8, resized in a way that was not recorded, in" in failed["same_task"]
        )
        assert "the candidate images of 1 x 8 x 8, cut out of a shorter edge of 12, in" in failed["same_task"]


def test_what_its_checkpoint_may_have_seen_is_not_compared(
    setting: Setting, spoilt: Callable[..., None], root: Path
) -> None:
    workspace = setting(max_drop=1.0, min_gain=-1.0)
    doubt = Comparability(False, "the checkpoint may have been trained on them")
    doubt.write(root / "artifacts/baseline")
    try:
        version = enter(workspace)
    finally:
        (root / "artifacts/baseline" / COMPARABLE).unlink()
    assert Comparability.from_tags(version.tags) == doubt
    assert "on images that it may have seen" in "\n".join(status_lines(workspace))
    with pytest.raises(RefusedError, match="not compared with that of the dense network: the checkpoint may have been"):
        promote(workspace)
    alone = promote(setting(max_drop=None, min_gain=-1.0))
    assert (alone.outcome, alone.numbers["comparable"]) == ("promoted", 0)
    assert "dense_accuracy" not in alone.numbers
    spoilt(workspace)
    enter(workspace)
    with pytest.raises(RefusedError, match="not compared with that of the champion: the checkpoint may have been"):
        promote(workspace)
    assert promote(workspace, force="the old one was measured elsewhere").outcome == "forced"


def test_a_champion_that_was_trained_on_what_is_for_the_test_now_is_not_compared(
    setting: Setting, spoilt: Callable[..., None], root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = setting(min_gain=-1.0)
    first = enter(workspace)
    promote(workspace)
    model_registry.tag_version(open_store(workspace), first, {"eyas.dataset_hash": "an older one"})
    spoilt(workspace)
    enter(workspace)
    test = [row.sha256 for row in read_index(root / "artifacts/fetch" / INDEX) if row.split == "test"]
    monkeypatch.setattr("tasks.seen_images.images_seen", lambda *_: {"elsewhere", *test[:3]})
    with pytest.raises(RefusedError, match=f"version 1 was made with 3 of the {len(test)} test images; replacing it"):
        promote(workspace)
    monkeypatch.setattr("tasks.seen_images.images_seen", lambda *_: {"elsewhere"})
    assert promote(workspace).outcome == "promoted"


@pytest.mark.parametrize("loss", ["files", "by hand"])
def test_a_champion_that_cannot_be_read_is_replaced_only_by_force(
    setting: Setting, spoilt: Callable[..., None], loss: str
) -> None:
    workspace = setting()
    store, name = open_store(workspace), workspace.params.register_.model
    if loss == "files":
        shutil.rmtree(enter(workspace).source.removeprefix("file://"))
        spoilt(workspace)
    else:
        store.client.create_registered_model(name)
        store.client.create_model_version(name, source="file:///nowhere")
    model_registry.set_alias(store, name, "champion", "1")
    enter(workspace)
    with pytest.raises(RefusedError, match=r"the champion, version 1, cannot be compared with: .*version 1"):
        promote(workspace)
    assert aliases(workspace) == {"champion": "1", "candidate": "2"}
    assert promote(workspace, force="its files were lost").outcome == "forced"
    assert aliases(workspace) == {"champion": "2", "previous": "1", "candidate": "2"}


def test_a_smaller_network_of_equal_accuracy_is_promoted_unless_only_a_better_one_may_be(
    setting: Setting, spoilt: Callable[..., None], root: Path
) -> None:
    workspace, folder = setting(), root / "artifacts/export"
    kept = {name: (folder / name).read_bytes() for name in ("model.onnx", "manifest.json")}
    padded = onnx.load(folder / "model.onnx")
    padded.doc_string = "x" * 50_000
    onnx.save(padded, folder / "model.onnx")
    manifest = json.loads(kept["manifest.json"])
    manifest["files"]["model.onnx"]["sha256"] = file_sha256(folder / "model.onnx")
    write_json(folder / "manifest.json", manifest)
    enter(workspace)
    promote(workspace)
    for name, content in kept.items():
        (folder / name).write_bytes(content)
    enter(workspace)
    with pytest.raises(RefusedError, match=r"gain over the champion \+0 points .*, and a gain above 0 \(promote"):
        promote(setting(preset="better"))
    assert promote(setting(preset="not_worse_and_smaller", max_bytes=10), dry_run=True).outcome == "refused"
    decision = promote(workspace)
    assert (decision.outcome, decision.champion) == ("promoted", "1")
    assert aliases(workspace)["champion"] == "2"
    gates = {gate.name: gate for gate in decision.gates}
    assert gates["smaller"].value < 0.99
    assert gates["not_worse"].value == pytest.approx(-1 / (decision.numbers["images"] + 2))


def test_accuracy_of_the_gate_is_that_of_pytorch(setting: Setting, root: Path) -> None:
    import onnxruntime

    from eyas.data import open_dataset

    workspace = setting(min_accuracy=0.0)
    enter(workspace)
    decision = promote(workspace)
    data = open_dataset(root / "artifacts/fetch")
    test = data.split("test")
    images = data.normalise(test.images())
    with torch.inference_mode():
        answers = eyas.load(root / "artifacts/finetune")(images).argmax(1)
    expected = float((answers == test.labels).double().mean())
    assert decision.numbers["accuracy"] == pytest.approx(expected, abs=2 / len(test))
    session = onnxruntime.InferenceSession(root / "artifacts/export/model.onnx", providers=["CPUExecutionProvider"])
    classes = session.run(None, {"images": images.numpy()})[0].argmax(1).tolist()
    right = sum(int(a == b) for a, b in zip(classes, test.labels.tolist(), strict=True))
    assert decision.numbers["accuracy"] == pytest.approx(right / len(test), abs=1e-12)
    assert decision.numbers["images"] == len(test)
    assert decision.numbers["latency"] > 0


@pytest.mark.parametrize(("gate", "limit", "name"), [("min_accuracy", 1.0, "accuracy"), ("max_bytes", 10, "bytes")])
def test_gates_come_from_the_parameters(setting: Setting, gate: str, limit: float, name: str) -> None:
    workspace = setting(**{gate: limit})
    enter(workspace)
    with pytest.raises(RefusedError, match=f"{limit:g}"):
        promote(workspace)
    assert "champion" not in aliases(workspace)


def test_the_status_of_an_unknown_model_says_so_and_names_those_there_are(setting: Setting) -> None:
    workspace = setting()
    name = workspace.params.register_.model
    assert f"{name} (not registered yet; registered models: " in status_lines(workspace)[0]
    open_store(workspace).client.create_registered_model(name)
    model, profile, *_ = status_lines(workspace)
    assert (model, profile) == (f"model      {name}", f"profile    default, in {path_from_here(workspace.folder)}")


def test_the_status_lists_the_other_workspaces_by_what_they_set(setting: Setting, root: Path) -> None:
    workspace = setting()
    folder = root / "workspaces"
    try:
        for number in range(10):
            own = folder / f"net+sample.budget.macs=0.{number + 1}-5d41402{number}"
            own.mkdir(parents=True)
            (own / "params.yaml").write_text("")
            os.utime(own / "params.yaml", (number, number))
            command = f"eyas run --params a/net.yaml --set fetch.train=/data/a --set sample.budget.macs=0.{number + 1}"
            write_origin(root, own, root / "a/net.yaml", command)
        lines, narrow = status_lines(workspace)[2:11], status_lines(workspace, width=60)
    finally:
        shutil.rmtree(folder)
    assert lines[0].startswith("others     net, macs=0.10, train=/data/a, in ")
    assert lines[0].endswith("workspaces/net+sample.budget.macs=0.10-5d414029")
    assert [line.split(", ")[1] for line in lines[:8]] == [f"macs=0.{number}" for number in range(10, 2, -1)]
    assert lines[8].split(" in ")[0] == "           2 more"
    first = next(number for number, line in enumerate(narrow) if line.startswith("others"))
    narrow = narrow[first : narrow.index("champion   none")]
    assert len(narrow) > len(lines)
    assert all(re.match(r"(others)? +", line).end() == 11 for line in narrow), "one indentation"
    assert " ".join(" ".join(narrow).split()) == " ".join(" ".join(lines).split())
    assert not any(line.startswith("others") for line in status_lines(workspace))


def test_force_needs_a_reason(setting: Setting) -> None:
    with pytest.raises(ParameterError, match="written reason"):
        promote(setting(), force="  ")


def test_a_dry_run_judges_and_changes_nothing(setting: Setting, spoilt: Callable[..., None], tmp_path: Path) -> None:
    workspace = setting()
    enter(workspace)
    first = promote(workspace, dry_run=True)
    assert (first.outcome, first.promoted) == ("promoted", True)
    assert "would be promoted (no champion yet)" in first.message
    promote(workspace)
    spoilt(workspace)
    enter(workspace)
    before = everything(workspace)
    refused = promote(workspace, dry_run=True, report=tmp_path / "out" / "gate.md")
    assert (refused.outcome, refused.promoted) == ("refused", False)
    assert everything(workspace) == before
    table = (tmp_path / "out" / "gate.md").read_text()
    assert "would be refused" in table
    (gain,) = (gate for gate in refused.gates if gate.name == "gain")
    assert f"| gain | {gain.value:.4g} | {gain.limit:.4g} | **no** | {gain.reason} |" in table.splitlines()


def test_a_limit_of_this_call_only_leaves_its_trace(setting: Setting, spoilt: Callable[..., None]) -> None:
    first = setting()
    enter(first)
    promote(first)
    spoilt(first)
    enter(first)
    with pytest.raises(RefusedError, match=r"version 2 refused \(champion 1\): "):
        promote(first)
    assert status_lines(first, width=80)[-1].endswith("status --verbose")
    assert len("\n".join(status_lines(first, verbose=True))) > len("\n".join(status_lines(first)[:-1]))
    workspace = replace(setting(min_gain=-1.0), gates=("promote.min_gain=-1",))
    words = "version 2 promoted (champion 1), with promote.min_gain=-1 for this call: every gate held"
    decision = promote(workspace)
    assert decision.message.endswith(words)
    assert decision.as_dict()["limits"] == ("promote.min_gain=-1",)
    assert words in "\n".join(status_lines(workspace, verbose=True))
    short = "promoted (against version 1), every gate held with promote.min_gain=-1"
    assert short in "\n".join(status_lines(workspace))
    tags = model_registry.get_version(open_store(workspace), workspace.params.register_.model, 2).tags
    assert tags["eyas.reason"] == decision.message
    assert json.loads(tags["eyas.decision"])["limits"] == ["promote.min_gain=-1"]


def everything(workspace: Workspace) -> object:
    """All that MLflow knows of a model: its tags and aliases, every version's tags, its runs."""
    store, name = open_store(workspace), workspace.params.register_.model
    model = store.client.get_registered_model(name)
    runs = store.client.search_runs([store.experiment_id])
    tags = {version.number: version.tags for version in model_registry.list_versions(store, name)}
    return model.tags, model.aliases, tags, {run.info.run_id: run.info.status for run in runs}


@pytest.mark.parametrize("dry_run", [False, True])
def test_a_refusal_leaves_its_numbers_as_json_too(setting: Setting, tmp_path: Path, dry_run: bool) -> None:
    workspace = setting(min_accuracy=1.0)
    enter(workspace)
    report = tmp_path / "gate.json"
    with suppress(RefusedError):
        promote(workspace, dry_run=dry_run, report=report)
    written = json.loads(report.read_text())
    assert (written["outcome"], written["dry_run"]) == ("refused", dry_run)
    assert {gate["name"]: gate["limit"] for gate in written["gates"]}["accuracy"] == 1.0
    assert written["numbers"]["images"] > 0


@pytest.mark.parametrize("place", ["folder", "file/gate.md"])
def test_a_report_that_cannot_be_written_is_refused_before_anything_moves(
    setting: Setting, tmp_path: Path, place: str
) -> None:
    workspace = setting()
    enter(workspace)
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("no folder")
    before = everything(workspace)
    with pytest.raises(ParameterError, match=f"--report .*{place}") as refused:
        promote(workspace, report=tmp_path / place)
    assert refused.value.exit_status == 2
    assert everything(workspace) == before


def test_the_champions_own_files_under_another_number_are_refused(setting: Setting, root: Path) -> None:
    workspace = setting(min_gain=-1.0)
    enter(workspace)
    promote(workspace)
    write_lock(root, "second")
    enter(workspace)
    write_lock(root, "first")
    with pytest.raises(RefusedError, match="same files as the champion, version 1: there is nothing to gain"):
        promote(workspace)
    assert aliases(workspace) == {"champion": "1", "candidate": "2"}
    assert promote(workspace, force="the lock file's code is what counts").outcome == "forced"


def test_the_version_that_the_lock_file_registered_is_promoted(
    setting: Setting, root: Path, spoilt: Callable[..., None]
) -> None:
    workspace = setting()
    enter(workspace)
    write_lock(root, "second")
    spoilt(workspace)
    enter(workspace)
    write_lock(root, "first")
    assert aliases(workspace) == {"candidate": "2"}
    assert promote(workspace, of_lock=True).candidate == "1"
    assert aliases(workspace)["champion"] == "1"


def test_a_lock_file_that_registered_nothing_is_refused(setting: Setting, root: Path, lock: str) -> None:
    workspace = setting()
    enter(workspace)
    (root / "dvc.lock").write_text(lock.replace("first", "third"))
    with pytest.raises(BadInputError, match=r"no version of .* from this dvc.lock .*registered versions: 1.*--version"):
        promote(workspace, of_lock=True)
    (root / "dvc.lock").write_text("stages: {}")
    with pytest.raises(BadInputError, match="does not hold every stage of dvc.yaml"):
        promote(workspace, of_lock=True)
    assert "champion" not in aliases(workspace)


def test_a_rollback_that_was_finished_says_so(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace = setting()
    enter(workspace)
    promote(workspace)
    name = workspace.params.register_.model
    mark = {"kind": "rollback", "model": name, "champion": "1", "before": "2", "previous": "", "outcome": "rolled_back"}
    finished = alias_move.AliasMove(**mark, time=86_400)  # type: ignore[arg-type]
    monkeypatch.setattr(promotion, "recover", lambda *_: finished)
    message = roll_back(workspace)
    assert "version 1 is champion again, version 2 was rolled back" in message
    assert "finished the rollback of 1970-01-02 00:00 UTC, which was cut off" in message


@pytest.mark.usefixtures("kept_process")
@pytest.mark.parametrize(("limit", "status"), [(0.0, 0), (1.0, 3)])
def test_the_command_line_of_a_dry_run(
    setting: Setting, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path,
    limit: float, status: int,
) -> None:  # fmt: skip
    workspace = setting(min_accuracy=limit)
    enter(workspace)
    monkeypatch.setattr(commands, "checked", lambda *_: workspace)
    report = tmp_path / "gate.md"
    arguments = ["promote", "--dry-run", "--version", "1", "--report", str(report)]
    assert main(arguments) == status
    printed = capsys.readouterr().out
    assert f"version 1 would be {'refused' if status else 'promoted'}" in printed
    message, numbers, *gates = printed.splitlines()
    assert message in report.read_text()
    assert re.fullmatch(r"test accuracy \d.* on 349 images, .*B, [\d.]+ ms", numbers)
    assert ("FAIL accuracy: test accuracy" if status else "ok   accuracy: test accuracy") in printed
    assert any(line.startswith("next ") and " promote --version 1" not in line for line in gates) == bool(status)
    assert "champion" not in aliases(workspace)
