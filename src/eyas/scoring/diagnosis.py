"""What a race says of its winner, and what became of it, in words: pure functions of numbers.

Three questions: is the winner predicted to beat uniform widths; did it, after the same fine-tuning; and do scores
predict at this budget for this network, or what to do where they do not.
"""

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

from eyas.scoring.diagnostics import LITTLE_AGREEMENT, lowest_tau

if TYPE_CHECKING:
    from eyas.scoring.race.score_table import ScoreTable

DEVIATIONS = 3.0
"""Standard errors of a lead that is no chance: more than the usual two, since the winner was chosen among many and on
some of the same images."""
FEW_MACS = 0.35
"""Share of the dense MACs up to which untrained scores are doubted. Measured (docs/scoring.md, "How well it
predicts", ResNet-20, 40 candidates, l1_norm): tau of cross-entropy with trained accuracy 0.69 at 0.5, 0.17 at 0.25."""
FEWEST_MACS = 0.2
"""Share of the dense MACs below which scores of refitted candidates are doubted, for want of a measurement: tau of
`dense_probe` with trained accuracy 0.63 at 0.5 and 0.70 at 0.25 (docs/scoring.md, ResNet-20, 24 candidates)."""
MANY_AT_CHANCE = 0.25
"""Share of candidates at chance level beyond which untrained scores are doubted. Measured on 256 images: none of those
40 candidates at 0.5 of the MACs, 0.62 of them at 0.25; of 100 with the default floor (docs/scoring.md, "What the report
warns of") none at 0.5, 0.01 at 0.35, 0.48 at 0.25."""

TRAIN_BESIDE = "train uniform widths beside the winner"
"""How the advice begins that is followed where both were fine-tuned."""

Standing = Literal["ahead", "behind", "undecided"]


def diagnose(table: "ScoreTable", *, macs_share: float, uniform_in_band: bool) -> tuple[str, ...]:
    """Whether the winner is predicted to beat uniform widths; and advice, where scores say little.

    Args:
        table: of a race that knows its candidate of uniform widths.
        macs_share: MACs of the winner as a share of the dense network's.
        uniform_in_band: whether any uniform widths meet the budget.
    """
    lines = [prediction(table.diagnostics.get("uniform"), uniform_in_band=uniform_in_band)]
    rungs = table.settings["rungs"]
    if not any(rung.get("steps") for rung in rungs):
        refitted = any(rung.get("steps") is not None for rung in rungs)
        lines += advice(macs_share, table.diagnostics, refitted=refitted)
    return tuple(lines)


def standing(lead: float, error: float) -> Standing:
    """Of the winner beside uniform widths, from its mean lead in score and the standard error of that."""
    if abs(lead) <= DEVIATIONS * error or not math.isfinite(lead):
        return "undecided"
    return "ahead" if lead > 0 else "behind"


def prediction(uniform: Mapping[str, Any] | None, *, uniform_in_band: bool = True) -> str:
    """Whether the winner is predicted to beat uniform widths.

    Args:
        uniform: what the race measured of them (``table.diagnostics["uniform"]``); None where it had no such candidate.
        uniform_in_band: whether any uniform widths meet the budget.
    """
    if not uniform_in_band:
        held = "no uniform widths meet `budget`, so that the winner is held against none"
        return f"{held}: widen `tolerance`, if widths alone reach it"
    if uniform is None:
        return "uniform widths were not raced, so that nothing is predicted of them"
    if "lead" not in uniform:
        return "the winner keeps uniform widths: no other candidate is predicted to beat them"
    lead, error = (math.nan if uniform[name] is None else uniform[name] for name in ("lead", "lead_error"))
    if not math.isfinite(lead):
        return "uniform widths have no finite score, so that nothing is predicted of them"
    deviations = abs(lead) / error if error else math.inf if lead else 0.0
    more = "less" if lead < 0 else "more"
    measured = (
        f"it scores {abs(lead):.3g} {more} on the same {uniform['lead_images']:,} images, {deviations:.1f} standard "
        "errors of the paired difference"
    )
    return {
        "ahead": f"the winner is predicted to beat uniform widths: {measured}",
        "behind": f"the winner is predicted to stay behind uniform widths: {measured}; they left the race on rung "
        f"{uniform['rung'] + 1}: give `rungs` more images, or let more candidates go on",
        "undecided": f"it is undecided whether the winner beats uniform widths: {measured}, where more than "
        f"{DEVIATIONS:g} would decide",
    }[standing(lead, error)]


def advice(macs_share: float, numbers: Mapping[str, Any], *, refitted: bool) -> Iterator[str]:
    """Why scores of untrained networks are to be doubted at this budget, and what to do; nothing where they are not.

    Args:
        macs_share: MACs of the winner as a share of the dense network's.
        numbers: diagnostics of the race.
        refitted: whether candidates were judged as their refit leaves them.
    """
    reasons = []
    at_chance, tau = numbers.get("at_chance") or 0.0, lowest_tau(numbers)
    if at_chance > MANY_AT_CHANCE:
        reasons.append(f"{at_chance:.0%} of the candidates answer no better than chance before training")
    if macs_share <= FEW_MACS and not refitted:
        reasons.append("where it was measured they ordered networks well at half of the MACs, and badly at a quarter")
    if macs_share < FEWEST_MACS and refitted:
        reasons.append("where it was measured, a quarter was the least")
    if tau < LITTLE_AGREEMENT:
        reasons.append(f"ranks hardly agree between rungs (Kendall tau {tau:.2f})")
    if reasons:
        yield (
            f"at {macs_share:.0%} of the MACs scores of untrained networks may not predict accuracy after training: "
            f"{'; '.join(reasons)}. {'End' if refitted else 'Refit candidates before they are judged, and end'} "
            "`rungs` in some with a few training steps, and train the winner longer or in several cuts"
        )
        yield f"{TRAIN_BESIDE} (`uniform`), which tells whether it beats them"


def outcome(
    measured: str, details: str, interval: tuple[float, float], *, predicted: Standing, trained: bool = True
) -> str:
    """Whether the winner beat uniform widths on test images.

    Args:
        measured: what the winner does better or worse on them, as a verb and its object.
        details: what the difference is made of.
        interval: where the true difference lies.
        predicted: how they stood in the race.
        trained: whether both were fine-tuned.
    """
    low, high = interval
    came: Standing = "ahead" if low > 0 else "behind" if high < 0 else "undecided"
    after = "after the same fine-tuning" if trained else "without fine-tuning"
    points = " to ".join(f"{100 * end:+.2f}".replace("-", "\N{MINUS SIGN}") for end in interval)
    measured = f"it {measured} ({details}; 95 % interval {points} points)"
    text = {
        "ahead": f"{after} the winner beats uniform widths: {measured}",
        "behind": f"{after} the winner stays behind uniform widths: {measured}",
        "undecided": f"{after} it is undecided whether the winner beats uniform widths: {measured}",
    }[came]
    if {came, predicted} == {"ahead", "behind"}:
        text += "; scores had predicted the opposite: at this budget they do not predict for this network"
    elif came == predicted != "undecided":
        text += ", as predicted"
    return text
