"""What an adapted version must hold: it is for the field, and the test images are not of the field."""

import json

from eyas.config import PipelineParams
from eyas.operations.gate import Gate
from eyas.operations.promote_params import PromoteParams
from eyas.operations.tracking import Version
from eyas.operations.tracking.adaptation_run import ADAPTED_FROM

ADAPTATION = "eyas.adaptation"
"""Tag of an adapted version: what the adaptation was made of and came to, as JSON."""


def limits_for(version: Version, params: PipelineParams) -> PromoteParams:
    """The limits of ``promote``; an adapted version may lose on the test images what it may lose on its canary.

    What it gains, it gains on images of the field, which the rule of the adaptation has judged.
    """
    if ADAPTED_FROM not in version.tags:
        return params.promote
    lost = params.adapt.rule.max_canary_loss
    limits = {"max_drop": lost, "min_agreement": 1 - lost, "preset": None, "min_gain": -lost}
    return params.promote.model_copy(update=limits)


def adaptation_gates(version: Version) -> tuple[Gate, ...]:
    """What the rule said when the version was made; nothing of a version that was not adapted."""
    if ADAPTED_FROM not in version.tags:
        return ()
    record = json.loads(version.tags[ADAPTATION])
    words = f"on {record['images']} images of the field the rule said {record['verdict']}"
    return (Gate("adaptation", float(record["keep"]), 1.0, bool(record["keep"]), words),)
