"""Batch-norm statistics as sites share them, C channels each; a message that holds anything else is refused."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from eyas.adaptation.sites.network_digest import network_digest
from eyas.adaptation.sites.site_message import MAX_IMAGES, MAX_VALUES, Header, Kind, SiteMessage
from eyas.calibration.batchnorm import named_batch_norms
from eyas.errors import DataError

PARTS = ("mean", "var", "count")
LARGEST_SQUARE = torch.finfo(torch.float32).max
"""Of a channel's mean of squares, which merging keeps below the largest of the sites: layers compute in float32."""


@dataclass(frozen=True)
class Moments:
    """Of the values that a layer sees, by channel; float64."""

    mean: Tensor
    """(C,)."""
    variance: Tensor
    """(C,), biased: divided by ``count``."""
    count: int
    """Values per channel."""

    def __add__(self, other: "Moments") -> "Moments":
        """Those of both sets of values together, exactly (Chan et al. 1979): the spread of the means counts."""
        count, delta = self.count + other.count, other.mean - self.mean
        mean = self.mean + delta * (other.count / count)
        between = delta**2 * (self.count / count * other.count / count)
        variance = self.variance * (self.count / count) + other.variance * (other.count / count) + between
        return Moments(mean, variance, count)


@dataclass(frozen=True)
class SiteStatistics:
    """What layers of one network saw at a site, or merged at several."""

    network: str
    """Its digest."""
    site: str
    images: int
    layers: Mapping[str, Moments]
    """By the layer's name."""
    kind: Kind = "statistics"
    behind: str | None = None
    """sha256 of the merged statistics that the layers before used, where a round gives one layer."""

    @property
    def digest(self) -> str:
        """sha256 of the message."""
        return hashlib.sha256(self.encode()).hexdigest()

    def encode(self) -> bytes:
        """As a message."""
        tensors: dict[str, Tensor] = {}
        for name, moments in self.layers.items():
            count = torch.tensor(moments.count)
            tensors |= {f"{name}.mean": moments.mean, f"{name}.var": moments.variance, f"{name}.count": count}
        fields = {"kind": self.kind, "network": self.network, "site": self.site, "images": self.images}
        header = Header(**fields, merged=self.behind)
        return SiteMessage(header, tensors).encode()

    @classmethod
    def decode(cls, content: bytes, model: nn.Module, kind: Kind = "statistics") -> "SiteStatistics":
        """Read a message about ``model``.

        Raises:
            DataError: it is no such message, or holds what cannot be statistics of this network; one line.
        """
        message = SiteMessage.decode(content).require(kind, network_digest(model))
        header, channels = (
            message.header,
            {name: layer.num_features for name, layer in named_batch_norms(model).items()},
        )
        names = {name.rpartition(".")[0] for name in message.tensors}
        unknown = sorted(set(message.tensors) - {f"{name}.{part}" for name in channels for part in PARTS})
        if unknown or not names:
            what = f"{unknown[0]}, which is no mean, var or count of a batch-norm layer" if unknown else "no layer"
            msg = f"the statistics of {header.site} hold {what}"
            raise DataError(msg)
        layers = {name: _moments(message, name, size) for name, size in channels.items() if name in names}
        return cls(header.network, header.site, header.images, layers, kind, header.merged)

    def values_per_image(self) -> dict[str, int]:
        """By layer, how many values of a channel one image gives."""
        return {name: moments.count // self.images for name, moments in self.layers.items()}

    def write_to(self, model: nn.Module) -> None:
        """Put mean and variance into the layers' running statistics; ``num_batches_tracked`` stays.

        Raises:
            DataError: these are statistics of another network.
        """
        if self.network != network_digest(model):
            msg = f"the statistics of {self.site} are those of another network ({self.network[:12]}) than `model`"
            raise DataError(msg)
        layers = named_batch_norms(model)
        for name, moments in self.layers.items():
            mean, variance = layers[name].running_mean, layers[name].running_var
            assert mean is not None
            assert variance is not None
            mean.copy_(moments.mean)
            variance.copy_(moments.variance)


def _moments(message: SiteMessage, name: str, size: int) -> Moments:
    """One layer's, if they can be."""
    kind, images = message.header.kind, message.header.images
    mean, variance, count = (message.tensors.get(f"{name}.{part}") for part in PARTS)
    they = f"the statistics of {message.header.site}"
    if mean is None or variance is None or count is None:
        msg = f"{they} lack mean, var or count of {name}"
    elif not (mean.shape == variance.shape == (size,) and count.shape == ()):
        shapes = f"means {tuple(mean.shape)}, variances {tuple(variance.shape)}, count {tuple(count.shape)}"
        msg = f"{they} have {shapes} of {name}, which has {size} channels"
    elif (mean.dtype, variance.dtype, count.dtype) != (torch.float64, torch.float64, torch.int64):
        msg = f"{they} must have mean and var of {name} as float64, and count as int64"
    elif (variance < 0).any():
        msg = f"{they} have a negative variance of {name}"
    elif not 0 < int(count) <= MAX_IMAGES * MAX_VALUES:
        msg = f"{they} count {int(count)} values of {name}: there are 1 to 2^53"
    elif int(count) % images or int(count) // images > MAX_VALUES:
        msg = f"{they} count {int(count)} values of {name} on {images} images: each gives as many, at most {MAX_VALUES}"
    elif (mean.square() + variance > (LARGEST_SQUARE if kind == "merged" else LARGEST_SQUARE / 2)).any():
        msg = f"{they} have a mean or variance of {name} that is larger than float32 can work with"
    else:
        return Moments(mean, variance, int(count))
    raise DataError(msg)
