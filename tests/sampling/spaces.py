"""Search spaces by arithmetic alone: a chain of 3x3 convolutions, its cost written out as loops elsewhere."""

from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np

from eyas.sampling.error_table import ErrorTable
from eyas.sampling.width_trajectory import WidthTrajectory


@dataclass(frozen=True)
class Group:
    name: str
    channels: int
    step: int = 1
    layers: tuple[str, ...] = ()


class Chain:
    """conv(3 -> w0) on side x side, conv(w0 -> w1) on half of it, ..., linear(w_last -> 10)."""

    def __init__(self, channels, *, step=1, side=32, min_width=1):
        self.groups = tuple(Group(f"g{i}", c, step) for i, c in enumerate(channels))
        self.sides = [max(side >> (3 * i // len(channels)), 1) for i in range(len(channels))]
        self.min_width = min_width
        self.blocks = ()

    def legal_widths(self, group):
        return [w for w in range(group.step, group.channels + 1, group.step) if w >= self.min_width]

    def costs(self, widths):
        full = np.concatenate([np.full((len(widths), 1), 3), widths, np.full((len(widths), 1), 10)], 1).astype(float)
        weights = np.array([9.0] * len(self.groups) + [1.0])
        areas = np.array([s * s for s in self.sides] + [1.0])
        params = (full[:, :-1] * full[:, 1:]) @ weights
        macs = (full[:, :-1] * full[:, 1:]) @ (weights * areas)
        return SimpleNamespace(macs=macs, params=params, activation_bytes=widths @ areas[:-1] * 4)

    def cost(self, widths=None):
        row = [g.channels for g in self.groups] if widths is None else [widths[g.name] for g in self.groups]
        costs = self.costs(np.array([row]))
        return SimpleNamespace(**{k: v[0] for k, v in vars(costs).items()})


def macs_by_hand(space, row):
    """The same in plain loops."""
    total, inputs = 0, 3
    for width, side in zip(row, space.sides, strict=True):
        total += inputs * int(width) * 9 * side * side
        inputs = int(width)
    return total + inputs * 10


def params_by_hand(space, row):
    """Weights of every layer, in plain loops."""
    total, inputs = 0, 3
    for width in row:
        total += inputs * int(width) * 9
        inputs = int(width)
    return total + inputs * 10


def activation_bytes_by_hand(space, row):
    """Four bytes for each output of every convolution."""
    return sum(4 * int(width) * side * side for width, side in zip(row, space.sides, strict=True))


def error_table(space, levels=9):
    """Convex curves, deeper groups less sensitive; what ``Sampler.measure`` would find of no real network."""
    widths, errors = [], []
    for number, group in enumerate(space.groups):
        legal = np.array(space.legal_widths(group))
        chosen = legal[np.unique(np.rint(np.linspace(0, len(legal) - 1, levels)).astype(int))]
        widths.append(chosen.tolist())
        errors.append(((1 - chosen / group.channels) ** 2 / (1 + number)).tolist())
    return ErrorTable.from_json({"widths": widths, "errors": errors})


def learned_widths(space):
    """Three points around half of all channels, deeper groups wider; no training went through them."""
    dense = [group.channels for group in space.groups]
    shares = [np.linspace(low, 0.75, len(dense)) for low in (0.5, 0.55, 0.6)]
    rows = [np.maximum(np.rint(share * dense), 1).astype(int).tolist() for share in shares]
    return WidthTrajectory.from_json({"dense": dense, "widths": rows})


def known(sampler, space):
    """What ``ask`` takes beside space and budget."""
    if not sampler.needs_table:
        return {}
    return {"table": learned_widths(space) if sampler.trains else error_table(space)}
