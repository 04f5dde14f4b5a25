"""The limits of the revert rule, as a parameter file has them: :func:`eyas.adaptation.revert_rule.judge` holds them."""

from typing import Annotated

from pydantic import Field

from eyas.component import Options

Share = Annotated[float, Field(ge=0, le=1)]
NO_EXCUSE = 2
"""A gap between two changes of the entropy, each of at most ln K: more there cannot be."""


class RevertRule(Options):
    """What an adapted network must hold; measured in ``docs/adaptation.md``.

    Entropies are shares of ln K, that of equal probabilities. Where an adaptation undoes a shift of the images, answers
    become surer as a whole, and classes are as frequent as among clean images again; where it follows a stream of few
    classes, answers that were sure lose it. A source may be sure of wrong answers: what it was sure of counts only
    where neither of the two speaks for the adaptation.
    """

    sure: Annotated[float, Field(gt=0, lt=1)] = 0.9
    """Probability of the likeliest class from which on the source counts as sure of an image."""
    min_agreement: Share = 0.8
    """Share of the images that the source is sure of that must keep their class."""
    max_sure_entropy_rise: Share = 0.05
    """How much the entropy may rise on those images."""
    excusing_entropy_fall: Share = 0.015
    """Fall over all images from which on the last two are excused."""
    max_entropy_rise: Share = 0.03
    """How much the entropy may rise over all images."""
    max_class_distance: Share = 0.15
    """Largest total variation between the classes that the adapted network answers with and those that the source
    answers with on the canary, unless chance makes it as large. What is nearer excuses the answers that were sure,
    where the entropy does not rise too much."""
    max_class_excess: Share = 0.65
    """How far the largest share of one class among the source's answers may be on the way from that on the canary
    (without one from that of equally many) to all: with more, the images are of one class or the source is lost, and
    answers alone do not tell which."""
    excusing_rise_gap: Annotated[float, Field(ge=0, le=NO_EXCUSE)] = 0.2
    """How much less the entropy rises, at the temperature of the canary, than it would on canary images of the classes
    that the source answers with, from which on what a source that is surely wrong says is excused: its largest share of
    one class, the entropy, and its sure answers. One change may be a rise and the other a fall, so that only 2 excuses
    nothing."""
    max_class_growth: Share = 0.15
    """How much larger the largest share may be among the adapted network's answers: a class that eats the others."""
    max_distance_ratio: Annotated[float, Field(gt=0)] = 1.0
    """Largest distance between what batch-norm layers hold and what the images make them see, after over before."""
    max_canary_loss: Share = 0.75
    """Loss of accuracy on the canary, a share. Wide, since following a strong change costs as much on clean images, and
    more than following a few classes does; set it lower where clean images come in between."""
    alpha: Annotated[float, Field(gt=0, lt=1)] = 0.05
    """How often the test with labels may be wrong in each direction."""
