"""When an adaptation is kept, and when the network stays, or becomes again, what it was.

Shapes: N images of the field, K classes.
"""

import math
from dataclasses import dataclass, replace
from statistics import fmean

from torch import Tensor, nn

from eyas.adaptation.drift.distinct_images import DistinctImages, copies_left_out
from eyas.adaptation.drift.labels import whole_labels
from eyas.adaptation.drift.layer_moments import Layers, held_moments
from eyas.adaptation.drift.observation import Observation, observe, require_alike, require_images
from eyas.adaptation.named_classes import EntropyRises, Follow, entropy_rises
from eyas.adaptation.paired_betting import compare_paired
from eyas.adaptation.rule_limits import NO_EXCUSE, RevertRule
from eyas.deploy.bundle.class_permutations import class_balance_test

UNKNOWN = -1
"""Label of an image that has none."""
FEWEST_IMAGES = 8
KEPT = "the adapted network is kept"
CHANCE = 0.01
"""Probability from which on shares of classes may be as far apart by chance."""
COMPARING = ("statistics", "labels", "canary")
"""Reasons that tell which network is better, whatever classes the images are of."""
BY_SOURCE = ("one class", "entropy", "agreement", "sure answers")
"""Reasons that take the source's answers for right."""


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
    by_labels: bool = False
    """Labels were enough to decide; else the answers alone did."""

    def lines(self) -> list[str]:
        """The sentence, and each reason in a line."""
        return [self.sentence, *(f"{'ok  ' if one.holds else 'FAIL'} {one.name}: {one.text}" for one in self.reasons)]


def judge(
    source_model: nn.Module,
    adapted_model: nn.Module,
    images: Tensor,
    canary: tuple[Tensor, Tensor] | None = None,
    labels: Tensor | None = None,
    *,
    rule: RevertRule = RevertRule(),  # noqa: B008
    standing: bool = False,
    follow: Follow | None = None,
    batch_size: int = 256,
    output: int | str | None = None,
) -> RevertVerdict:
    """Whether to keep an adapted network, on images of where it works now.

    Called again on later images as ``standing``, it tells when an adaptation no longer fits: clean images are farther
    from what an adapted network holds than from what its source does. Then nothing else is asked without labels but the
    canary: later images may be of a few classes, where answers and shares of classes are others whoever is better.

    Labels decide where they are enough for a sequential test: networks that are worse are reverted, and those that are
    better kept whatever the answers alone say; the canary must hold in any case.

    Args:
        source_model: the network before; "no adaptation" is what it stands for.
        adapted_model: the network after. Both are left as they were.
        images: of the field, normalised floats ``(N, C, H, W)``, at least 8 that differ: of copies the first counts;
            better ones that were not adapted to.
        canary: images of the training's kind that the source was not trained on, and their labels; better as many as
            ``images`` or more, since they also say how frequent classes are.
        labels: of ``images``, ``(N,)``, in the order in which they came; -1 where there is none. Not class by class:
            what is won on the first class alone would decide. An image whose copies have different labels has none.
        rule: the limits.
        standing: the adapted network was kept before and is in use: ``statistics``, ``labels`` and ``canary`` alone
            decide and are among the reasons.
        follow: makes of images a network like the adapted one: ``lambda images: eyas.adapt(model, images, "ada_bn")``.
            With a canary of 256 images or more and 128 ``images`` or more it tells, where the source's answers speak
            against the adaptation, whether these can be right; without it they are taken for right.
        batch_size: images per forward pass.
        output: which of several outputs are the logits; without it ``logits``, ``out`` or the first.

    Raises:
        DataError: images or labels cannot be used, or the networks do not answer alike.
        ParameterError: ``follow`` gives no other network.

    Example::

        verdict = judge(model, eyas.adapt(model, images), images, canary=(score_images, score_labels))
        if not verdict.keep:
            print(verdict.sentence)
    """
    images = require_images(images, FEWEST_IMAGES)
    distinct = DistinctImages.of(images, FEWEST_IMAGES)
    models, held = (source_model, adapted_model), (held_moments(source_model), held_moments(adapted_model))
    different = distinct.images
    before, after = (
        observe(model, different, holds, batch_size, output=output) for model, holds in zip(models, held, strict=True)
    )
    require_alike(before, after, "adapted_model")
    if canary is not None:
        clean = require_images(canary[0])
        canary = clean, whole_labels(canary[1], len(clean), before.probabilities.shape[1])
    on_canary = None if canary is None else _answer_canary(models, canary, batch_size, output)
    classes, balanced = (None, False) if on_canary is None else _classes(on_canary.classes, after, rule)
    excuse = _excuse(before, after, rule, balanced=balanced)
    reasons = [
        _class_share(before, on_canary, rule),
        _collapse(before, after, rule),
        _entropy(before, after, rule),
        *_sure_answers(before, after, rule, excuse),
        *([] if classes is None else [classes]),
        *_distance(before, after, held, rule),
    ]
    asked = not standing and rule.excusing_rise_gap < NO_EXCUSE
    if follow is not None and canary is not None and asked and _only_by_source(reasons):
        answers = before, after
        rises = entropy_rises(source_model, follow, canary, answers, batch_size=batch_size, output=output)
        if rises is not None and rises.expected - rises.seen >= rule.excusing_rise_gap:
            reasons = [one if one.holds else _excused(one, rises, rule) for one in reasons]
    by_labels = False
    if labels is not None:
        known = whole_labels(labels, len(images), before.probabilities.shape[1], unknown=UNKNOWN)
        told, by_labels = _labelled(before, after, distinct.labels(known, UNKNOWN), rule)
        reasons = [told] if by_labels else [*reasons, told]
    if on_canary is not None:
        reasons.append(_canary(on_canary, rule))
    if standing:
        reasons = [reason for reason in reasons if reason.name in COMPARING]
    failed = [reason.name for reason in reasons if not reason.holds]
    kept = "it holds every limit of the revert rule, which sets its answers beside those without adaptation"
    if by_labels:
        kept = "labels show that it is better than without adaptation"
    sentence = f"the adapted network is not kept: {', '.join(failed)}" if failed else f"{KEPT}: {kept}"
    sentence += copies_left_out(distinct.copies)
    return RevertVerdict(not failed, sentence, tuple(reasons), by_labels)


