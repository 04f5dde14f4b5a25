"""Workers that cannot start, die, or do not end: what is said, and what is left behind."""

import copy
import os
import signal
import struct
import subprocess
import sys
import tempfile
import time
import types
from multiprocessing import Pipe
from pathlib import Path

import pytest
import torch

import eyas
from eyas.errors import EyasError, ParameterError
from eyas.scoring import ScoreOptions
from eyas.scoring.engine import Engine
from eyas.scoring.image_sets import prepare_images
from eyas.scoring.memory import explain_out_of_memory, halve_batch_until_it_fits
from eyas.scoring.workers import ray as ray_workers
from eyas.scoring.workers.dispatch import WorkerLost, error_summary
from eyas.scoring.workers.local import LocalExecutor
from eyas.scoring.workers.pool import ProcessPool, _Process
from eyas.scoring.workers.transfer import TensorBytes, pack, unpack
from tests.scoring.conftest import FUSED
from tests.scoring.networks import Net
from tests.scoring.test_workers import SETTINGS, FakePool

ROOT = Path(__file__).parents[2]
SCRIPT = """
import eyas
from eyas.scoring import Rung, ScoreOptions
from tests.scoring.networks import trained

def main():
    model, data, labels = trained()
    space = eyas.trace(model, (data[:2],))
    plans = [space.plan([a, b]) for a in range(2, 11) for b in range(2, 15)]
    eyas.score(model, space, plans, data[:160], data[160:], labels[160:], rungs=[Rung(images=240)],
               options=ScoreOptions(batch_size=2, workers=2, threads=1, progress=lambda *said: print(said, flush=True)))

{guard}
    main()
"""
GUARD = 'if __name__ == "__main__":'


def packed(scene, model=None):
    images = prepare_images(scene.calibration, scene.scoring, scene.labels, seed=0)
    return pack(model or scene.model, scene.space, SETTINGS, images)


def run_script(tmp_path, guard, *, stdin=False):
    """Score with two workers from a script; what it says goes to a file."""
    script = SCRIPT.format(guard=guard)
    path = tmp_path / "script.py"
    path.write_text(script)
    (tmp_path / "tmp").mkdir()
    environment = {
        **os.environ,
        "TMPDIR": str(tmp_path / "tmp"),
        "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}",
        "OMP_NUM_THREADS": "1",
    }
    with (tmp_path / "said").open("w") as said:
        process = subprocess.Popen(
            [sys.executable, "-" if stdin else str(path)],
            stdin=subprocess.PIPE,
            stdout=said,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd=tmp_path,
            text=True,
        )
    if stdin:
        process.stdin.write(script)
    process.stdin.close()
    return process


def children(process):
    listed = subprocess.run(
        ["ps", "--ppid", str(process.pid), "-o", "pid="], capture_output=True, text=True, check=False
    )
    return [int(line) for line in listed.stdout.split()]


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until(true, seconds=60):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_killed_parent_leaves_neither_files_nor_workers(tmp_path, how):
    process = run_script(tmp_path, GUARD)
    wait_until(lambda: "/s, " in (tmp_path / "said").read_text())
    workers = children(process)
    assert len(workers) >= 2
    process.send_signal(how)
    assert process.wait(30) == -how
    assert not list((tmp_path / "tmp").iterdir())
    wait_until(lambda: not any(map(is_alive, workers)))


@pytest.mark.parametrize(
    ("guard", "stdin", "words"),
    [("if True:", False, "guard what it does with if __name__"), (GUARD, True, "FileNotFoundError")],
    ids=["unguarded", "stdin"],
)
def test_a_script_that_workers_cannot_import_is_named_at_once(tmp_path, guard, stdin, words):
    with run_script(tmp_path, guard, stdin=stdin) as process:
        try:
            assert process.wait(60) == 1
        finally:
            process.kill()
    last = (tmp_path / "said").read_text().splitlines()[-1]
    assert last.startswith("eyas.errors.EyasError: scoring workers cannot start: exit status 1; ")
    assert words in last


def test_a_module_that_workers_cannot_import_is_named_at_once(scene, monkeypatch):
    module = types.ModuleType("only_here")
    module.Mine = type("Mine", (Net,), {"__module__": "only_here"})
    monkeypatch.setitem(sys.modules, "only_here", module)
    model = module.Mine()
    model.load_state_dict(scene.model.state_dict())
    started = []
    start = ProcessPool.start
    monkeypatch.setattr(ProcessPool, "start", lambda self, worker: started.append(worker) or start(self, worker))
    space = eyas.trace(model.eval(), (scene.scoring[:2],))
    with pytest.raises(
        EyasError, match=r"cannot start: exit status 1; ModuleNotFoundError: No module named 'only_here'"
    ):
        eyas.score(
            model,
            space,
            [space.plan(), space.plan([5, 5])],
            scene.calibration,
            scene.scoring,
            scene.labels,
            options=ScoreOptions(workers=2),
        )
    assert started == [0, 1]


def test_a_worker_that_does_not_end_when_asked_is_ended(scene, monkeypatch):
    monkeypatch.setattr("eyas.scoring.workers.pool._PATIENCE_SECONDS", 0.5)
    executor = ProcessPool(*packed(scene), scene.plans, workers=1, device="cpu", threads=1)
    process = executor._processes[0].process
    os.kill(process.pid, signal.SIGSTOP)  # SIGTERM waits until it may go on
    executor.close()
    assert process.exitcode is not None


