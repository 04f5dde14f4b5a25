"""What an adapted version must hold: it is for the field, and the test images are not of the field."""

import json
import re
from collections.abc import Sequence
from dataclasses import replace

from eyas.config import PipelineParams
from eyas.operations.adapted_decision import ADAPTATION as GATE
from eyas.operations.gate import Gate, percent, points
from eyas.operations.promote_params import PromoteParams
from eyas.operations.tracking import Version
from eyas.operations.tracking.adaptation_run import ADAPTED_FROM

ADAPTATION = "eyas.adaptation"
"""Tag of an adapted version: what the adaptation was made of and came to, as JSON."""
FIELD_ACCURACY, BY_LABELS = "field_accuracy", "by_labels"
"""In that tag: without and with adaptation on the field's labelled images; whether their labels decided."""
_LIMIT = re.compile(r": (needs at least|allowed at most) \S+ (points|%)")
_LOSS = re.compile(r"^loss of (.+) against the dense network (?=\d)(\S+ points)")
_NEGATIVE_GAIN = re.compile("^gain over the champion \N{MINUS SIGN}(\\S+ points)")
_REPLACED = re.compile(r" \(promote\.(max_drop|min_agreement|preset|min_gain)\)")


def limits_for(version: Version, params: PipelineParams) -> PromoteParams:
    """The limits of ``promote``; an adapted version may lose on the test images what it may lose on its canary.

    What it gains, it gains on images of the field, which the rule of the adaptation has judged.
    """
    if ADAPTED_FROM not in version.tags:
        return params.promote
    lost, promote = params.adapt.rule.max_canary_loss, params.promote
    limits = {
        "max_drop": None if promote.max_drop is None else lost,
        "min_agreement": None if promote.min_agreement is None else 1 - lost,
        "preset": None,
        "min_gain": -lost,
    }
    return promote.model_copy(update=limits)


def named_for(version: Version, gates: Sequence[Gate]) -> tuple[Gate, ...]:
    """Gates in the words of the field that limits this version, see :func:`limits_for`."""
    if ADAPTED_FROM not in version.tags:
        return tuple(gates)
    return tuple(replace(gate, reason=_reworded(gate)) for gate in gates)


def _reworded(gate: Gate) -> str:
    lost = {"drop": gate.limit, "gain": 0 - gate.limit, "agreement": 1 - gate.limit}
    if gate.name not in lost:
        return gate.reason
    words = (
        f": an adapted version may lose up to {points(lost[gate.name])} on test images, which are not of the field "
        "(adapt.rule.max_canary_loss)"
    )
    lost_words = _NEGATIVE_GAIN.sub(r"loses \1 against the champion", gate.reason)
    lost_words = _LOSS.sub(r"loses \2 of \1 against the dense network", lost_words)
    return _REPLACED.sub("", _LIMIT.sub(words, lost_words, count=1))


def adaptation_gates(version: Version) -> tuple[Gate, ...]:
    """What the rule said when the version was made; nothing of a version that was not adapted."""
    if ADAPTED_FROM not in version.tags:
        return ()
    record = json.loads(version.tags[ADAPTATION])
    words = f"on {record['images']} images of the field the rule said {record['verdict']}"
    return (Gate(GATE, float(record["keep"]), 1.0, bool(record["keep"]), words),)


def gain_words(version: Version) -> str:
    """What is known of an adapted version's gain in the field; empty of one that was not adapted."""
    if ADAPTED_FROM not in version.tags:
        return ""
    record = json.loads(version.tags[ADAPTATION])
    if not record.get("labelled"):
        return "what it gains in the field was not measured, since no image there had a label"
    if not record.get(FIELD_ACCURACY):  # recorded by an older eyas
        return "images of the field had labels"
    was, now = record[FIELD_ACCURACY]
    decided = "labels decided" if record[BY_LABELS] else "labels were too few to decide"
    change = f"{points(abs(now - was))} {'won' if now >= was else 'lost'}"
    return (
        f"{decided}: on {record['images']:,} images of the field accuracy is {percent(now)}, {percent(was)} without "
        f"adaptation ({change})"
    )
