"""What all sections share."""

from typing import Annotated

from pydantic import AfterValidator, ConfigDict, Field

from eyas.component import Options
from eyas.storage import holds_secret

Fraction = Annotated[float, Field(gt=0, lt=1)]
Count = Annotated[int, Field(ge=1, strict=True)]
Seed = Annotated[int, Field(ge=0, lt=2**63, strict=True)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{8,64}$")]


def _public(address: str) -> str:
    if not address.strip():
        msg = "an address is empty: give one, or leave the field out"
        raise ValueError(msg)
    if holds_secret(address):
        msg = "an address is recorded, so it must hold no password, token or signature: write $NAME, and set NAME to it"
        raise ValueError(msg)
    return address


PublicAddress = Annotated[str, AfterValidator(_public)]
"""An address that may be recorded: what of it is secret stands in a variable of the environment, as ``$NAME``."""


class Section(Options):
    """A section of ``params.yaml``: frozen, and closed to fields it does not know."""

    model_config = ConfigDict(validate_default=True)
