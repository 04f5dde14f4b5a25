"""A checkpoint needs test images that it has not seen: else no comparison with it would be true."""

import os

from eyas.config.stages import BaselineParams, FetchParams
from eyas.errors import ParameterError

REGISTERED = "models:/"
WAYS_OUT = {
    "fetch.test: ADDRESS": "a test set that the checkpoint has not seen (`included`: the one that fetch.train brings)",
    "baseline.seen_by_checkpoint: false": "if it is known that the checkpoint has seen no image of fetch.train",
    "fetch.test: from_train": "go on, with every accuracy of dense and pruned network marked as not comparable",
}


def require_test_set(fetch: FetchParams, baseline: BaselineParams) -> None:
    """Refuse a checkpoint whose test images would be cut from what it may have been trained on.

    Of a registered version the images that it was made with are known: the baseline compares them.

    Raises:
        ParameterError: names the three ways out.
    """
    checkpoint, seen = baseline.checkpoint, baseline.seen_by_checkpoint
    if checkpoint is None or fetch.test is not None or seen is False:
        return
    if os.path.expandvars(checkpoint).startswith(REGISTERED):
        return
    trained = "was trained on (baseline.seen_by_checkpoint)" if seen else "may have been trained on"
    lines = [
        "  fetch.test is left out and baseline.checkpoint given: the test images would be cut from fetch.train, which",
        f"  the checkpoint {trained}, and accuracies on them would not compare. Three ways out:",
        *(f"    {setting:37} {meaning}" for setting, meaning in WAYS_OUT.items()),
    ]
    raise ParameterError("\n".join(lines))