def _entropy_rises(before: Observation, after: Observation) -> Tensor:
    """Of each image, in shares of ln K, ``(N,)``."""
    return (after.numbers["entropy"] - before.numbers["entropy"]) / math.log(max(before.probabilities.shape[1], 2))


def _excuse(before: Observation, after: Observation, rule: RevertRule, *, balanced: bool) -> str:
    """Why the source need not be trusted where it was sure; nothing where it must."""
    rise = float(_entropy_rises(before, after).mean())
    if -rise >= rule.excusing_entropy_fall:
        return "; excused, since answers became surer as a whole"
    if balanced and rise <= rule.max_entropy_rise:
        return "; excused, since classes are as frequent as among clean images again"
    return ""


def _only_by_source(reasons: list[Reason]) -> bool:
    """Whether nothing speaks against the adaptation but what takes the source's answers for right."""
    failed = [one.name for one in reasons if not one.holds]
    return bool(failed) and set(failed) <= set(BY_SOURCE)


def _excused(reason: Reason, rises: EntropyRises, rule: RevertRule) -> Reason:
    excuse = (
        f"; excused, since clean images of the classes that the source names would raise the entropy by "
        f"{rises.expected:.2f} of ln K, and these raise it by {rises.seen:.2f} ({rule.excusing_rise_gap:g} less is "
        f"enough; at temperature {rises.temperature:.1f})"
    )
    return replace(reason, holds=True, text=reason.text + excuse)


def _class_share(before: Observation, on_canary: "_OnCanary | None", rule: RevertRule) -> Reason:
    share, usual = _largest_share(before), 1 / before.probabilities.shape[1]
    if on_canary is not None:
        usual = float(on_canary.classes.max()) / on_canary.images
    allowed = usual + rule.max_class_excess * (1 - usual)
    limit = f"at most {allowed:.0%}: {usual:.0%} is usual, and {rule.max_class_excess:.0%} of the way from there to all"
    text = f"the source takes {share:.0%} of the images for one class ({limit})"
    return Reason("one class", share <= allowed, text)


def _collapse(before: Observation, after: Observation, rule: RevertRule) -> Reason:
    shares = _largest_share(before), _largest_share(after)
    text = f"the largest class has {shares[1]:.0%} after {shares[0]:.0%} (at most {rule.max_class_growth:.0%} more)"
    return Reason("collapse", shares[1] - shares[0] <= rule.max_class_growth, text)


