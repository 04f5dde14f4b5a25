"""Several processes train as one does: the same loss curve, one who writes, nobody left behind, and a way on."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional

from eyas.data.tasks import IGNORED
from eyas.errors import ParameterError
from eyas.training import train
from eyas.training.data_parallel import Processes
from eyas.training.labelled_pixels import labelled_loss
from eyas.training.loop import require_shared_batches
from eyas.training.mixing import mixup
from eyas.training.recipes import Recipe
from eyas.training.recipes.sgd import SGD
from eyas.training.shared_batch_norm import WholeBatchStatistics
from tests.training.in_processes import norms, training

ROOT = Path(__file__).resolve().parents[2]
PLAIN = {"kind": "sgd", "batch_size": 33, "learning_rate": 0.1, "distillation": None}
MORE = {"shift": 1, "mixup": 0.3, "cutmix": 1.0, "clip_norm": 0.5, "ema_decay": 0.9, "distillation": {"alpha": 0.5}}
CURVES = {
    "plain": {"recipe": PLAIN},
    "all at once": {"recipe": PLAIN | MORE},
    "another optimiser": {"recipe": PLAIN | {"optimizer": "lamb", "learning_rate": 0.02, "adaptive_clip": 0.1}},
    "frozen layers": {"recipe": PLAIN | {"layer_freezing": {"trained": 1, "period": 3}}},
    "sandwich": {"recipe": PLAIN | {"kind": "sandwich", "random": 1}, "epochs": 2},
    "sparse": {
        "recipe": PLAIN,
        "sparse": [{"kind": "unstructured", "zeros": 0.8}, {"kind": "granet", "every": 4, "regrowth": 0.5}],
    },
    "other weights": {"recipe": PLAIN, "begins_apart": True},
}
"""By several processes what they are by one, up to rounding."""
OTHERS = {
    "dropout": {"recipe": PLAIN, "dropout": 0.5},
    "custom": {"recipe": {"kind": "custom", "factory": "json:loads"}},
    "guidance": {"recipe": PLAIN | {"guidance": {"measure": "cka"}}},
    "tiny batches": {"recipe": PLAIN | {"batch_size": 2}},
    "other images": {"recipe": PLAIN, "fewer_images": True},
}
CLOSE = 1e-4
"""Of a loss; float32 sums in another order, over 27 steps."""


def start(folder, job, environment=None):
    pytest.importorskip("lightning_fabric", reason="Fabric is an extra: pip install 'eyas[distributed]'")
    folder.mkdir(exist_ok=True)
    (folder / "job.json").write_text(json.dumps({"out": str(folder), **job}))
    return subprocess.Popen(
        [sys.executable, "-m", "tests.training.in_processes", str(folder / "job.json")],
        cwd=ROOT, env={**os.environ, **(environment or {})}, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )  # fmt: skip


def finish(process, folder, ranks):
    output, _ = process.communicate(timeout=200)
    assert process.returncode == 0, output
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in ranks]


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    """Every training by three processes: shares of 11 images, and of 0, 1 and 1 where a batch has two."""
    folder = tmp_path_factory.mktemp("three")
    return finish(start(folder, {"processes": 3, "trainings": CURVES | OTHERS}), folder, range(3))


@pytest.mark.parametrize("name", CURVES)
def test_the_loss_curve_is_that_of_one_process(three, name):
    alone = training(CURVES[name])
    assert alone["losses"][-1] < alone["losses"][0]
    for result in three:
        assert result[name]["losses"] == pytest.approx(alone["losses"], abs=CLOSE)
        assert result[name]["accuracies"] == pytest.approx(alone["accuracies"], abs=0.0101)
        assert result[name]["weights"] == pytest.approx(alone["weights"], abs=10 * CLOSE)


@pytest.mark.parametrize("name", [*CURVES, "dropout"])
def test_all_processes_end_with_the_same_bytes(three, name):
    first, *others = (result[name] for result in three)
    assert all(other == first for other in others)


def test_dropout_draws_for_each_process(three):
    """The curve is another one, and of the same kind."""
    alone = training(OTHERS["dropout"])
    losses = three[0]["dropout"]["losses"]
    assert losses != pytest.approx(alone["losses"], abs=10 * CLOSE)
    assert losses == pytest.approx(alone["losses"], abs=0.3)


@pytest.mark.parametrize("name", ["custom", "guidance"])
def test_recipes_that_look_at_whole_batches_are_refused(three, name):
    assert {result[name]["error"] for result in three} == {
        f"recipe {OTHERS[name]['recipe']['kind']} takes steps of its own, or compares features over a batch "
        "(`guidance`), which several processes cannot share: leave `processes` at 1"
    }


def test_a_batch_has_an_image_for_each(three):
    errors = {result["tiny batches"]["error"] for result in three}
    assert errors == {"`processes` is 3, and a batch has 2 images: each takes one at least"}


def test_other_images_in_a_process_are_refused_by_all(three):
    errors = {result["other images"]["error"] for result in three}
    assert len(errors) == 1
    assert "give each the same arguments" in errors.pop()


class Run:
    """Two processes in training, line by line."""

    def __init__(self, folder, **options):
        job = {"recipe": PLAIN, "epochs": 30, "resume_folder": str(folder / "state"), **options}
        self.folder, self.pids = folder, {}
        self.process = start(folder, {"processes": 2, "trainings": {"it": job}})

    def wait_until(self, done):
        for line in self.process.stdout:
            event = json.loads(line) if line.startswith("{") else {}
            if "rank" in event:
                self.pids[event["rank"]] = event["pid"]
            if event.get("done", 0) >= done and len(self.pids) == 2:
                return
        raise AssertionError("it ended before")

    def ended(self):
        self.process.communicate(timeout=60)
        deadline = time.monotonic() + 60
        while any(alive(pid) for pid in self.pids.values()):
            assert time.monotonic() < deadline, "a process was left behind"
            time.sleep(0.1)


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat")
    return not state.exists() or state.read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    """Its results, and what was told meanwhile."""
    folder = tmp_path_factory.mktemp("unbroken")
    output, _ = Run(folder).process.communicate(timeout=200)
    events = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    return [json.loads((folder / f"{rank}.json").read_text())["it"] for rank in range(2)], events


def test_only_the_first_tells_progress_and_writes(unbroken):
    results, events = unbroken
    assert {event["rank"] for event in events if "rank" in event} == {0, 1}
    assert [event["done"] for event in events if event.get("by") == 0] == list(range(9, 271, 9))
    assert not any(event.get("by") == 1 for event in events)
    assert results[0] == results[1]
    assert results[0]["files"] == ["epoch.pt"]


@pytest.mark.parametrize(
    ("rank", "number"), [(0, signal.SIGTERM), (0, signal.SIGKILL), (1, signal.SIGKILL)], ids=["term", "kill", "other"]
)
def test_a_process_that_is_killed_ends_all_and_the_training_goes_on_with_the_same_bytes(
    unbroken, tmp_path, rank, number
):
    run = Run(tmp_path)
    run.wait_until(20)
    os.kill(run.pids[rank], number)
    run.ended()
    told = [json.loads(path.read_text())["it"] for path in tmp_path.glob("[01].json")]
    assert all(result["status"] == 1 for result in told)
    assert all(result["error"].startswith("another process of this training has ended (") for result in told)
    results = finish(Run(tmp_path).process, tmp_path, range(2))
    for result, expected in zip(results, unbroken[0], strict=True):
        assert 2 <= result["it"]["resumed_from"] < 30
        for name in ("losses", "accuracies", "digest"):
            assert result["it"][name] == expected[name], name


def test_two_machines_train_together(tmp_path):
    """Both are this one: each is started by hand, with the variables of the environment that name the first."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    job = {"processes": 1, "nodes": 2, "trainings": {"plain": CURVES["plain"]}}
    both = [start(tmp_path, job, place | {"NODE_RANK": str(node)}) for node in range(2)]
    alone = training(CURVES["plain"])
    for rank, process in enumerate(both):
        (result,) = finish(process, tmp_path, [rank])
        assert result["plain"]["losses"] == pytest.approx(alone["losses"], abs=CLOSE)


