"""Whether images can be of the classes that a network names: what following clean images of these would do instead.

Shapes: N images, M clean ones, K classes.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from eyas.adaptation.answer_temperature import fit_temperature, softened
from eyas.adaptation.drift.observation import Observation, observe, require_alike
from eyas.errors import ParameterError

FEWEST_IMAGES, FEWEST_CLEAN = 128, 256
"""Images and clean ones of which the entropy is known well enough: its standard error is 0.03 of ln K at 128."""
Follow = Callable[[Tensor], nn.Module]
"""Makes an adapted network of images, as the one that is judged was made."""


@dataclass(frozen=True)
class EntropyRises:
    """By how much following raises the entropy of answers, in shares of ln K, at the temperature of clean images."""

    seen: float
    """On the images that are judged."""
    expected: float
    """On clean images of the classes that the source names there, after following such."""
    temperature: float


def entropy_rises(
    source: nn.Module,
    follow: Follow,
    clean: tuple[Tensor, Tensor],
    answers: tuple[Observation, Observation],
    *,
    batch_size: int,
    output: int | str | None,
) -> EntropyRises | None:
    """What following did beside what it would do if the source were right about the classes.

    Clean images count as often of each class as the source names it: half as many are drawn, with replacement, and
    followed, all are answered. A stream of few classes raises the entropy as these do; where the source is surely wrong
    about its images, as under strong noise, following them raises it much less.

    Args:
        source: the network before.
        follow: makes an adapted network of such images.
        clean: images ``(M, C, H, W)`` and labels ``(M,)``.
        answers: of the source and of the adapted network to the images that are judged.
        batch_size: images per forward pass.
        output: which of several outputs are the logits.

    Returns:
        None where the images or the clean ones are too few, or none is of a class that the source names.

    Raises:
        DataError: what ``follow`` gives does not answer as the source does.
        ParameterError: it gives no other network.
    """
    images, labels_M = clean
    counts_K = answers[0].counts.double()
    weights_M = counts_K[labels_M] / torch.bincount(labels_M, minlength=len(counts_K))[labels_M]
    if len(answers[0].probabilities) < FEWEST_IMAGES or len(images) < FEWEST_CLEAN or not bool(weights_M.any()):
        return None
    generator = torch.Generator().manual_seed(0)
    drawn = torch.multinomial(weights_M, len(images) // 2, replacement=True, generator=generator)
    before = observe(source, images, {}, batch_size, output=output)  # first, in case it is changed in place
    follower = follow(images[drawn])
    if not isinstance(follower, nn.Module) or follower is source:
        what = "`source_model` itself" if follower is source else f"a {type(follower).__name__}"
        msg = f"`follow` gives {what}: it must give another network, as eyas.adapt does"
        raise ParameterError(msg)
    after = observe(follower, images, {}, batch_size, output=output)
    require_alike(before, after, "follow")
    instead = [before.probabilities, after.probabilities]
    temperature = fit_temperature(instead[0], labels_M)
    seen = [_entropies(one.probabilities, temperature).mean() for one in answers]
    expected = [(weights_M * _entropies(one, temperature)).sum() / weights_M.sum() for one in instead]
    return EntropyRises(float(seen[1] - seen[0]), float(expected[1] - expected[0]), temperature)


def _entropies(probabilities_NK: Tensor, temperature: float) -> Tensor:
    """Of each image, in shares of ln K, ``(N,)``."""
    softer_NK = softened(probabilities_NK, temperature)
    entropies_N: Tensor = torch.special.entr(softer_NK).sum(1)
    return entropies_N / math.log(max(softer_NK.shape[1], 2))
