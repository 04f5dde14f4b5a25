"""What sites and coordinator send each other: safetensors with a header of JSON, and nothing that is ever executed."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

import safetensors.torch
import torch
from pydantic import Field, ValidationError
from safetensors import SafetensorError
from torch import Tensor

from eyas.component import Options
from eyas.errors import DataError, one_line
from eyas.storage.json_text import parse_json

MAX_BYTES = 16 * 2**20
"""Of a message; statistics take 16 bytes per channel."""
MAX_IMAGES = 2**31
"""Of a site, and of all together."""
MAX_VALUES = 2**22
"""Of a channel for each image, all positions of a layer: 2,048 x 2,048. Both together are what float64 counts."""
COORDINATOR = "coordinator"
SITE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")
_KEY = "eyas.site_message"
Kind = Literal["statistics", "merged", "losses"]


class Header(Options):
    """Who says what about which network."""

    version: Literal[1] = 1
    """Of the format."""
    kind: Kind
    network: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    """Digest of the network: see :func:`eyas.adaptation.sites.network_digest.network_digest`."""
    site: Annotated[str, Field(pattern=f"^{SITE.pattern}$")]
    """Name of the sender, also in file names."""
    images: Annotated[int, Field(ge=1, le=MAX_IMAGES, strict=True)]
    """That the numbers stand on."""
    merged: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None
    """sha256 of the merged statistics that losses were measured with, or a layer's statistics were collected behind."""


@dataclass(frozen=True)
class SiteMessage:
    """One message."""

    header: Header
    tensors: Mapping[str, Tensor]

    def encode(self) -> bytes:
        """The same message gives the same bytes."""
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in sorted(self.tensors.items())}
        header = json.dumps(self.header.model_dump(), sort_keys=True)
        content: bytes = safetensors.torch.save(tensors, {_KEY: header})
        return content

    @classmethod
    def decode(cls, content: bytes) -> "SiteMessage":
        """Read what a stranger may have written.

        Raises:
            DataError: it is too large, no message, of another format, or holds a number that is not finite; one line.
        """
        if len(content) > MAX_BYTES:
            msg = f"the message has {len(content):,} bytes: at most {MAX_BYTES:,} are taken"
            raise DataError(msg)
        try:
            tensors = safetensors.torch.load(content)
            length = int.from_bytes(content[:8], "little")
            header = Header.model_validate(parse_json(parse_json(content[8 : 8 + length])["__metadata__"][_KEY]))
        except (SafetensorError, KeyError, TypeError, ValueError) as error:
            msg = f"this is no message of a site: {_reason(error)}"
            raise DataError(msg) from error
        for name, tensor in tensors.items():
            if tensor.is_floating_point() and not torch.isfinite(tensor.double()).all():
                msg = f"the {header.kind} of {header.site} have values of {name} that are not finite (NaN or infinite)"
                raise DataError(msg)
        return cls(header, tensors)

    def require(self, kind: Kind, network: str) -> "SiteMessage":
        """The message, if it is of this kind and about the network of this digest.

        Raises:
            DataError: it is not.
        """
        told, site = self.header, self.header.site
        if told.kind != kind:
            msg = f"these are {told.kind} of {site}: {kind} are expected"
            raise DataError(msg)
        if told.network != network:
            msg = f"the {kind} of {site} are about another network ({told.network[:12]}) than this one ({network[:12]})"
            raise DataError(msg)
        return self


def _reason(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc']))} in its header: {first['msg']}"
    return f"there is no {error} in it" if isinstance(error, KeyError) else one_line(error)
