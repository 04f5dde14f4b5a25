"""When an adaptation is kept, and when the network stays, or becomes again, what it was.

Shapes: N images of the field, K classes.
"""

import math
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from eyas.component import Options
from eyas.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from eyas.adaptation.drift.layer_moments import Layers
    from eyas.adaptation.drift.observation import Observation

Share = Annotated[float, Field(ge=0, le=1)]
UNKNOWN = -1
"""Label of an image that has none."""
FEWEST_IMAGES = 8


class RevertRule(Options):
    """What an adapted network must hold; measured in ``docs/adaptation.md``.

    Entropies are shares of ln K, that of equal probabilities. Where an adaptation undoes a shift of the images, answers
    become surer as a whole; where it follows a stream of few classes, answers that were sure lose it.
    """

    sure: Annotated[float, Field(gt=0, lt=1)] = 0.9
    """Probability of the likeliest class from which on the source counts as sure of an image."""
    min_agreement: Share = 0.8
    """Share of the images that the source is sure of that must keep their class."""
    max_sure_entropy_rise: Share = 0.05
    """How much the entropy may rise on those images."""
    excusing_entropy_fall: Share = 0.015
    """Fall over all images from which on the last two are excused: a source may be sure of wrong answers."""
    max_entropy_rise: Share = 0.04
    """How much the entropy may rise over all images."""
    max_class_share: Share = 0.75
    """Largest share of one class among the source's answers: with more, the images are of one class or the source is
    lost, and nothing without labels tells which."""
    max_class_growth: Share = 0.15
    """How much larger the largest share may be among the adapted network's answers: a class that eats the others."""
    max_distance_ratio: Annotated[float, Field(gt=0)] = 1.0
    """Largest distance between what batch-norm layers hold and what the images make them see, after over before."""
    max_canary_loss: Share = 0.6
    """Loss of accuracy on the canary, a share. Wide, since following a strong change costs as much on clean images, and
    more than following a few classes does; set it lower where clean images come in between."""
    alpha: Annotated[float, Field(gt=0, lt=1)] = 0.05
    """How often the test with labels may be wrong in each direction."""


@dataclass(frozen=True)
class Reason:
    """One thing that was looked at."""

    name: str
    holds: bool
    text: str
    """What was measured, and what is allowed."""


@dataclass(frozen=True)
class RevertVerdict:
    """Keep the adapted network, or revert to its source."""

    keep: bool
    sentence: str
    reasons: tuple[Reason, ...]

    def lines(self) -> list[str]:
        """The sentence, and each reason in a line."""
        return [self.sentence, *(f"{'ok  ' if one.holds else 'FAIL'} {one.name}: {one.text}" for one in self.reasons)]


def judge(
    source_model: "nn.Module",
    adapted_model: "nn.Module",
    images: "Tensor",
    canary: "tuple[Tensor, Tensor] | None" = None,
    labels: "Tensor | None" = None,
    *,
    rule: RevertRule = RevertRule(),  # noqa: B008
    batch_size: int = 256,
) -> RevertVerdict:
    """Whether to keep an adapted network, on images of where it works now.

    Called again on later images, it also tells when an adaptation no longer fits: clean images are farther from what an
    adapted network holds than from what its source does.

    Labels decide where they are enough for a sequential test: networks that are worse are reverted, and those that are
    better kept whatever the answers alone say; the canary must hold in any case.

    Args:
        source_model: the network before; "no adaptation" is what it stands for.
        adapted_model: the network after. Both are left as they were.
        images: of the field, normalised floats ``(N, C, H, W)``, at least 8; better ones that were not adapted to.
        canary: images of the training's kind that the source was not trained on, and their labels.
        labels: of ``images``, ``(N,)``, in the order in which they came; -1 where there is none.
        rule: the limits.
        batch_size: images per forward pass.

    Raises:
        DataError: images or labels cannot be used, or both networks do not answer alike.

    Example::

        verdict = judge(model, eyas.adapt(model, images), images, canary=(score_images, score_labels))
        if not verdict.keep:
            print(verdict.sentence)
    """
    from eyas.adaptation.drift.layer_moments import held_moments
    from eyas.adaptation.drift.observation import observe, require_images

    require_images(images, FEWEST_IMAGES)
    models, held = (source_model, adapted_model), (held_moments(source_model), held_moments(adapted_model))
    before, after = (observe(model, images, holds, batch_size) for model, holds in zip(models, held, strict=True))
    _require_alike(before, after)
    reasons = [_class_share(before, rule), _collapse(before, after, rule), *_entropies(before, after, rule)]
    reasons += _distance(before, after, held, rule)
    shown = False
    if labels is not None:
        told, decides = _labelled(before, after, labels, rule)
        reasons, shown = ([told], told.holds) if decides else ([*reasons, told], False)
    if canary is not None:
        reasons.append(_canary(models, canary, rule, batch_size))
    failed = [reason.name for reason in reasons if not reason.holds]
    sentence = f"revert: {', '.join(failed)}" if failed else "keep: nothing speaks for the network without adaptation"
    if shown and not failed:
        sentence = "keep: labels show that it is better than the network without adaptation"
    return RevertVerdict(not failed, sentence, tuple(reasons))


