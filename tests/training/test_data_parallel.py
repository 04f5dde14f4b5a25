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
from eyas.training.data_parallel import Processes
from eyas.training.labelled_pixels import labelled_loss
from eyas.training.loop import require_shared_batches
from eyas.training.mixing import mixup
from eyas.training.recipes import Recipe
from eyas.training.recipes.sgd import SGD
from eyas.training.shared_batch_norm import WholeBatchStatistics
from eyas.training.sparsifiers import Sparsifier
from tests.training.in_processes import norms, training

ROOT = Path(__file__).resolve().parents[2]
PLAIN = {"kind": "sgd", "batch_size": 33, "learning_rate": 0.03, "distillation": None}
MORE = {"shift": 1, "mixup": 0.3, "cutmix": 1.0, "clip_norm": 0.5, "ema_decay": 0.9, "distillation": {"alpha": 0.5}}
EXTRA = {"custom": {"factory": "json:loads"}}
"""What a recipe cannot do without."""
WHOLE = {kind for kind, member in Recipe.registry.items() if member().needs_whole_batch}
MOST_ZEROS = [{"kind": "unstructured", "zeros": 0.8}]
CURVES = {
    **{
        f"recipe {kind}": {"recipe": PLAIN | {"kind": kind}, "epochs": 2} for kind in sorted({*Recipe.registry} - WHOLE)
    },
    **{f"sparsifier {kind}": {"recipe": PLAIN, "sparse": [*MOST_ZEROS, kind]} for kind in sorted(Sparsifier.registry)},
    "all at once": {"recipe": PLAIN | MORE},
    "another optimiser": {"recipe": PLAIN | {"optimizer": "lamb", "learning_rate": 0.02, "adaptive_clip": 0.1}},
    "frozen layers": {"recipe": PLAIN | {"layer_freezing": {"trained": 1, "period": 3}}},
    **{f"guidance {by}": {"recipe": PLAIN | {"guidance": {"measure": by}}} for by in ("kept_channels", "attention")},
    "frozen statistics": {"recipe": PLAIN | {"frozen_statistics": True, "learning_rate": 0.01}},
    "regrowth": {"recipe": PLAIN, "sparse": [*MOST_ZEROS, {"kind": "granet", "every": 4, "regrowth": 0.5}]},
    "other weights": {"recipe": PLAIN, "begins_apart": True},
}
"""By several processes what they are by one, up to rounding."""
REFUSED = {
    **{f"recipe {kind}": {"recipe": {"kind": kind, **EXTRA.get(kind, {})}} for kind in sorted(WHOLE)},
    "cka": {"recipe": PLAIN | {"guidance": {"measure": "cka"}}},
}
OTHERS = {
    "dropout": {"recipe": PLAIN, "dropout": 0.5},
    "slow disk": {"recipe": PLAIN, "epochs": 1, "slow_disk": True},
    "unbroken": {"recipe": PLAIN, "epochs": 30},
    "other images": {"recipe": PLAIN, "fewer_images": True},
}
KEPT = ("slow disk", "unbroken")
"""They write epoch checkpoints."""
CLOSE = 2e-5
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
    """Results by rank, and what was told meanwhile."""
    output, _ = process.communicate(timeout=200)
    assert process.returncode == 0, output
    events = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in ranks], events


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """Every training by two machines, in shares of 16 and 17 images: results of both, and what each told.

    Both machines are this one: each is started by hand, with the variables of the environment that name the first.
    """
    folder = tmp_path_factory.mktemp("both")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    trainings = CURVES | REFUSED | OTHERS
    trainings |= {name: trainings[name] | {"resume_folder": str(folder / name)} for name in KEPT}
    job = {"processes": 1, "nodes": 2, "trainings": trainings}
    started = [start(folder, job, place | {"NODE_RANK": str(node)}) for node in range(2)]
    ended = [finish(process, folder, [rank]) for rank, process in enumerate(started)]
    return [results[0] for results, _ in ended], [events for _, events in ended]


