"""Which multiples a group's widths should be, as its layers were measured: ``round_to: auto`` with a profile."""

import math

import numpy as np

from eyas.deploy.latency.latency_model import LatencyModel
from eyas.pruning.widths import LEAST_WIDTHS

STEPS = (1, 2, 4, 8, 16)
GAIN = 0.03
"""Share of the time per channel that a coarser step has to save."""


def aligned_steps(model: LatencyModel) -> dict[str, int]:
    """The multiples that the widths of each group should be, by the group's name.

    The smallest of 1, 2, 4, 8, 16 beyond which no coarser one lowers the group's time per channel by more than 3 %.
    The time per channel at a step: every width of the group rounded to the nearest multiple, all other groups dense;
    milliseconds of the group's layers added up over these widths, divided by their channels. Steps that would leave
    fewer than four widths are not looked at.
    """
    return {group.name: _step(model, number) for number, group in enumerate(model.space.groups)}


def _step(model: LatencyModel, number: int) -> int:
    group = model.space.groups[number]
    usable = [step for step in STEPS if group.channels // math.lcm(step, group.step) >= LEAST_WIDTHS] or [1]
    times = [_per_channel(model, number, step) for step in usable]
    for place, step in enumerate(usable):
        if min(times[place:]) >= (1 - GAIN) * times[place]:
            return step
    return usable[-1]


def _per_channel(model: LatencyModel, number: int, step: int) -> float:
    """Milliseconds per channel where widths are multiples of ``step``."""
    group = model.space.groups[number]
    multiple = math.lcm(step, group.step)
    wanted = np.arange(group.step, group.channels + 1, group.step, dtype=np.int64)
    widths = np.clip(np.rint(wanted / multiple).astype(np.int64) * multiple, multiple, group.channels)
    widths = np.maximum(widths // group.step * group.step, group.step)
    return float(model.of_group(number, widths).sum() / widths.sum())
