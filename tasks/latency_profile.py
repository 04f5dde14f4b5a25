"""The latency profile among the stages: what ``sample.latency_profile`` names."""

from pathlib import Path

from eyas.config import SampleParams
from eyas.deploy.latency import LatencyModel, LatencyTable
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