@pytest.mark.parametrize("name", CURVES)
def test_the_loss_curve_is_that_of_one_process(both, name):
    alone = training(CURVES[name])
    assert alone["losses"][-1] < alone["losses"][0]
    for result in both[0]:
        assert result[name]["losses"] == pytest.approx(alone["losses"], abs=CLOSE)
        assert result[name]["accuracies"] == pytest.approx(alone["accuracies"], abs=0.0101)
        assert result[name]["weights"] == pytest.approx(alone["weights"], abs=10 * CLOSE)


@pytest.mark.parametrize("name", [*CURVES, "dropout", *KEPT])
def test_all_processes_end_with_the_same_bytes(both, name):
    first, other = (result[name] for result in both[0])
    assert other == first


def test_dropout_draws_for_each_process(both):
    """The curve is another one, and of the same kind."""
    alone = training(OTHERS["dropout"])
    losses = both[0][0]["dropout"]["losses"]
    assert losses != pytest.approx(alone["losses"], abs=10 * CLOSE)
    assert losses == pytest.approx(alone["losses"], abs=0.3)


@pytest.mark.parametrize("name", REFUSED)
def test_what_looks_at_whole_batches_is_refused(both, name):
    assert {result[name]["error"] for result in both[0]} == {
        f"recipe {REFUSED[name]['recipe']['kind']} reads a batch as a whole (steps of its own, parts drawn for its "
        "images, `guidance` by cka), which several processes cannot share: leave `processes` at 1"
    }


def test_a_batch_has_an_image_for_each(monkeypatch):
    monkeypatch.setattr(Processes, "running", lambda: Processes(1, 3))
    assert training({"recipe": PLAIN | {"batch_size": 2}}) == {
        "error": "`processes` is 3, and a batch has 2 images: each takes one at least", "status": 2
    }  # fmt: skip


def test_other_images_in_a_process_are_refused_by_all(both):
    errors = {result["other images"]["error"] for result in both[0]}
    assert len(errors) == 1
    assert "give each the same arguments" in errors.pop()


@pytest.mark.parametrize("name", KEPT)
def test_nobody_leaves_before_the_checkpoint_is_written(both, name):
    assert [result[name]["files"] for result in both[0]] == [["epoch.pt"]] * 2


def test_only_the_first_tells_progress(both):
    first, other = both[1]
    assert [event["done"] for event in first if "done" in event][-30:] == list(range(9, 271, 9))
    assert [list(event) for event in other] == [["rank", "pid"]]


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


def test_a_process_that_is_killed_ends_all_and_the_training_goes_on_with_the_same_bytes(both, tmp_path):
    """First the one that starts the other and writes, then the other."""
    for rank, done in ((0, 20), (1, 120)):
        run = Run(tmp_path)
        run.wait_until(done)
        os.kill(run.pids[rank], signal.SIGKILL)
        run.ended()
        told = [json.loads(path.read_text())["it"] for path in tmp_path.glob("[01].json")]
        assert all(result["status"] == 1 for result in told)
        assert all(result["error"].startswith("another process of this training has ended (") for result in told)
    results, _ = finish(Run(tmp_path).process, tmp_path, range(2))
    for result in results:
        assert 12 <= result["it"]["resumed_from"] < 30
        for name in ("losses", "accuracies", "digest"):
            assert result["it"][name] == both[0][0]["unbroken"][name], name


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


del Recipe.registry["own_steps_in_processes"]


def test_a_recipe_with_steps_of_its_own_cannot_share_them():
    with pytest.raises(ParameterError, match="own_steps_in_processes reads a batch as a whole"):
        require_shared_batches(OwnSteps())
    assert {"custom", "cosub"} <= WHOLE
    assert {"sgd", "sandwich"}.isdisjoint(WHOLE)