def _require_alike(before: "Observation", after: "Observation") -> None:
    classes = [one.probabilities.shape[1] for one in (before, after)]
    if classes[0] != classes[1]:
        msg = f"`source_model` answers with {classes[0]} classes, `adapted_model` with {classes[1]}: give one network's"
        raise DataError(msg)


def _class_share(before: "Observation", rule: RevertRule) -> Reason:
    share = _largest_share(before)
    text = f"the source takes {share:.0%} of the images for one class (at most {rule.max_class_share:.0%})"
    return Reason("one class", share <= rule.max_class_share, text)


def _collapse(before: "Observation", after: "Observation", rule: RevertRule) -> Reason:
    shares = _largest_share(before), _largest_share(after)
    text = f"the largest class has {shares[1]:.0%} after {shares[0]:.0%} (at most {rule.max_class_growth:.0%} more)"
    return Reason("collapse", shares[1] - shares[0] <= rule.max_class_growth, text)


def _entropies(before: "Observation", after: "Observation", rule: RevertRule) -> list[Reason]:
    """Sureness over all images, and what became of the images that the source was sure of."""
    rises_N = (after.numbers["entropy"] - before.numbers["entropy"]) / math.log(max(before.probabilities.shape[1], 2))
    rise = float(rises_N.mean())
    text = f"changes by {rise:+.3f} of ln K over all images (at most +{rule.max_entropy_rise:g})"
    reasons = [Reason("entropy", rise <= rule.max_entropy_rise, text)]
    sure_N = before.numbers["confidence"] >= rule.sure
    if not bool(sure_N.any()):
        return reasons
    excused, where = -rise >= rule.excusing_entropy_fall, f"of {int(sure_N.sum())} images that the source is sure of"
    agreement = float((before.predicted == after.predicted)[sure_N].double().mean())
    sure_rise = float(rises_N[sure_N].mean())
    kept = f"{agreement:.0%} {where} keep their class (at least {rule.min_agreement:.0%})"
    lost = f"the entropy {where} changes by {sure_rise:+.3f} of ln K (at most +{rule.max_sure_entropy_rise:g})"
    for name, holds, text in (
        ("agreement", agreement >= rule.min_agreement, kept),
        ("sure answers", sure_rise <= rule.max_sure_entropy_rise, lost),
    ):
        excuse = "; excused, since answers became surer as a whole" if excused and not holds else ""
        reasons.append(Reason(name, holds or excused, f"{text}{excuse}"))
    return reasons


def _distance(
    before: "Observation", after: "Observation", held: "tuple[Layers, Layers]", rule: RevertRule
) -> list[Reason]:
    """Mean distance of the layers' statistics from what the images make them see; none where one has no layers."""
    if not before.layers or not after.layers:
        return []
    distances = [
        fmean(holds[name].symmetric_kl(seen) for name, seen in one.layers.items())
        for one, holds in zip((before, after), held, strict=True)
    ]
    text = f"layers are {distances[1]:.3g} from what they hold, {distances[0]:.3g} without adaptation"
    allowed = "" if rule.max_distance_ratio == 1 else f" (at most {rule.max_distance_ratio:g} times)"
    return [Reason("statistics", distances[1] <= rule.max_distance_ratio * distances[0], f"{text}{allowed}")]


def _labelled(before: "Observation", after: "Observation", labels_N: "Tensor", rule: RevertRule) -> tuple[Reason, bool]:
    """What labels say, and whether they are enough to decide."""
    from eyas.adaptation.drift.labels import whole_labels
    from eyas.adaptation.paired_betting import compare_paired

    labels = whole_labels(labels_N, len(before.probabilities), before.probabilities.shape[1], unknown=UNKNOWN)
    known_N = labels != UNKNOWN
    right = [(one.predicted == labels)[known_N] for one in (before, after)]
    evidence = compare_paired(right[0], right[1], rule.alpha)
    told = f"of {evidence.labels} labelled images {evidence.wins} are won and {evidence.losses} lost"
    words = {"open": "which is too few to tell", "better": "which is better", "worse": "which is worse"}
    text = f"{told}, {words[evidence.finding]} (wrong in at most {rule.alpha:.0%})"
    return Reason("labels", evidence.finding != "worse", text), evidence.finding != "open"


def _canary(
    models: "tuple[nn.Module, nn.Module]", canary: "tuple[Tensor, Tensor]", rule: RevertRule, size: int
) -> Reason:
    from eyas.adaptation.drift.labels import whole_labels
    from eyas.adaptation.drift.observation import observe, require_images

    images, labels_N = canary
    require_images(images)
    answers = [observe(model, images, {}, size) for model in models]
    labels = whole_labels(labels_N, len(images), answers[0].probabilities.shape[1])
    accuracies = [float((one.predicted == labels).double().mean()) for one in answers]
    loss = accuracies[0] - accuracies[1]
    lost = f"{100 * abs(loss):.1f} points {'lost' if loss >= 0 else 'won'}"
    text = f"{lost} on {len(images)} clean images (at most {100 * rule.max_canary_loss:g} may be lost)"
    return Reason("canary", loss <= rule.max_canary_loss, text)


def _largest_share(seen: "Observation") -> float:
    return float(seen.counts.max()) / len(seen.probabilities)
