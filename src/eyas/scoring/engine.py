"""Scoring one candidate on one device: slice, re-estimate batch-norm statistics, judge.

Shapes: N images, K classes.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from eyas.calibration import Calibrator
from eyas.calibration.batchnorm import batch_norms, batch_statistics, evaluation_mode
from eyas.pruning.surgery import rebuild
from eyas.scoring.diagnostics import Probe, make_probe
from eyas.scoring.features import collecting, find_head
from eyas.scoring.hooks import drop_idle_hooks
from eyas.scoring.image_sets import Images, batches
from eyas.scoring.outputs import primary_output, try_out
from eyas.scoring.race.measurement import Measurement
from eyas.scoring.race.rungs import Rung
from eyas.scoring.scorers import Answers, Scorer
from eyas.scoring.scorers.base import per_image
from eyas.scoring.scorers.cross_entropy import CrossEntropy
from eyas.scoring.slicer import Slicer

if TYPE_CHECKING:
    from eyas.pruning.plan import PruningPlan
    from eyas.pruning.space import SearchSpace

PROBE_IMAGES = 1024
EXAMPLES = 2
"""Scoring images that tell what the network answers with."""
_JUDGED_AT_ONCE = 2**22
"""Values of logits: fewer batches than that are judged together, which small networks notice."""


@dataclass(frozen=True)
class Settings:
    """How every candidate is judged, the same for all."""

    calibrator: Calibrator
    scorer: Scorer
    output: int | str | None = None
    """Which output is judged where the network has several; without it the first, or ``logits`` or ``out``."""


class Engine:
    """The dense network and the images on one device; scores one candidate after another.

    The network is a copy without the user's watching hooks; ``example`` is its judged output on two scoring images.

    Example::

        engine = Engine(model, space, images, settings, device="cpu")
        engine.measure(plan, rung, batch_size=128).score
    """

    def __init__(
        self,
        model: nn.Module,
        space: "SearchSpace",
        images: Images,
        settings: Settings,
        *,
        device: str = "cpu",
    ) -> None:
        self.model = on_device(model, device)
        self.space, self.settings, self.device = space, settings, device
        self.images = images.to(device)
        if self.images.scoring.ndim == 4:
            self.model = self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.precision = "bfloat16" if device.startswith("cuda") else _precision_of(self.model)
        drop_idle_hooks(self.model, self.images.scoring[:EXAMPLES], settings.output)
        self.example = try_out(self.model, self.images.scoring[:EXAMPLES], settings.output)
        self._slice = Slicer(self.model, space)
        self.has_statistics = bool(batch_norms(self.model))
        self._head: str | None = None
        if settings.scorer.needs_features:
            self._head = find_head(self.model, self.images.scoring[:EXAMPLES], settings.output)

    def measure(self, plan: "PruningPlan", rung: Rung, batch_size: int) -> Measurement:
        """Score one candidate."""
        return self.launch(plan, rung, batch_size)()

    def launch(self, plan: "PruningPlan", rung: Rung, batch_size: int) -> Callable[[], Measurement]:
        """Queue the work, and return what waits for it: on a GPU the next candidate is sliced meanwhile."""
        return self.judge(self._slice(plan), rung, batch_size)

    def judge(self, model: nn.Module, rung: Rung, batch_size: int) -> Callable[[], Measurement]:
        """Calibrate and score a network that is the engine's to change."""
        with torch.inference_mode(), self._precision():
            columns = zip(*self._judged(model, rung, batch_size), strict=True)
            return _reduce(*(column[0] if len(column) == 1 else torch.cat(column) for column in columns))

    def _judged(self, model: nn.Module, rung: Rung, batch_size: int) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Goodness, right and log-likelihood per image, piece by piece: no more logits are kept than one piece has."""
        scoring = self.images.scoring[: rung.images]
        mode: Callable[[nn.Module], AbstractContextManager[None]] = evaluation_mode
        if self.has_statistics and rung.mode == "fused":
            mode = batch_statistics
        elif self.has_statistics:
            calibration = self.images.calibration[: rung.calibration_images]
            self.settings.calibrator(model, batches(calibration, batch_size))
        most = float("inf") if self.settings.scorer.needs_features else _JUDGED_AT_ONCE
        judged: list[tuple[Tensor, Tensor, Tensor]] = []
        start = 0
        with mode(model), collecting(model, self._head) as features:
            outputs = (self._primary(model(batch)) for batch in batches(scoring, batch_size))
            for logits in in_pieces(outputs, most):
                judged.append(self._judge(self._answers(logits, start, features)))
                start += len(logits)
        return judged

    def _answers(self, logits: Tensor, start: int, features: list[Tensor]) -> Answers:
        """Outputs on the scoring images from ``start`` on, and what they are held against."""
        part, images = slice(start, start + len(logits)), self.images
        return Answers(
            logits=logits.float(),
            labels=None if images.labels is None else images.labels[part],
            dense=None if images.dense is None else images.dense[part],
            features=torch.cat(features) if features else None,
        )

    def _judge(self, answers: Answers) -> tuple[Tensor, Tensor, Tensor]:
        """Goodness, whether right, and log-likelihood of each image, ``(N,)`` in float64; NaN where unknown."""
        finite = torch.isfinite(answers.logits).flatten(1).all(1)
        goodness_N = torch.where(finite, self.settings.scorer(answers), torch.nan).double()
        if answers.labels is None:
            unknown = torch.full_like(goodness_N, torch.nan)
            return goodness_N, unknown, unknown
        right_N = per_image((answers.logits.argmax(1) == answers.labels).double())
        known = isinstance(self.settings.scorer, CrossEntropy)
        likelihood_N = goodness_N if known else CrossEntropy()(answers).double()
        return goodness_N, torch.where(finite, right_N, torch.nan), likelihood_N

    def _primary(self, output: Any) -> Tensor:
        return primary_output(output, self.settings.output)

    def _precision(self) -> AbstractContextManager[Any]:
        """On CUDA bfloat16 arithmetic; batch-norm's statistics stay in float32."""
        if self.device.startswith("cuda"):
            return torch.autocast("cuda", torch.bfloat16)
        return nullcontext()