@pytest.mark.parametrize("shape", [(12, 5), (12, 5, 3), (12, 5, 4, 3), (12, 5, 2, 3, 3)], ids=str)
@pytest.mark.parametrize("affine", [True, False])
def test_batch_norm_over_processes_is_pytorchs_where_there_is_one(shape, affine):
    torch.manual_seed(0)
    x = 3 + torch.randn(shape, dtype=torch.float64)
    layer = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}[len(shape)]
    results = []
    for mode in (nullcontext(), WholeBatchStatistics(Processes())):
        torch.manual_seed(1)
        norm = layer(5, affine=affine, momentum=0.3).double()
        if affine:
            nn.init.normal_(norm.weight)
            nn.init.normal_(norm.bias)
        own = x.clone().requires_grad_()
        with mode:
            norm(own)
            (norm(own) * x.sin()).sum().backward()
        gradients = [own.grad, *(parameter.grad for parameter in norm.parameters())]
        results.append([*gradients, norm.running_mean, norm.running_var, norm.num_batches_tracked])
    for theirs, ours in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_batch_norm_in_eval_mode_and_of_bfloat16_stays_pytorchs():
    torch.manual_seed(0)
    x, norm = torch.randn(6, 5, 4, 4), nn.BatchNorm2d(5)
    with WholeBatchStatistics(Processes()):
        in_eval = norm.eval()(x)
        with torch.autocast("cpu", torch.bfloat16):
            lower = norm.train()(x.bfloat16())
    assert torch.equal(in_eval, nn.BatchNorm2d(5).eval()(x))
    assert lower.dtype == torch.bfloat16
    torch.testing.assert_close(lower, nn.BatchNorm2d(5)(x.bfloat16()))


