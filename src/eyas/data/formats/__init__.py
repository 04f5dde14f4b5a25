"""How files hold images and labels: one format per file."""

from eyas.data.formats.base import Format, Listing
from eyas.data.formats.detection import AnyFormat, FormatChoice, choose_format, detect

__all__ = ["AnyFormat", "Format", "FormatChoice", "Listing", "choose_format", "detect"]
