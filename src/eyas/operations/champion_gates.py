"""Gates against the champion: single limits, and the presets, which say what makes a candidate worth its place."""

import math
from collections.abc import Iterator
from dataclasses import replace

from eyas.operations.gate import Gate, at_most, not_above
from eyas.operations.measured_network import MIN_SAVING, MeasuredNetwork, churn, compare_answers, gain
from eyas.operations.promote_params import Preset, PromoteParams


def gates_against(params: PromoteParams, candidate: MeasuredNetwork, champion: MeasuredNetwork) -> Iterator[Gate]:
    """Every gate that needs a champion."""
    if params.max_churn is not None:
        yield at_most("churn", churn(candidate, champion), params.max_churn, "share of changed answers")
    if params.min_gain is not None:
        yield _gain(params, candidate, champion, params.min_gain)
    if params.rule is not None:
        yield from _preset(params.rule, params, candidate, champion)


def _preset(
    rule: Preset, params: PromoteParams, candidate: MeasuredNetwork, champion: MeasuredNetwork
) -> Iterator[Gate]:
    better = _gain(params, candidate, champion, 0.0)
    if rule == "better":
        yield better
    elif rule == "not_worse_and_smaller":
        yield from (_not_worse(params, candidate, champion), _smaller(candidate, champion))
    elif rule == "not_worse_and_faster":
        yield from (_not_worse(params, candidate, champion), _faster(candidate, champion))
    else:
        smaller = tuple(_preset("not_worse_and_smaller", params, candidate, champion))
        if better.passed:
            yield better
        elif all(gate.passed for gate in smaller):
            yield from smaller
        else:
            others = ", ".join(gate.reason for gate in smaller if not gate.passed)
            yield replace(better, reason=f"{better.reason}; nor is it as good and smaller: {others}")


def _gain(params: PromoteParams, candidate: MeasuredNetwork, champion: MeasuredNetwork, least: float) -> Gate:
    difference, error = gain(candidate, champion)
    limit = least + params.standard_errors * error
    better = least < 0 or not not_above(difference, 0.0)
    reason = (
        f"gain over the champion {difference:+.4f} with standard error {error:.4f}: needs at least {limit:+.4f} "
        f"({least:+g} and {params.standard_errors:g} standard errors)" + ("" if better else ", and more than 0")
    )
    return Gate("gain", difference, limit, better and not_above(limit, difference), reason)


def _not_worse(params: PromoteParams, candidate: MeasuredNetwork, champion: MeasuredNetwork) -> Gate:
    """Non-inferiority: the lower end of the paired interval of the gain is no lower than the margin."""
    counts = compare_answers(candidate, champion)
    low, _ = counts.interval(params.standard_errors)
    reason = (
        f"gain over the champion {counts.difference:+.4f}, {counts.gained} images gained and {counts.lost} lost of "
        f"{counts.images:,}: at worst {low:+.4f} ({params.standard_errors:g} standard errors lower), allowed at worst "
        f"{-params.margin:+g}"
    )
    return Gate("not_worse", low, -params.margin, not_above(-params.margin, low), reason)


def _smaller(candidate: MeasuredNetwork, champion: MeasuredNetwork) -> Gate:
    shares = candidate.sizes_against(champion)
    words = " and ".join(f"{share:.1%} of the champion's {name}" for name, share in shares.items()) or "a size unknown"
    passed, limit = candidate.smaller_than(champion), 1 - MIN_SAVING
    reason = f"has {words}: needs at most {limit:.0%} of one and less than {1 + MIN_SAVING:.0%} of the other"
    return Gate("smaller", min(shares.values(), default=math.nan), limit, passed, reason)


def _faster(candidate: MeasuredNetwork, champion: MeasuredNetwork) -> Gate:
    own, other = candidate.times, champion.times
    reason = (
        f"three quarters of the runs take up to {own.q75:.4g} ms (median {own.median:.4g}): needs less than the "
        f"champion's first quarter, {other.q25:.4g} ms (median {other.median:.4g})"
    )
    return Gate("faster", own.q75, other.q25, own.surely_faster_than(other), reason)