@pytest.mark.parametrize("number", [2, 3, 5])
def test_the_weighted_losses_of_the_shares_sum_to_that_of_the_batch(number):
    """Also of mixed images, and of pixels, of which each share has another number of labelled ones."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    masks = torch.randint(10, (7, 4, 4))
    masks[:3] = torch.where(torch.rand(3, 4, 4) < 0.8, IGNORED, masks[:3])
    for labels, logits in ((torch.randint(10, (7,)), torch.randn(7, 10)), (masks, torch.randn(7, 10, 4, 4))):
        _, answers = mixup(torch.randn(7, 1, 4, 4), labels, 0.5, generator)
        recipe = SGD(label_smoothing=0.1)
        whole = sum(weight * labelled_loss(recipe, logits, each, None) for each, weight in answers)
        shares = []
        for rank in range(number):
            own, parts = Processes(rank, number).share(logits, answers)
            assert all(len(own) == len(each) for each, _ in parts)
            shares.append(sum(weight * labelled_loss(recipe, own, each, None) for each, weight in parts))
        torch.testing.assert_close(sum(shares), whole)


def test_every_image_of_a_batch_is_in_one_share():
    images, labels = torch.arange(11.0).view(11, 1, 1, 1), torch.arange(11)
    shares = [Processes(rank, 4).share(images, ((labels, 1.0),)) for rank in range(4)]
    assert torch.equal(torch.cat([own for own, _ in shares]), images)
    assert torch.equal(torch.cat([parts[0][0] for _, parts in shares]), labels)
    assert {len(own) for own, _ in shares} == {2, 3}


def test_a_process_alone_computes_as_before():
    model = norms(0)
    assert Processes.running() == Processes(0, 1)
    functional.cross_entropy(model(torch.randn(4, 1, 8, 8)), torch.arange(4)).backward()
    before = [parameter.grad.clone() for parameter in model.parameters()]
    Processes().sum_gradients(model)
    assert all(torch.equal(old, p.grad) for old, p in zip(before, model.parameters(), strict=True))


class OwnSteps(SGD):
    """A member of someone else's."""

    kind: str = "own_steps_in_processes"

    def make_step(self, networks, optimiser):
        return lambda images, answers: torch.zeros(())


def test_a_recipe_with_steps_of_its_own_cannot_share_them():
    with pytest.raises(ParameterError, match="own_steps_in_processes takes steps of its own"):
        require_shared_batches(OwnSteps())
    for kind in ("sgd", "sandwich"):
        require_shared_batches(Recipe.parse(kind))
    assert train.__doc__ is not None
    assert "torch.distributed" in train.__doc__
