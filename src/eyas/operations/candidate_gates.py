"""Gates that need no champion: a candidate beside its dense network, and limits on its file."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from eyas.data.comparability import Comparability
from eyas.operations import beaten_checkpoint
from eyas.operations.gate import Gate, at_least, at_most, not_compared, percent, points
from eyas.operations.paired_difference import PairedDifference
from eyas.operations.promote_params import PromoteParams

_WITHOUT_DENSE = "judge without it (promote.max_drop: null), or promote by force"


@dataclass(frozen=True)
class CandidateFacts:
    """What was measured of a candidate and of the dense network on the same test images."""

    value: float
    """The candidate's accuracy, mean IoU or, without labels, agreement with the dense network."""
    dense_value: float
    """The same of the dense network."""
    measure: str
    """What these are, in words."""
    labelled: bool
    """Whether the test images have labels."""
    parity: bool
    """Whether the exported file agrees with PyTorch."""
    latency: float
    """Median milliseconds per run."""
    bytes: int
    """Size of the ONNX file."""
    comparability: Comparability
    """Whether neither network has seen the test images."""
    over_checkpoint: PairedDifference | None = None
    """From a checkpoint that was not trained on this data here to the candidate; None where there is none, or the two
    do not compare."""


def candidate_gates(params: PromoteParams, facts: CandidateFacts) -> Iterator[Gate]:
    """Every gate that is asked for and needs no champion."""
    if params.require_parity:
        words = "agrees" if facts.parity else "was not shown to agree"
        yield Gate("parity", float(facts.parity), 1.0, facts.parity, f"the exported file {words} with PyTorch")
    yield from _accuracy(params, facts) if facts.labelled else _agreement(params, facts)
    if params.max_latency is not None:
        words, limit = "median latency", params.max_latency
        yield at_most("latency", facts.latency, limit, words, field="max_latency", shown="{:.4g} ms".format)
    if params.max_bytes is not None:
        words, limit = "size of the file", params.max_bytes
        yield at_most("bytes", facts.bytes, limit, words, field="max_bytes", shown="{:,} bytes".format)


def _accuracy(params: PromoteParams, facts: CandidateFacts) -> Iterator[Gate]:
    comparable, test = facts.comparability.comparable, facts.over_checkpoint
    if params.min_accuracy is not None:
        words = f"test {facts.measure}" + ("" if comparable else ", on images that it may have seen,")
        yield at_least("accuracy", facts.value, params.min_accuracy, words, field="min_accuracy", shown=percent)
    if params.max_drop is not None and not comparable:
        yield not_compared("comparable_with_dense", "the dense network", facts.comparability, _WITHOUT_DENSE)
    elif params.max_drop is not None:
        words, drop = f"loss of {facts.measure} against the dense network", facts.dense_value - facts.value
        yield at_most("drop", drop, params.max_drop, words, field="max_drop", shown=points)
        if test is not None and beaten_checkpoint.is_beaten(test):
            reason = f"{beaten_checkpoint.WORDS} ({test.words}): {beaten_checkpoint.ADVICE}; {_WITHOUT_DENSE}"
            yield Gate("sound_dense", test.interval()[0], beaten_checkpoint.RARE_GAIN, False, reason)


def _agreement(params: PromoteParams, facts: CandidateFacts) -> Iterator[Gate]:
    """What the answers are held to where no test image has a label."""
    if params.min_accuracy is not None:
        way = "give a test set with labels (fetch.test), or leave promote.min_accuracy out"
        yield Gate("accuracy", math.nan, params.min_accuracy, False, f"its accuracy is not known without labels: {way}")
    if params.min_agreement is not None and not facts.comparability.comparable:
        yield not_compared("comparable_with_dense", "the dense network", facts.comparability, _WITHOUT_DENSE)
    elif params.min_agreement is not None:
        words = "agreement with the dense network"
        yield at_least("agreement", facts.value, params.min_agreement, words, field="min_agreement", shown=percent)