def _reduce(goodness_N: Tensor, right_N: Tensor, likelihood_N: Tensor) -> Callable[[], Measurement]:
    """Means over the images, on their way to the CPU when this returns."""
    images = len(goodness_N)
    means = torch.stack([goodness_N.mean(), goodness_N.std(), right_N.mean(), -likelihood_N.mean()])
    wait_for_copies = to_host(means, goodness_N.float())

    def wait() -> Measurement:
        means, goodness = wait_for_copies()
        score, deviation, accuracy, cross_entropy = means.tolist()
        error = deviation / images**0.5
        return Measurement(score, error, accuracy, cross_entropy, images, goodness.numpy())

    return wait


def to_host(*tensors: Tensor) -> Callable[[], list[Tensor]]:
    """Begin to copy to the CPU, and return what waits for these copies alone, not for work queued since."""
    copies = [tensor.to("cpu", non_blocking=True) for tensor in tensors]  # from a GPU into pinned memory
    if not tensors[0].is_cuda:
        return lambda: copies
    arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
    arrived.record(torch.cuda.current_stream(tensors[0].device))

    def wait() -> list[Tensor]:
        arrived.synchronize()
        return copies

    return wait


def in_pieces(parts: Iterable[Tensor], most: float) -> Iterator[Tensor]:
    """Neighbours joined until they hold ``most`` values or more."""
    held: list[Tensor] = []
    for part in parts:
        held.append(part)
        if sum(tensor.numel() for tensor in held) >= most:
            yield torch.cat(held)
            held.clear()
    if held:
        yield torch.cat(held)


def on_device(model: nn.Module, device: str) -> nn.Module:
    """A copy of the network on ``device``, in eval mode; the original is untouched."""
    copied = rebuild(model, lambda tensor: _moved(tensor, device))
    for module in copied.modules():
        module.training = False
    return copied


def _moved(tensor: Tensor, device: str) -> Tensor:
    """A copy with memory of its own."""
    moved = tensor.detach().to(device, copy=True)
    return nn.Parameter(moved, requires_grad=tensor.requires_grad) if isinstance(tensor, nn.Parameter) else moved


def _precision_of(model: nn.Module) -> str:
    floating = (tensor.dtype for tensor in model.parameters() if tensor.is_floating_point())
    return str(next(floating, torch.float32)).removeprefix("torch.")


def dense_outputs(engine: Engine, batch_size: int) -> Tensor:
    """The unpruned network's outputs on all scoring images, with its own statistics."""
    with torch.inference_mode(), engine._precision(), evaluation_mode(engine.model):
        outputs = [engine._primary(engine.model(b)) for b in batches(engine.images.scoring, batch_size)]
        return torch.cat(outputs).float()


def probe(engine: Engine, batch_size: int) -> Probe:
    """The unpruned network's accuracy, with its own statistics and with new ones, on at most 1,024 images each."""
    assert engine.images.labels is not None
    scoring, labels = engine.images.scoring[:PROBE_IMAGES], engine.images.labels[:PROBE_IMAGES]
    model = on_device(engine.model, engine.device)
    right = [_right(engine, model, scoring, labels, batch_size)]
    if engine.has_statistics:
        engine.settings.calibrator(model, batches(engine.images.calibration[:PROBE_IMAGES], batch_size))
    right.append(_right(engine, model, scoring, labels, batch_size))
    return make_probe(right[0], right[-1], engine.example.shape[1])


def _right(
    engine: Engine, model: nn.Module, scoring: Tensor, labels: Tensor, batch_size: int
) -> NDArray[np.bool_]:  # fmt: skip
    """Which answers are right, in eval mode."""
    with torch.inference_mode(), engine._precision(), evaluation_mode(model):
        logits = torch.cat([engine._primary(model(batch)) for batch in batches(scoring, batch_size)])
    return (logits.argmax(1) == labels).cpu().numpy().astype(bool)