def test_an_answer_cut_off_in_the_middle_is_a_lost_worker():
    class Ended:
        exitcode = -signal.SIGKILL

        def join(self, seconds):
            pass

        def is_alive(self):
            return False

    ours, theirs = Pipe()
    executor = ProcessPool.__new__(ProcessPool)
    executor._processes = {0: _Process(Ended(), ours, tempfile.TemporaryFile())}  # noqa: SIM115
    os.write(theirs.fileno(), struct.pack("!i", 1000) + b"x" * 300)
    theirs.close()
    lost = executor._receive(0)
    assert isinstance(lost, WorkerLost)
    assert "memory is short" in lost.reason
    assert not lost.never_started  # killed from outside: worth another try


def test_deaths_between_answers_never_add_up(scene):
    images = prepare_images(scene.calibration, scene.scoring, scene.labels, seed=0)
    engine = Engine(scene.model, scene.space, images, SETTINGS)

    class AnswersOnceThenDies(FakePool):
        turn = 0

        def wait(self):
            self.turn += 1
            self.chance, self.dies = self.turn % 2, [True]
            return super().wait()

    executor = AnswersOnceThenDies(engine, scene.plans, 1)
    assert sorted(candidate for candidate, _ in executor.measure(FUSED[0], 128, range(24))) == list(range(24))
    assert executor.started == 24


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Traceback:\n  File x\n    code\nValueError: no\nsecond line\n\n", "ValueError: no second line"),
        ("one line", "one line"),
        ("", ""),
        ("head\n   all that follows is indented\n   end", "end"),
    ],
)
def test_last_words_are_the_exception(text, words):
    assert error_summary(text) == words


def test_workers_read_the_images_where_they_lie(scene):
    blueprint, tensors = packed(scene)
    engine = unpack(blueprint, tensors, "cpu")
    for name in ("calibration", "scoring", "labels"):
        assert getattr(engine.images, name).data_ptr() == tensors[f"images/{name}"].data_ptr()
    assert engine.images.scoring.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64, torch.bool])
@pytest.mark.parametrize("shape", [(), (0,), (5,), (2, 3, 4, 5)])
def test_every_tensor_travels_as_bytes(dtype, shape):
    tensor = (10 * torch.randn(shape)).to(dtype)
    if len(shape) == 4:
        tensor = tensor.contiguous(memory_format=torch.channels_last)
    flat = TensorBytes.of(tensor)
    flat.data.flags.writeable = False  # as a store hands it out
    again = flat.tensor()
    assert torch.equal(again, tensor)
    assert (again.dtype, again.stride()) == (tensor.dtype, tensor.stride())
    assert not tensor.numel() or again.data_ptr() == tensor.data_ptr()


def test_memory_that_no_smaller_batch_would_save_is_said_in_words():
    def work(batch_size):
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(EyasError, match="does not hold the dense network's answers in batches of 2 images"):
        halve_batch_until_it_fits(work, 128)
    with pytest.raises(EyasError, match="does not hold all images"), explain_out_of_memory("all images"):
        work(1)
    with pytest.raises(RuntimeError, match="shapes"), explain_out_of_memory("all images"):
        raise RuntimeError("shapes differ")


def test_whatever_ray_raises_when_it_does_not_start_is_explained():
    class Ray:
        down = False

        def is_initialized(self):
            return False

        def init(self, **_):
            raise Exception("The current node timed out during startup.")  # as Ray does

        def shutdown(self):
            self.down = True

    ray = Ray()
    with pytest.raises(ParameterError, match="no Ray cluster answers at 'ray'.*timed out during startup"):
        ray_workers.connect(ray, "ray", cpus=2)
    assert ray.down


@pytest.fixture
def ray():
    module = pytest.importorskip("ray", reason="Ray is an extra: pip install 'eyas[ray]'")
    yield module
    module.shutdown()


def test_a_cluster_without_room_for_all_actors_is_said(scene, ray, monkeypatch):
    monkeypatch.setattr(ray_workers, "_PATIENCE_SECONDS", 15)
    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False)
    with pytest.raises(EyasError, match="room for 1 of 2 scoring actors of 1 CPUs each; it has 1 CPUs"):
        scene.score(rungs=FUSED, workers=2, threads=1, cluster="ray")


def test_actors_that_cannot_start_say_why_and_ray_ends(scene, ray):
    with pytest.raises(EyasError, match="cannot start: RuntimeError: Expected one of cpu, cuda"):
        ray_workers.RayPool(*packed(scene), scene.plans, address="ray", workers=1, device="nowhere", threads=1)
    assert not ray.is_initialized()


def test_on_ray_half_precision_networks_score_too(scene, ray):
    model = copy.deepcopy(scene.model).bfloat16()
    data = scene.calibration.bfloat16(), scene.scoring.bfloat16(), scene.labels
    images = prepare_images(*data, seed=0)
    executor = ray_workers.RayPool(
        *pack(model, scene.space, SETTINGS, images), scene.plans, address="ray", workers=1, device="cpu", threads=1
    )
    try:
        scores = {candidate: measured.score for candidate, measured in executor.measure(FUSED[0], 128, range(3))}
    finally:
        executor.close()
    here = LocalExecutor(Engine(model, scene.space, images, SETTINGS), scene.plans)
    assert scores == {candidate: measured.score for candidate, measured in here.measure(FUSED[0], 128, range(3))}
