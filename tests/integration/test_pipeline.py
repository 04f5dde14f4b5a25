"""The pipeline as a user runs it: one command, then nothing to do, then every bad day."""

import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from PIL import Image

from eyas.data import open_dataset
from tests.integration.conftest import Checkout

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]
STAGES = ["fetch", "baseline", "sample", "score", "finetune", "export"]


@pytest.fixture(scope="module")
def first_run(checkout: Checkout) -> str:
    """What the first run prints."""
    return checkout.run("flows", "run", timeout=600)


def listed_outputs(folder: Path) -> list[str]:
    stages = yaml.safe_load((folder / "dvc.yaml").read_text())["stages"]
    return [out for stage in stages.values() for part in ("outs", "metrics", "plots") for out in stage.get(part, [])]


def locked(folder: Path) -> dict[str, str]:
    """Hash by output, as dvc.lock has them."""
    stages = yaml.safe_load((folder / "dvc.lock").read_text())["stages"]
    return {out["path"]: out["md5"] for stage in stages.values() for out in stage["outs"]}


def test_one_command_ends_with_a_table_and_a_registered_version(checkout: Checkout, first_run: str) -> None:
    for row in ("test accuracy", "MACs", "parameters", "file size", "latency", "AdaBN score"):
        assert row in first_run
    assert "tiny version 1, alias 'candidate'" in first_run
    assert "report.html" in first_run
    artifacts = checkout.folder / "artifacts"
    for name in ("score/candidates.parquet", "finetune/model.safetensors", "export/model.onnx", "report/report.md"):
        assert (artifacts / name).stat().st_size > 0


def test_every_file_a_stage_left_is_listed_in_dvc_yaml(checkout: Checkout, first_run: str) -> None:
    outputs = listed_outputs(checkout.folder)
    for stage in STAGES:
        for path in (checkout.folder / "artifacts" / stage).rglob("*"):
            name = path.relative_to(checkout.folder).as_posix()
            if path.is_file() and path.name != ".gitignore":
                assert any(name == out or name.startswith(f"{out}/") for out in outputs), name


def test_the_state_stays_inside_the_checkout(checkout: Checkout, first_run: str) -> None:
    assert (checkout.folder / ".eyas" / "prefect").is_dir()
    assert (checkout.folder / ".eyas" / "mlflow.db").is_file()
    assert not (checkout.home / ".prefect").exists()
    assert not (checkout.home / ".config" / "dvc").exists()


def test_a_second_run_does_nothing_and_registers_nothing(checkout: Checkout, first_run: str) -> None:
    printed = checkout.run("flows", "run")
    assert printed.count("unchanged") == len(STAGES)
    assert "tiny version 1, alias 'candidate'" in printed
    assert "up to date" in checkout.run("dvc", "status")
    assert checkout.run("dvc", "repro").count("didn't change, skipping") == len(STAGES)


def test_dvc_alone_gives_the_same_bytes_in_another_checkout(
    checkout: Checkout, first_run: str, second_checkout: Checkout
) -> None:
    second_checkout.run("dvc", "repro", timeout=600)
    assert locked(second_checkout.folder) == locked(checkout.folder)
    assert (second_checkout.folder / "dvc.lock").read_bytes() == (checkout.folder / "dvc.lock").read_bytes()


def test_push_and_pull_bring_data_and_weights_to_another_clone(
    checkout: Checkout, first_run: str, tmp_path: Path
) -> None:
    remote = tmp_path / "remote"
    checkout.run("dvc", "remote", "modify", "--local", "local", "url", str(remote))
    checkout.run("dvc", "push")
    clone = Checkout(checkout.copy(tmp_path / "clone"))
    shutil.copy(checkout.folder / "dvc.lock", clone.folder / "dvc.lock")
    clone.run("dvc", "remote", "modify", "--local", "local", "url", str(remote))
    clone.run("dvc", "pull")
    for name in ("fetch/manifest.json", "baseline/model.safetensors", "export/model.onnx"):
        assert (clone.folder / "artifacts" / name).read_bytes() == (checkout.folder / "artifacts" / name).read_bytes()


def test_a_profile_has_a_workspace_and_leaves_the_default_alone(checkout: Checkout, first_run: str) -> None:
    before = (checkout.folder / "dvc.lock").read_bytes()
    printed = checkout.run("flows", "run", "--set", "score.seed=3", "--no-register", timeout=600)
    folder = checkout.folder / "workspaces" / "params+score.seed=3"
    assert (folder / "artifacts" / "report" / "report.md").exists()
    assert "params+score.seed=3" in printed
    assert (checkout.folder / "dvc.lock").read_bytes() == before
    assert "up to date" in checkout.run("dvc", "status")


