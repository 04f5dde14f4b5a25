"""Making a latency profile for a command: what it writes, and what it says of it."""

import sys
from pathlib import Path

from eyas.deploy.latency.alignment import aligned_steps
from eyas.deploy.latency.device_profile import profile
from eyas.deploy.latency.latency_model import LatencyModel
from eyas.deploy.latency.profile_plan import write_plan
from eyas.pruning.space import SearchSpace


def profile_space(
    space: SearchSpace, *, cache: Path, out: Path, plan: Path | None, runtime: str, threads: int, batch: int
) -> str:
    """Write a table for this device, or a plan for another; returns what to say of it.

    Args:
        space: of the network.
        cache: folder that keeps what was measured.
        out: the table to write.
        plan: folder for a plan; nothing is measured then.
        runtime: in which the layers are measured.
        threads: of the runtime.
        batch: images per run.
    """
    if plan is not None:
        entries = write_plan(space, plan)["entries"]
        points = sum(len(entry["in"]) * len(entry["out"]) for entry in entries)
        return (
            f"{plan}: {len(entries)} layers, {points} models. Carry it to the device, and there: "
            f"python eyas_profile.py {plan.name} --out device.json"
        )
    table = profile(space, runtime=runtime, threads=threads, batch=batch, cache=cache, progress=_show)
    table.write(out)
    model = LatencyModel(space, table)
    lines = [f"{out}: {table.where}", f"dense network: {model.dense_ms:.3f} ms"]
    if model.fit:
        lines.append(
            f"sum of layers against {model.fit.n} whole networks: rank correlation {model.fit.rank_correlation:.3f}, "
            f"error {model.fit.residual_of_sum:.1%}, {model.fit.residual:.1%} by the line (median)"
        )
    steps = ", ".join(f"{name} {step}" for name, step in aligned_steps(model).items())
    return "\n".join([*lines, f"widths are best multiples of (round_to: auto): {steps}"])


def _show(done: int, total: int, text: str = "") -> None:
    """One line that moves, where somebody watches."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r{done} of {total} {text}" + "\n" * (done == total))
        sys.stderr.flush()
