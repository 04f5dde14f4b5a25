"""The latency profile among the stages: what ``sample.latency_profile`` names, and the multiples that it shows."""

from pathlib import Path

from eyas.config import SampleParams
from eyas.deploy.latency import LatencyModel, LatencyTable
from eyas.deploy.latency.alignment import aligned_steps
from eyas.errors import ParameterError
from eyas.pruning.space import SearchSpace


def latency_model(space: SearchSpace, params: SampleParams, base: Path = Path()) -> LatencyModel:
    """What predicts milliseconds for a search space; a relative path starts at ``base``.

    Raises:
        ParameterError: no profile is named.
        DataError: the file is no profile, or lacks a layer of the network.
    """
    if params.latency_profile is None:
        msg = "sample.latency_profile is not set: name what `eyas profile --out device.json` wrote"
        raise ParameterError(msg)
    return LatencyModel(space, LatencyTable.read(base / params.latency_profile))


def rounded(space: SearchSpace, params: SampleParams, base: Path = Path()) -> SearchSpace:
    """The search space with widths as the profile shows them to be fast, where ``round_to`` is ``auto``."""
    if params.round_to != "auto":
        return space
    return space.rounded(aligned_steps(latency_model(space, params, base)))
