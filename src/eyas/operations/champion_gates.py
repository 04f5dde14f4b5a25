"""Gates against the champion: single limits, and the presets, which say what makes a candidate worth its place."""

import math
from collections.abc import Iterator
from dataclasses import replace

from eyas.operations.gate import Gate, at_most, not_above, percent
from eyas.operations.measured_network import MIN_SAVING, MeasuredNetwork, churn, compare_answers
from eyas.operations.paired_counts import about
from eyas.operations.paired_difference import PairedDifference
from eyas.operations.promote_params import Preset, PromoteParams


def gates_against(params: PromoteParams, candidate: MeasuredNetwork, champion: MeasuredNetwork) -> Iterator[Gate]:
    """Every gate that needs a champion."""
    if params.max_churn is not None:
        changed = churn(candidate, champion)
        words = "share of answers that are not the champion's"
        yield at_most("churn", changed, params.max_churn, words, field="max_churn", shown=percent)
    if params.min_gain is not None:
        yield _told(_gain(params, candidate, champion, params.min_gain), "min_gain")
    if params.rule is not None:
        yield from (_told(gate, "preset") for gate in _preset(params.rule, params, candidate, champion))


def _told(gate: Gate, field: str) -> Gate:
    """With the field to change, where it did not hold and names none."""
    silent = gate.passed or "promote." in gate.reason
    return gate if silent else replace(gate, reason=f"{gate.reason} (promote.{field})")


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
        same, smaller = _preset("not_worse_and_smaller", params, candidate, champion)
        if better.passed:
            yield better
        elif smaller.passed:
            yield from (same, smaller)
        else:
            yield replace(better, reason=f"{better.reason}; nor is it smaller: {smaller.reason}")


def gain_at_worst(params: PromoteParams, counts: PairedDifference) -> float:
    """The gain less its standard errors: the lower end of the paired interval; without any, the gain as measured."""
    return counts.interval(params.standard_errors)[0] if params.standard_errors else counts.difference


def _gain(params: PromoteParams, candidate: MeasuredNetwork, champion: MeasuredNetwork, least: float) -> Gate:
    """Superiority: at worst, too, it gains as much; one image more is a gain as measured, and none at worst."""
    counts = compare_answers(candidate, champion)
    low = gain_at_worst(params, counts)
    better = least < 0 or not not_above(counts.difference, 0.0)
    passed, reason = better and not_above(least, low), _at_worst(params, counts, least)
    return Gate("gain", low, least, passed, reason + ("" if better else ", and a gain above 0"))


def _not_worse(params: PromoteParams, candidate: MeasuredNetwork, champion: MeasuredNetwork) -> Gate:
    """Non-inferiority: the lower end of the paired interval of the gain is no lower than the margin."""
    counts, least = compare_answers(candidate, champion), 0.0 - params.margin
    low = gain_at_worst(params, counts)
    passed, reason = not_above(least, low), _at_worst(params, counts, least)
    if not passed and not_above(least, counts.difference):
        reason += f"; promote.margin={math.ceil(-1000 * low - 1e-6) / 1000:g} would allow it"
    return Gate("not_worse", low, least, passed, reason)


def _at_worst(params: PromoteParams, counts: PairedDifference, least: float) -> str:
    """The gain and its limit; where it is missed, by how much, and how many test images would decide."""
    low, errors = gain_at_worst(params, counts), params.standard_errors
    text = (
        f"gain over the champion {_points(counts.difference)} points ({counts.words}), at worst {_points(low)} "
        f"({errors:g} standard error{'' if errors == 1 else 's'} lower): needs at least {_points(least)} points"
    )
    if not not_above(least, low):
        text += f", misses it by {100 * (least - low):.2g}"
        images = max(counts.images_to_reach(least, errors), counts.images + 1)
        text += f"; at these rates {about(images)} test images would decide" if math.isfinite(images) else ""
    return text


def _points(share: float) -> str:
    return f"{100 * share:+.3g}".replace("-", "\N{MINUS SIGN}")


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
