"""Layers really measured: here, on a device without eyas, and in a run that was cut off."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

import eyas
from eyas.deploy.latency import LatencyModel, LatencyTable, layer_runtimes
from eyas.deploy.latency import eyas_profile as script
from eyas.deploy.latency.device_profile import profile
from eyas.deploy.latency.profile_plan import PLAN, spread_widths, write_network, write_plan
from eyas.deploy.latency.whole_networks import time_networks
from eyas.errors import MissingExtraError, ParameterError
from eyas.pruning.space import SearchSpace
from models import build

ALONE = """
import runpy, sys
for name in ("eyas", "torch", "onnx", "pydantic"):
    sys.modules[name] = None  # as if it were not installed
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture(scope="module")
def space() -> SearchSpace:
    return eyas.trace(build("resnet8", 4, width=4, in_channels=1).eval(), (torch.zeros(1, 1, 8, 8),))


@pytest.fixture(scope="module")
def plan(space: SearchSpace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("device") / "plan"
    write_plan(space, folder, networks=4)
    return folder


def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Models that are opened from now on."""
    opened: list[str] = []

    def open_model(model: bytes | str, threads: int, batch: int) -> script.Run:
        opened.append(f"{threads} threads, batch {batch}")
        return script.open_onnx(model, threads, batch)

    runtime = layer_runtimes.LayerRuntime("onnxruntime", "pipeline", open_model, script.onnx_version)
    monkeypatch.setitem(layer_runtimes._RUNTIMES, "onnx", runtime)
    return opened


def test_a_second_run_measures_nothing_and_one_that_was_cut_off_goes_on(
    space: SearchSpace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, told = counted(monkeypatch), list[tuple[int, int]]()

    def note(done: int, total: int, text: str = "") -> None:
        told.append((done, total))

    first = profile(space, cache=tmp_path, networks=4, batch=2, progress=note)
    assert set(opened) == {"1 threads, batch 2"}
    assert told[-1] == (len(opened), len(opened))
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert first.fit is not None
    assert first.fit["n"] == 4
    total = len(opened)
    again = profile(space, cache=tmp_path, networks=4, batch=2)
    assert (again.entries, len(opened)) == (first.entries, total)
    (kept,) = tmp_path.iterdir()
    text = kept.read_text()
    kept.write_text(text[: len(text) // 2])
    assert [entry.inputs for entry in profile(space, cache=tmp_path, networks=4, batch=2).entries] == [
        entry.inputs for entry in first.entries
    ]
    assert total // 2 <= len(opened) - total <= total // 2 + 2
    profile(space, cache=tmp_path, networks=4)
    assert len(list(tmp_path.iterdir())) == 2  # another batch is another profile


def test_the_script_alone_measures_a_plan_and_its_table_is_read_here(space: SearchSpace, plan: Path) -> None:
    lines = (plan / "eyas_profile.py").read_text().splitlines()
    assert len(lines) < 200
    out = plan.parent / "device.json"
    command = [sys.executable, "-I", "-c", ALONE, str(plan / "eyas_profile.py"), str(plan), "--out", str(out)]
    done = subprocess.run(command, cwd=plan.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr.endswith(f"{out} written\n")
    table = LatencyTable.read(out).require(runtime="onnx", threads=1, batch=1, here=True)
    model = LatencyModel(space, table)
    assert model.fit is not None
    assert model.fit.n == 4
    assert 0 < model.dense_ms < 1000


def test_openvino_is_measured_as_well(space: SearchSpace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("openvino")
    monkeypatch.setattr(script, "PASSES", 1)
    narrow = space.rounded({group.name: group.channels // 2 for group in space.groups})
    table = profile(narrow, runtime="openvino", networks=4, batch=2)
    assert table.require(runtime="openvino", batch=2, here=True).runtime_version.startswith("openvino ")
    assert LatencyModel(narrow, table).is_corrected
    dense = narrow.legal.dense
    slow, fast = time_networks(narrow, np.stack([dense, dense // 2]), table)
    assert 0 < fast < 10 * slow


def test_a_runtime_that_is_not_here_says_how_to_install_it(space: SearchSpace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layer_runtimes.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=r"openvino is not installed: pip install 'eyas\[openvino\]'"):
        profile(space, runtime="openvino")
    for kind in ("pt2", "executorch"):
        words = f"`runtime` '{kind}': layers can be measured in onnx, openvino; whole files of {kind} by eyas bench$"
        with pytest.raises(ParameterError, match=words):
            profile(space, runtime=kind)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["nothing"], "nothing is no plan: it holds no plan.json"),
        (["plan", "--out", "no/device.json"], "--out no/device.json: its folder is not there"),
        (["plan", "--out", "plan"], "--out plan: is a folder"),
        (["plan", "--threads", "0"], "--threads and --batch are 1 at least"),
    ],
)
def test_the_script_refuses_what_it_could_not_write_or_run(plan: Path, words: list[str], told: str) -> None:
    command = [sys.executable, str(plan / "eyas_profile.py"), *words]
    done = subprocess.run(command, cwd=plan.parent, capture_output=True, text=True, check=False)
    assert (done.returncode, told in done.stderr, "Traceback" in done.stderr) == (2, True, False)


def test_the_least_of_the_medians_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    bursts = ([9, 4, 1, 5], [9, 2, 3, 2], [9, 8, 8, 8])  # milliseconds; the first run of each warms up
    clock = iter(np.cumsum([step for burst in bursts for run in burst for step in (0, run)]) * 1e-3)
    monkeypatch.setattr(script.time, "perf_counter", lambda: float(next(clock)))
    monkeypatch.setattr(script, "BURST", 3)
    monkeypatch.setattr(script, "LONGEST", 0.03)
    assert script.time_together([lambda: None]) == [pytest.approx(2)]


def test_networks_are_written_with_any_batch_and_at_their_widths(space: SearchSpace, plan: Path) -> None:
    content = json.loads((plan / PLAN).read_text())
    assert content["networks"][0]["widths"] == space.widths
    for network in content["networks"]:
        session = onnxruntime.InferenceSession(plan / network["file"], providers=["CPUExecutionProvider"])
        images = torch.randn(3, 1, 8, 8)
        small = eyas.prune(space.model, space, space.plan(network["widths"])).eval()
        (logits,) = session.run(None, {"images": images.numpy()})
        assert torch.allclose(torch.from_numpy(logits), small(images), atol=1e-4)


def test_random_widths_are_legal_and_of_all_alignments() -> None:
    wide = eyas.trace(build("mobilenet_v1", 10).eval(), (torch.zeros(1, 3, 32, 32),))
    rows = spread_widths(wide, 30, seed=0)
    assert (wide.legal.units(rows) * wide.legal.steps == rows).all()
    assert (rows[0] == wide.legal.dense).all()
    alignments = np.gcd(rows[1:], 8)
    assert {1, 2, 4, 8} <= set(alignments.ravel().tolist())


def test_a_network_of_two_inputs_is_refused() -> None:
    class Two(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = torch.nn.Conv2d(1, 8, 3), torch.nn.Conv2d(8, 2, 1)

        def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            return self.second(self.first(x) + y)

    space = eyas.trace(Two().eval(), (torch.zeros(1, 1, 8, 8), torch.zeros(1, 1, 1, 1)))
    with pytest.raises(ParameterError, match="only networks that take one batch of images"):
        write_network(space, space.widths, Path("never.onnx"))