def test_a_failed_stage_fails_the_flow_with_its_own_message_and_the_next_run_continues(
    checkout: Checkout, first_run: str
) -> None:
    seen = ["--set", "baseline.seen_by_checkpoint=false"]
    options = ["--set", "baseline.checkpoint=params.yaml", *seen, "--name", "broken", "--no-register"]
    printed = checkout.run("flows", "run", *options, status=2)
    assert "params.yaml" in printed.splitlines()[-2] + printed.splitlines()[-1]
    assert "Retry" not in printed
    assert "Traceback" not in printed
    status = checkout.run("flows", "status")
    assert re.search(r"failed +broken · 50 % MACs +stage baseline failed", status), status
    options = ["--set", "finetune.epochs=1", "--name", "broken", "--no-register"]
    printed = checkout.run("flows", "run", *options, timeout=600)
    assert re.search(r"^fetch +\S+ unchanged", printed, re.MULTILINE)


def test_a_second_run_at_the_same_time_is_refused(checkout: Checkout, first_run: str) -> None:
    lock = "from pathlib import Path; from tasks.workspace import open_workspace; import sys, time\n"
    lock += "with open_workspace(Path('.').resolve()).locked(): print('held', flush=True); time.sleep(120)"
    command = [sys.executable, "-c", lock]
    with subprocess.Popen(command, cwd=checkout.folder, env=checkout.environment, stdout=subprocess.PIPE) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == b"held\n"
            printed = checkout.run("flows", "run", status=1)
            assert f"another run (process {holder.pid}) holds 'default'" in printed
        finally:
            holder.kill()


def test_a_killed_run_is_continued(checkout: Checkout, first_run: str) -> None:
    options = ["--set", "finetune.epochs=40", "--name", "killed", "--no-register", "--verbose"]
    command = [sys.executable, "-m", "flows", "run", *options]
    log = checkout.folder / "killed.log"
    with log.open("w") as file:
        process = subprocess.Popen(command, cwd=checkout.folder, env=checkout.environment, stdout=file, stderr=file)
        deadline = time.monotonic() + 300
        while "epoch 3/40" not in log.read_text() and time.monotonic() < deadline:
            time.sleep(0.2)
        process.terminate()
        process.wait(60)
    assert "epoch 3/40" in log.read_text()
    printed = checkout.run("flows", "run", *options, timeout=600)
    assert "epoch 1/40" not in printed
    assert "epoch 40/40" in printed


def test_what_the_report_says_agrees_with_the_stages(checkout: Checkout, first_run: str) -> None:
    report = (checkout.folder / "artifacts" / "report" / "report.md").read_text()
    metrics = json.loads((checkout.folder / "artifacts" / "finetune" / "metrics.json").read_text())
    assert f"{100 * metrics['test_accuracy']:.2f} %" in report
    pictures = re.findall(r"!\[.*?\]\((.*?)\)", report)
    assert len(pictures) >= 4
    assert all((checkout.folder / "artifacts" / "report" / name).stat().st_size > 5000 for name in pictures)


def test_the_champion_follows_the_field_and_is_taken_back_when_that_is_clean_again(
    checkout: Checkout, first_run: str, tmp_path: Path
) -> None:
    train = open_dataset(checkout.folder / "artifacts" / "fetch").split("train")
    for name, light in (("dim", 0.4), ("clean", 1.0)):
        for number, image in enumerate(train.images()[:300].numpy()):
            (tmp_path / name).mkdir(exist_ok=True)
            Image.fromarray((image[0] * light).round().astype("uint8")).save(tmp_path / name / f"{number:03}.png")
    assert "tiny version 1 promoted" in checkout.run("flows", "promote")
    printed = checkout.run("flows", "adapt", str(tmp_path / "dim"))
    assert re.search(r"^drift in 300 images: darker images", printed, re.MULTILINE)
    assert "the adapted network is kept: it holds every limit of the revert rule" in printed
    assert re.search(r"^images of the field +not known without labels$", printed, re.MULTILINE)
    assert "tiny version 2 is proposed: tiny version 1 that follows 300 images of the field" in printed
    printed = checkout.run("flows", "promote")
    assert "tiny version 2 promoted (champion 1): every gate held" in printed
    assert "what it gains in the field was not measured" in printed
    printed = checkout.run("flows", "adapt", str(tmp_path / "clean"))
    assert "tiny: version 1 is champion again, version 2 was rolled back: " in printed
    assert "statistics: layers are" in printed
    status = checkout.run("flows", "status")
    assert re.search(r"^champion +version 1,", status, re.MULTILINE)
    assert re.search(r"adaptation +reverted +adaptation-tiny-2", status)


@pytest.fixture(scope="module")
def second_checkout(checkout: Checkout, tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    return Checkout(checkout.copy(tmp_path_factory.mktemp("second") / "checkout"))