def _entropy(before: Observation, after: Observation, rule: RevertRule) -> Reason:
    """Sureness over all images."""
    rise = float(_entropy_rises(before, after).mean())
    text = f"changes by {rise:+.3f} of ln K over all images (at most +{rule.max_entropy_rise:g})"
    return Reason("entropy", rise <= rule.max_entropy_rise, text)


def _sure_answers(before: Observation, after: Observation, rule: RevertRule, excuse: str) -> list[Reason]:
    """What became of the images that the source was sure of; none where it was sure of none."""
    sure_N = before.numbers["confidence"] >= rule.sure
    if not bool(sure_N.any()):
        return []
    where = f"of {int(sure_N.sum())} images that the source is sure of"
    agreement = float((before.predicted == after.predicted)[sure_N].double().mean())
    rise = float(_entropy_rises(before, after)[sure_N].mean())
    kept = f"{agreement:.0%} {where} keep their class (at least {rule.min_agreement:.0%})"
    lost = f"the entropy {where} changes by {rise:+.3f} of ln K (at most +{rule.max_sure_entropy_rise:g})"
    return [
        Reason(name, holds or bool(excuse), text if holds else f"{text}{excuse}")
        for name, holds, text in (
            ("agreement", agreement >= rule.min_agreement, kept),
            ("sure answers", rise <= rule.max_sure_entropy_rise, lost),
        )
    ]


def _classes(clean_K: Tensor, after: Observation, rule: RevertRule) -> tuple[Reason, bool]:
    """Whether the adapted network answers with each class as often as clean images have it, and whether surely so."""
    distance, p_value = class_balance_test(clean_K.numpy(), after.counts.numpy(), smallest=CHANCE)
    near = distance <= rule.max_class_distance
    text = f"shares of the classes are {distance:.2f} from those of clean images (at most {rule.max_class_distance:g}"
    chance = ", or as far as chance goes" if not near and p_value > CHANCE else ""
    return Reason("classes", near or p_value > CHANCE, f"{text}{chance})"), near


def _distance(before: Observation, after: Observation, held: tuple[Layers, Layers], rule: RevertRule) -> list[Reason]:
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


def _labelled(before: Observation, after: Observation, labels_N: Tensor, rule: RevertRule) -> tuple[Reason, bool]:
    """What labels say, and whether they are enough to decide."""
    known_N = labels_N != UNKNOWN
    right = [(one.predicted == labels_N)[known_N] for one in (before, after)]
    evidence = compare_paired(right[0], right[1], rule.alpha)
    told = f"of {evidence.labels} labelled images {evidence.wins} are won and {evidence.losses} lost"
    words = {"open": "which is too few to tell", "better": "which is better", "worse": "which is worse"}
    text = f"{told}, {words[evidence.finding]} (wrong in at most {rule.alpha:.0%})"
    return Reason("labels", evidence.finding != "worse", text), evidence.finding != "open"


@dataclass(frozen=True)
class _OnCanary:
    """What both networks make of the canary."""

    images: int
    accuracies: tuple[float, float]
    """Of the source, of the adapted network."""
    classes: Tensor
    """How often the source answers with each class, ``(K,)``."""


def _answer_canary(
    models: tuple[nn.Module, nn.Module], canary: tuple[Tensor, Tensor], size: int, output: int | str | None
) -> _OnCanary:
    images, labels_N = canary
    answers = [observe(model, images, {}, size, output=output) for model in models]
    accuracies = [float((one.predicted == labels_N).double().mean()) for one in answers]
    return _OnCanary(len(images), (accuracies[0], accuracies[1]), answers[0].counts)


def _canary(seen: _OnCanary, rule: RevertRule) -> Reason:
    was, now = seen.accuracies
    lost = f"{100 * abs(was - now):.1f} points {'lost' if was >= now else 'won'}"
    limit = f"{100 * rule.max_canary_loss:g} points lost"
    text = (
        f"{lost} on {seen.images} clean images, of which {was:.1%} were right before and {now:.1%} are after (refused "
        f"beyond {limit}: following a strong change costs much there)"
    )
    return Reason("canary", was - now <= rule.max_canary_loss, text)


def _largest_share(seen: Observation) -> float:
    return float(seen.counts.max()) / len(seen.probabilities)
