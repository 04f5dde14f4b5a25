"""How a network with merged statistics answers at one site, and the order of candidates over all sites."""

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from eyas.adaptation.drift.observation import require_images
from eyas.adaptation.sites.collection import refusing_what_does_not_fit, unmerged_layers
from eyas.adaptation.sites.network_digest import network_digest
from eyas.adaptation.sites.site_message import Header, SiteMessage
from eyas.adaptation.sites.site_statistics import SiteStatistics
from eyas.calibration.batchnorm import evaluation_mode
from eyas.data.image_tensors import as_labels
from eyas.errors import DataError

ROUNDING = 1e-6
LARGEST_LOSS = 2 * torch.finfo(torch.float32).max
"""Of an image: as far as two logits in float32 are apart."""


@dataclass(frozen=True)
class SiteLosses:
    """Of one site's labelled images."""

    network: str
    """Its digest."""
    site: str
    images: int
    cross_entropy: float
    """Sum over the images, in nats."""
    correct: int
    """Images whose likeliest class is the label."""
    merged: str
    """sha256 of the merged statistics."""

    def encode(self) -> bytes:
        """As a message."""
        numbers = {"cross_entropy": torch.tensor(self.cross_entropy, dtype=torch.float64)}
        numbers["correct"] = torch.tensor(self.correct)
        header = Header(kind="losses", network=self.network, site=self.site, images=self.images, merged=self.merged)
        return SiteMessage(header, numbers).encode()

    @classmethod
    def decode(cls, content: bytes, network: str, merged: str) -> "SiteLosses":
        """Read a message about the network of that digest with the merged statistics of that sha256.

        Raises:
            DataError: it is no such message, or its numbers are impossible; one line.
        """
        message = SiteMessage.decode(content).require("losses", network)
        header, tensors = message.header, message.tensors
        types = {name: (tensor.dtype, tuple(tensor.shape)) for name, tensor in tensors.items()}
        if types != {"cross_entropy": (torch.float64, ()), "correct": (torch.int64, ())}:
            msg = f"the losses of {header.site} must hold cross_entropy (float64) and correct (int64) alone"
            raise DataError(msg)
        loss, correct = float(tensors["cross_entropy"]), int(tensors["correct"])
        if loss < 0 or not 0 <= correct <= header.images:
            msg = f"{header.site} tells a loss of {loss:g} and {correct} right of {header.images}: impossible"
            raise DataError(msg)
        least = (header.images - correct) * math.log(2)  # the label of an image that is wrong has at most one half
        if loss < least * (1 - ROUNDING) or loss > header.images * LARGEST_LOSS:
            told = f"a loss of {loss:g} with {header.images - correct} of {header.images} images wrong"
            msg = f"{header.site} tells {told}: impossible, each of these has at least ln 2, and none {LARGEST_LOSS:g}"
            raise DataError(msg)
        if header.merged != merged:
            msg = f"the losses of {header.site} are those of other merged statistics: let it judge again"
            raise DataError(msg)
        return cls(header.network, header.site, header.images, loss, correct, merged)


@dataclass(frozen=True)
class RankedCandidate:
    """One candidate over all sites' images."""

    network: str
    """Its digest."""
    images: int
    cross_entropy: float
    """Mean over all images: a site counts by its images."""
    accuracy: float
    by_site: Mapping[str, float]
    """Cross-entropy at each site."""
    site_images: Mapping[str, int]
    """Images that each site judged."""


def judge(model: nn.Module, images: Tensor, labels: Tensor, site: str, merged: SiteStatistics) -> SiteLosses:
    """Answer this site's labelled images with the merged statistics; the model stays as it is.

    Raises:
        DataError: images and labels do not fit each other or the network, images are no finite floats, or the
            statistics are another network's.
    """
    labels = as_labels("labels", labels)
    if not len(images) or labels.shape != (len(images),) or labels.is_floating_point():
        msg = f"`labels` {tuple(labels.shape)} must be a class number for each of {len(images)} `images`, at least one"
        raise DataError(msg)
    images = require_images(images)
    with refusing_what_does_not_fit(images):
        missing = unmerged_layers(model, images[:2], merged)
    if missing:
        msg = f"the merged statistics lack {len(missing)} layers, {missing[0]} first: collect and merge them before"
        raise DataError(msg)
    private = copy.deepcopy(model)
    merged.write_to(private)
    with refusing_what_does_not_fit(images), evaluation_mode(private), torch.inference_mode():
        logits_NK = torch.cat([private(part) for part in torch.split(images, 256)])
    if logits_NK.ndim != 2 or not 0 <= int(labels.min()) <= int(labels.max()) < logits_NK.shape[1]:
        msg = f"`labels` go to {int(labels.max())}, the network answers with {tuple(logits_NK.shape[1:])} per image"
        raise DataError(msg)
    loss = float(functional.cross_entropy(logits_NK.double(), labels.long(), reduction="sum"))
    correct = int((logits_NK.argmax(1) == labels).sum())
    losses = SiteLosses(network_digest(model), site, len(images), loss, correct, merged.digest)
    return SiteLosses.decode(losses.encode(), losses.network, losses.merged)  # refused here as a coordinator would


def rank(candidates: Sequence[Sequence[SiteLosses]]) -> list[RankedCandidate]:
    """Candidates by cross-entropy over all sites' images, the best first.

    Args:
        candidates: of each the losses of all sites.

    Raises:
        DataError: a candidate was not judged on the same sites and numbers of images as the others, or by none.
    """
    ranked, first = [], _images(candidates[0]) if candidates else {}
    for losses in candidates:
        images = _images(losses)
        if images != first or not images:
            msg = f"candidates are judged on other images ({_told(first)}; {_told(images)}): let each site judge all"
            raise DataError(msg)
        total = sum(images.values())
        mean, right = sum(one.cross_entropy for one in losses) / total, sum(one.correct for one in losses) / total
        by_site = {one.site: one.cross_entropy / one.images for one in losses}
        ranked.append(RankedCandidate(losses[0].network, total, mean, right, by_site, images))
    return sorted(ranked, key=lambda candidate: candidate.cross_entropy)


def _images(losses: Sequence[SiteLosses]) -> dict[str, int]:
    """Images by site.

    Raises:
        DataError: a site stands twice.
    """
    by_site = {one.site: one.images for one in losses}
    if len(by_site) < len(losses):
        msg = f"a site stands twice among the losses of {', '.join(sorted(by_site))}: a site counts once"
        raise DataError(msg)
    return by_site


def _told(images: Mapping[str, int]) -> str:
    return ", ".join(f"{site} {count}" for site, count in sorted(images.items())) or "none"
