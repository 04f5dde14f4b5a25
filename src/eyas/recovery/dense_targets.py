"""What the dense network makes on the calibration images: outputs of layers before normalisation, and its answers."""

from collections.abc import Container
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from eyas.calibration.batchnorm import evaluation_mode
from eyas.calibration.recalibrate import like_weights
from eyas.pruning.activations import with_own_buffers
from eyas.pruning.layer_calls import LayerCall, WatchedCalls
from eyas.pruning.output_paths import output_leaves
from eyas.recovery.base import Recovery
from eyas.recovery.sampled_outputs import SampledOutputs, first_held_out


@dataclass
class DenseTargets:
    """Made by :meth:`record`; serves any number of pruned networks."""

    held_out: float
    outputs: dict[str, list[SampledOutputs]] = field(default_factory=dict)
    """By weight, in order of execution: of each call."""
    answers: list[Tensor] = field(default_factory=list)
    grouped: set[str] = field(default_factory=set)
    """Weights of grouped convolutions."""
    used_otherwise: set[str] = field(default_factory=set)
    """Parameters that something else than a layer call was computed from."""
    normalised: set[str] = field(default_factory=set)
    """Weights whose outputs go into batch-norm and nowhere else: their means do not matter."""

    @classmethod
    @torch.no_grad()
    def record(cls, model: nn.Module, images: Tensor, weights: Container[str], recovery: Recovery) -> "DenseTargets":
        """One pass of the dense network in eval mode, with all images at once; the network stays as it was."""
        targets = cls(recovery.held_out)

        def record(call: LayerCall) -> Tensor:
            output = call()
            if call.arguments.get("groups", 1) > 1:
                targets.grouped.add(call.name)
            elif call.name in weights:
                sampled = SampledOutputs.of(
                    call, output, rows_per_feature=recovery.rows_per_feature, held_out=recovery.held_out
                )
                targets.outputs.setdefault(call.name, []).append(sampled)
            return output

        watched = with_own_buffers(model)
        calls = WatchedCalls(watched, record)
        with evaluation_mode(watched), calls:
            targets.answers = _floats(watched(like_weights(model, images)))
        targets.used_otherwise, targets.normalised = calls.used_otherwise, calls.normalised
        return targets

    def error(self, answer: object) -> float:
        """Squared difference of an answer on held-out images, relative to the squares of the dense network's."""
        difference = square = 0.0
        for actual, dense in zip(_floats(answer), self.answers, strict=True):
            first = first_held_out(len(dense), self.held_out)
            expected = dense[first:].to(actual.device, torch.float64)
            difference += float((actual[first:].double() - expected).square().sum())
            square += float(expected.square().sum())
        return difference / square if square else difference


def _floats(answer: object) -> list[Tensor]:
    return [tensor.detach() for _, tensor in output_leaves(answer) if tensor.is_floating_point()]
