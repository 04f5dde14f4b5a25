"""Looking before a run: every fault at once, each with its field, and nothing is started or changed."""

import re
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor, nn

import models
from eyas.errors import ParameterError
from flows import commands
from tasks import preflight_data, preflight_names, preflight_places
from tasks.preflight import Preflight, look, look_closely
from tasks.workspace import open_workspace
from tests.support.image_sources import make_images, write_folder

ROOT = Path(__file__).resolve().parents[2]
FETCH = {"train": "data", "image_size": 8, "mean": [0.5] * 3, "std": [0.5] * 3}
BASELINE = {"architecture": "resnet8", "arguments": {"width": 8}, "seen_by_checkpoint": False}
THREE = BASELINE | {"checkpoint": "three.pt"}
PLAIN = BASELINE | {"architecture": "tests.tasks.test_preflight:plain", "arguments": {"batch_norm": True}}
FROZEN = {"kind": "sgd", "frozen_statistics": True}
Look = Callable[..., Preflight]


def plain(num_classes: int, *, batch_norm: bool) -> nn.Module:
    """A network without residual blocks."""
    norm = nn.BatchNorm2d(8) if batch_norm else nn.Identity()
    layers = (nn.Conv2d(3, 8, 3, padding=1), norm, nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU())
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, num_classes))


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with a folder of three classes and a checkpoint of them."""
    shutil.copy(ROOT / "dvc.yaml", tmp_path)
    write_folder(tmp_path / "data", make_images(240), [0, 1, 2] * 80)
    torch.save(models.build("resnet8", num_classes=3, width=8).state_dict(), tmp_path / "three.pt")
    torch.save(models.build("resnet8", num_classes=5, width=8).state_dict(), tmp_path / "five.pt")
    for variable in ("PREFECT_API_URL", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(variable, raising=False)
    return tmp_path


@pytest.fixture
def closely(checkout: Path) -> Look:
    """``eyas run --check`` on parameters."""

    def check(overrides: tuple[str, ...] = (), **sections: Any) -> Preflight:
        content = {name: {} for name in ("fetch", "baseline", "sample", "score", "finetune", "export")}
        file = checkout / "params.yaml"
        file.write_text(yaml.safe_dump(content | {"fetch": FETCH, "baseline": BASELINE} | sections))
        return look_closely(checkout, file, overrides)

    return check


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port that nobody listens on."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


def only_fault(seen: Preflight) -> str:
    (fault,) = seen.faults
    return fault


def test_what_is_right_is_one_line_with_advice_for_few_images_and_leaves_nothing(closely: Look, checkout: Path) -> None:
    before = set(checkout.rglob("*"))
    seen = closely(baseline=THREE)
    assert (seen.faults, seen.skipped) == ((), ())
    can_run, *advice = seen.line().splitlines()
    assert can_run == (
        "default can run: looked at parameters, data, checkpoint, packages, device, disk, servers, network, budget and "
        "export"
    )
    calibration, scorer, compared = advice  # of 240 images
    assert calibration.startswith("advice: set fetch.calibration_fraction to 0.25: about 60 images calibrate then")
    assert scorer.startswith("advice: set score.scorer to cross_entropy: about 36 images judge the candidates")
    set_both = {"fetch": FETCH | {"calibration_fraction": 0.25}, "score": {"scorer": "cross_entropy"}}
    assert compared.startswith("advice: the score split gets about 36 images, and eyas watch and eyas adapt compare")
    assert closely(baseline=THREE, **set_both).advice == (compared.removeprefix("advice: "),)
    set_both["fetch"] |= {"score_fraction": 0.53, "test_fraction": 0.1}
    seen = closely(baseline=THREE, **set_both)
    assert (seen.faults, seen.advice) == ((), ())
    (few,) = closely(baseline=THREE, **set_both, adapt={"source_images": 99}).advice
    assert few.startswith("adapt.source_images takes 99 of the score split")
    assert set(checkout.rglob("*")) - before == {checkout / "params.yaml"}


def test_all_faults_are_told_at_once(closely: Look, closed_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_URL", f"http://name:secret@127.0.0.1:{closed_port}/api")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    seen = closely(
        fetch=FETCH | {"train": "nothing", "test": "builtin:nothing"},
        baseline={"architecture": "no_such_package.x:y", "checkpoint": "none.pt"},
        score={"sed": 3},
        runtime={"device": "cuda", "cluster": "ray", "tracking_uri": f"http://127.0.0.1:{closed_port}"},
    )
    fields = ("fetch.train", "fetch.test", "baseline.architecture", "baseline.checkpoint", "runtime.device")
    for field in (*fields, "runtime.tracking_uri", "PREFECT_API_URL"):
        assert sum(fault.startswith(f"{field}: ") for fault in seen.faults) == 1, field
    assert "score.sed: no such parameter" in seen.faults[0]
    assert "secret" not in "".join(seen.faults)
    with pytest.raises(ParameterError) as caught:
        seen.require()
    assert all(line.strip() in str(caught.value) for fault in seen.faults for line in fault.splitlines())
    assert "not looked at yet: network, budget and export" in str(caught.value)


def test_several_wrong_sections_are_all_told_beside_what_is_wrong_in_the_right_ones(closely: Look) -> None:
    seen = closely(("fetch.train=nowhere",), score={"sed": 3}, finetune={"epochs": -1}, export={"exporters": ["x"]})
    told = "\n".join(seen.faults)
    fields = ("score.sed", "finetune.epochs", "export.exporters", "--set fetch.train=nowhere: ")
    assert all(words in told for words in fields)


def test_the_source_names_the_architectures_that_there_are() -> None:
    assert preflight_names.architecture_names() == models.names() != []


@pytest.mark.parametrize(
    ("sections", "field", "words"),
    [
        ({"baseline": {"architecture": "resnet9"}}, "baseline.architecture", r"not in models/ \(.*resnet8"),
        ({"baseline": {"architecture": ":x"}}, "baseline.architecture", "no package ''"),
        ({"baseline": {"architecture": "models:none"}}, "baseline.architecture", "cannot be imported"),
        ({"baseline": {"architecture": "json:loads"}}, "baseline.architecture", "did not build"),
        ({"baseline": BASELINE | {"arguments": {"depht": 3}}}, "baseline.architecture", "depht"),
        ({"baseline": BASELINE | {"arguments": {"in_channels": 1}}}, "baseline.architecture", "cannot take images"),
        (
            {"baseline": BASELINE | {"checkpoint": "five.pt"}},
            "baseline.checkpoint",
            "another shape.*The checkpoint has 5 classes, the images 3: ant, bee, [a-z]+\\.",
        ),
        ({"baseline": BASELINE | {"checkpoint": "data"}}, "baseline.checkpoint", "is a folder"),
        ({"baseline": BASELINE | {"checkpoint": "params.yaml"}}, "baseline.checkpoint", "params.yaml"),
        (
            {"baseline": BASELINE | {"checkpoint": "three.pt", "checkpoint_sha256": "0" * 64}},
            "baseline.checkpoint",
            "sha256",
        ),
        ({"baseline": BASELINE | {"checkpoint": "$NOT_SET/x.pt"}}, "baseline.checkpoint", "environment"),
        ({"sample": {"budget": {"macs": 0.001}}}, "sample.budget", r"reachable is [\d,]+ to [\d,]+"),
        ({"sample": {"budget": {"params": 1e12}}}, "sample.budget", "reachable"),
        ({"sample": {"budget": {"macs": 0.1}, "min_width": 8}}, "sample.budget", r"sample\.min_width"),
        ({"sample": {"ignore": ["no_layer"]}}, "sample.budget", r"sample\.ignore"),
        ({"sample": {"depth": True, "sampler": "spdy"}}, "sample.sampler", "leaves no residual block out: .*budget"),
        (
            {"baseline": PLAIN, "sample": {"depth": True}},
            "sample.budget",
            r"sample\.depth: the network has no residual block that can be left out",
        ),
        (
            {"finetune": {"recipe": {"kind": "sgd", "layer_freezing": {"trained": 99}}}},
            "finetune.recipe",
            r"finetune\.recipe\.layer_freezing would freeze nothing: 99 blocks .* the network has 3 ",
        ),
        (
            {"score": {"reward": {"params": 1}, "scorer": "cross_entropy"}},
            "score.reward",
            r"those of score\.scorer cross_entropy are none: set score\.scorer to one of dense_probe, .*top1, or leave "
            r"score\.reward out",
        ),
        (
            {"baseline": PLAIN, "finetune": {"recipe": {"kind": "cosub"}}},
            "finetune.recipe",
            "no residual block .* can be left out",
        ),
        (
            {"baseline": PLAIN | {"arguments": {"batch_norm": False}}, "finetune": {"recipe": FROZEN}},
            "finetune.recipe",
            r"finetune\.recipe\.frozen_statistics are those of batch-norm",
        ),
        (
            {"baseline": PLAIN | {"recipe": FROZEN, "arguments": {"batch_norm": False}}},
            "baseline.recipe",
            r"baseline\.recipe\.frozen_statistics are those of batch-norm",
        ),
        ({"finetune": {"sparsity": {"kind": "n_m", "m": 128}}}, "finetune.sparsity", "fits no layer of this network"),
        (
            {"export": {"exporters": [{"kind": "onnx", "opset": 9999}]}},
            "export.exporters",
            r"opset 9999 is not known to onnx \S+: 18 to \d+ are",
        ),
        ({"fetch": FETCH | {"train": "three.pt"}}, "fetch", ""),
        ({"fetch": FETCH | {"train": "empty"}}, "fetch.train", "is empty"),
        ({"fetch": FETCH | {"train": "ftp://x/y"}}, "fetch.train", "unknown kind"),
        ({"fetch": FETCH | {"train": "."}}, "fetch.train", "holds .*artifacts, where its copy would go"),
        ({"fetch": FETCH | {"test": "../."}}, "fetch.test", "holds .*artifacts, where its copy would go"),
    ],
)
def test_each_fault_names_its_field(
    closely: Look, checkout: Path, sections: dict[str, Any], field: str, words: str
) -> None:
    (checkout / "empty").mkdir()
    seen = closely(**sections)
    if field == "fetch":  # a file of unknown content: only reading it tells
        assert (seen.faults, len(seen.skipped)) == ((), 1)
        return
    fault = only_fault(seen)
    assert fault.startswith(f"{field}: ")
    assert re.search(words, fault)
    assert "`" not in fault


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"test": "included"}, "fetch: fetch.test is included, but fetch.train brings no test set"),
        ({"limits": {"images": 10, "classes": 2}}, "fetch: .* more than fetch.limits.classes allows"),
        ({"train": "builtin:digits", "mean": [0.5], "std": [0.5], "limits": {"images": 10}}, "fetch.limits.images"),
        ({"sha256": {"nothere.png": "abababab"}}, "fetch: fetch.sha256 names 'nothere.png'"),
        ({"sha256": {"0000.png": "abababab"}}, "fetch: ant/0000.png has sha256 .*expected abababab"),
        ({"calibration_fraction": 0.0001}, "fetch: class 'ant' has no image in split 'calibration' .*calibration_frac"),
    ],
)
def test_what_fetching_would_refuse_is_told(closely: Look, changes: dict[str, Any], words: str) -> None:
    assert re.match(f".*{words}", only_fault(closely(fetch=FETCH | changes)))


@pytest.mark.parametrize("decoded", [2**26, 0])
def test_an_empty_image_is_told_also_where_the_data_is_too_large_to_decode(
    closely: Look, checkout: Path, decoded: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preflight_data, "DECODED", decoded)
    (checkout / "data" / "ant" / "none.png").touch()
    assert re.search(r"ant/none\.png.*fetch\.skip_broken", only_fault(closely()))
    assert closely(fetch=FETCH | {"skip_broken": 1}).faults == ()


def test_a_class_that_the_test_set_spells_otherwise_is_told(closely: Look, checkout: Path) -> None:
    for part, count in (("Training", 240), ("Testing", 30)):
        write_folder(checkout / "parts", make_images(count, seed=count), [0, 1, 2] * (count // 3), prefix=part)
    (checkout / "parts" / "Testing" / "cat").rename(checkout / "parts" / "Testing" / "cats")
    assert "class 'cat' has no image in the test set" in only_fault(closely(fetch=FETCH | {"train": "parts"}))


def frozen(num_classes: int) -> nn.Module:
    """A network that cannot be trained."""
    return models.build("resnet8", num_classes=num_classes, width=8).requires_grad_(requires_grad=False)


def three_layers(num_classes: int) -> nn.Module:
    """A network of two widths, so that costs come in large steps."""
    body = [nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*body, nn.Linear(8, num_classes))


def halved(images: Tensor, generator: torch.Generator) -> Tensor:
    return images[..., ::2]


def test_a_loss_and_an_augmentation_of_ones_own_are_called(closely: Look) -> None:
    wrong = {"kind": "sgd", "augmentation": f"{__name__}:halved"}
    fault = only_fault(closely(finetune={"recipe": wrong}))
    assert fault.startswith("finetune.recipe: recipe sgd: its augmentation makes (4, 3, 8, 4) torch.float32 of images")
    missing = {"kind": "sgd", "loss": "nowhere:focal"}
    fault = only_fault(closely(baseline=BASELINE | {"recipe": missing}))
    assert fault.startswith("baseline.recipe: nowhere:focal cannot be imported (ModuleNotFoundError")
    assert closely(baseline=THREE | {"recipe": wrong}, finetune={"epochs": 0, "recipe": wrong}).faults == ()


def test_a_network_that_cannot_be_trained_is_told_where_it_would_be(closely: Look, checkout: Path) -> None:
    network = {"architecture": f"{__name__}:frozen"}
    assert only_fault(closely(baseline=network)).startswith("baseline.architecture: the network cannot be trained: all")
    ready = network | {"checkpoint": "three.pt", "seen_by_checkpoint": False}
    assert closely(baseline=ready, finetune={"epochs": 0}).faults == ()
    assert len(closely(baseline=ready).faults) == 1


def test_a_band_between_two_steps_of_the_cost_is_told(closely: Look) -> None:
    sample = {"budget": {"macs": 0.6}, "tolerance": 0.001}
    fault = only_fault(closely(baseline={"architecture": f"{__name__}:three_layers"}, sample=sample))
    assert fault.startswith("sample.budget: ")
    assert "steps that jump over this band" in fault


@pytest.mark.parametrize("state", ["/proc/nope", "/dev/null/state"])
def test_a_state_that_cannot_be_written_is_told(closely: Look, checkout: Path, state: str) -> None:
    assert only_fault(closely(runtime={"state": state})).startswith("runtime.state: ")
    workspace = open_workspace(checkout, checkout / "params.yaml", name="mine")
    with pytest.raises(ParameterError, match=r"runtime\.state"), workspace.locked():
        pass


def test_data_of_one_class_is_told_before_it_is_brought(closely: Look, checkout: Path) -> None:
    for name in ("bee", "cat"):
        shutil.rmtree(checkout / "data" / name)
    assert only_fault(closely()).startswith("fetch: all images are of one class")


def test_archives_are_not_unpacked_to_look(closely: Look, checkout: Path) -> None:
    shutil.make_archive(str(checkout / "data" / "more"), "zip", checkout / "data" / "ant")
    seen = closely()
    assert seen.faults == ()
    assert "how many classes" in seen.line()


@pytest.mark.parametrize("missing", ["onnx", "onnxscript", "onnxruntime"])
def test_a_package_that_an_exporter_needs_is_told(closely: Look, missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    find = preflight_names.importlib.util.find_spec
    monkeypatch.setattr(
        preflight_names.importlib.util, "find_spec", lambda name: None if name == missing else find(name)
    )
    assert only_fault(closely()) == f"export.exporters: {missing} not installed: pip install 'eyas[pipeline]'"


@pytest.mark.parametrize(("free", "told"), [(2**20, "any run"), (preflight_places.LEAST_FREE + 10, "this data")])
def test_a_full_disk_is_told_with_place_need_and_what_is_free(
    closely: Look, checkout: Path, free: int, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**12, 10**12 - free, free))
    fault = closely().faults[0]
    assert re.match(rf"disk: {checkout} has \d\.\d\d GB free, and {told} needs \d\.\d\d GB there", fault)


def test_a_place_that_cannot_be_written_to_is_told(
    closely: Look, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    monkeypatch.setattr("os.access", lambda place, _: Path(place) != scratch)
    assert only_fault(closely()) == f"disk: {scratch} cannot be written to: change its owner or its mode"


@pytest.mark.parametrize("address", ["http://127.0.0.1:{port}/x.zip", "s3://bucket/data"])
def test_a_remote_that_does_not_answer_is_told_within_seconds(
    closely: Look, closed_port: int, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    storage = {"endpoint_url": f"http://127.0.0.1:{closed_port}"}
    seen = closely(fetch=FETCH | {"train": address.format(port=closed_port)}, runtime={"storage": storage})
    assert only_fault(seen).startswith("fetch.train: ")


def test_a_server_that_answers_is_no_fault(closely: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        monkeypatch.setenv("PREFECT_API_URL", f"{address}/api")
        assert closely(runtime={"tracking_uri": address}).faults == ()


def test_the_quick_look_tells_what_costs_no_time(checkout: Path) -> None:
    file = checkout / "params.yaml"
    file.write_text(yaml.safe_dump({"fetch": {"train": "nothing"}, "baseline": {"architecture": "no.such:thing"}}))
    faults = look(open_workspace(checkout, file, name="mine")).faults
    assert [fault.partition(":")[0] for fault in faults] == ["fetch.train", "baseline.architecture"]


def test_data_that_was_brought_may_be_gone(checkout: Path, digits_params: Any, pruned_digits: Path) -> None:
    shutil.copytree(pruned_digits, checkout / "workspaces" / "mine" / "artifacts")
    (checkout / "workspaces" / "mine" / "params.yaml").write_text("{}")
    manifest = checkout / "workspaces" / "mine" / "artifacts" / "fetch" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"builtin:digits"', '"../../gone"'))
    file = checkout / "params.yaml"
    file.write_text("fetch: {train: gone}\n")
    assert look(open_workspace(checkout, file, name="mine")).faults == ()
    file.write_text("fetch: {train: other}\n")
    assert look(open_workspace(checkout, file, name="mine")).faults[0].startswith("fetch.train: ")


def test_the_command_prints_one_line_or_refuses(
    checkout: Path, closely: Look, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(commands, "ROOT", checkout)
    closely()
    assert commands.check(checkout / "params.yaml", [], None) == 0
    assert capsys.readouterr().out.startswith("default can run: ")
    with pytest.raises(ParameterError, match=r"^params.yaml cannot run:\n") as caught:
        commands.check(checkout / "params.yaml", ["score.sed=1"], None)
    assert caught.value.exit_status == 2
