"""A network cut into parts behind modules that all its paths pass, so that each part can be run by itself."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn

from eyas.calibration.batchnorm import batch_norms, evaluation_mode

Visit = Callable[[int, Tensor], Tensor | None]
"""What is done at the end of a part: its number and its output; what it returns takes the output's place."""


class NetworkParts:
    """The parts of a network; the last one, from the last cut to the answer, is not counted.

    Args:
        model: with frozen parameters.
        cuts: its modules at whose outputs parts end, in the order of the calls, see :func:`cut_points`.
    """

    def __init__(self, model: nn.Module, cuts: list[nn.Module]) -> None:
        self.model, self.cuts = model, cuts

    @contextmanager
    def visited(self, visit: Visit) -> Iterator[None]:
        """Every pass through the network calls ``visit`` at the end of each part."""
        hooks = [
            cut.register_forward_hook(partial(_at_end, number=number, visit=visit))
            for number, cut in enumerate(self.cuts)
        ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def run(self, images: Tensor, number: int, inputs: Tensor) -> Tensor:
        """The output of one part, or with ``number = len(cuts)`` the answer.

        What lies before the part is computed again, without a graph, and nothing behind it.

        Args:
            images: which have led to the inputs.
            number: of the part; it begins at cut ``number - 1``, the first at the images.
            inputs: of the part; gradients go back to them.
        """
        reached: list[Tensor] = []

        def visit(at: int, output: Tensor) -> Tensor | None:
            if at == number:
                reached.append(output)
                raise _Reached
            return inputs.clone() if at == number - 1 else None  # what follows may change it in place

        with self.visited(visit):
            try:
                answer: Tensor = self.model(images)
            except _Reached:
                return reached[0]
        return answer


class _Reached(Exception):  # noqa: N818  no error: the part's end
    """Nothing behind a part has to be computed."""


def _at_end(_module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor, *, number: int, visit: Visit) -> object:
    return visit(number, output)


def cut_points(model: nn.Module, images: Tensor, count: int) -> list[nn.Module]:
    """At most ``count`` modules that all paths pass, behind about equally many batch-norm layers each.

    They are called once, hold batch-norm and give one tensor ``(N, C, H, W)``: residual blocks and stages, and
    batch-norm outside of them.

    Args:
        model: with frozen parameters; looked at in eval mode.
        images: that go through it, ``(N, C, H, W)``.
        count: of the parts that are asked for.
    """
    depths, norms = _depths(model, images)
    passed = {module: depth for module, depth in depths.items() if all_paths_pass(model, module, images)}
    cuts: list[nn.Module] = []
    for number in range(1, count + 1):
        deep = (module for module, depth in passed.items() if depth >= math.ceil(number * norms / count))
        cut = next(deep, None)
        if cut is not None and cut not in cuts:
            cuts.append(cut)
    return cuts


@torch.no_grad()
def _depths(model: nn.Module, images: Tensor) -> tuple[dict[nn.Module, int], int]:
    """Modules that may end a part, in the order of their ends, with the calls of batch-norm until then; and of all."""
    norms = set(batch_norms(model))
    calls: list[nn.Module] = []
    ends: list[tuple[nn.Module, int, Tensor]] = []

    def note(module: nn.Module, _inputs: tuple[object, ...], output: object) -> None:
        calls.append(module)
        if isinstance(output, Tensor) and output.ndim == 4:
            depth = sum(called in norms for called in calls)
            if ends and ends[-1][2] is output:
                ends.pop()  # of a module inside this one, which ends with it
            ends.append((module, depth, output))

    holders = [module for module in model.modules() if norms & set(module.modules())]
    hooks = [module.register_forward_hook(note) for module in holders]
    try:
        with evaluation_mode(model):
            model(images)
    finally:
        for hook in hooks:
            hook.remove()
    once = {module: depth for module, depth, _ in ends if calls.count(module) == 1}
    return once, sum(called in norms for called in calls)


def all_paths_pass(model: nn.Module, module: nn.Module, images: Tensor) -> bool:
    """Whether the answer depends on the images by the module's output alone: cut there, no gradient comes back.

    Args:
        model: with frozen parameters; looked at in eval mode.
        module: that gives one tensor.
        images: that go through it, ``(N, C, H, W)``.
    """
    hook = module.register_forward_hook(lambda _module, _inputs, output: output.detach())
    try:
        with torch.enable_grad(), evaluation_mode(model):
            answer: Tensor = model(images.detach().clone().requires_grad_())
    finally:
        hook.remove()
    return not answer.requires_grad
