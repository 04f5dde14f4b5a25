"""Errors of the library name arguments, as in ```max_images```; those of a stage name fields of ``params.yaml``."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from eyas.errors import EyasError


@contextmanager
def as_fields(fields: Mapping[str, str]) -> Iterator[None]:
    """Say in an error's message ``fetch.max_images`` for ```max_images```, as ``fields`` maps one to the other."""
    try:
        yield
    except EyasError as error:
        message = str(error)
        for argument, field in fields.items():
            message = message.replace(f"`{argument}`", field)
        error.args = (message,)
        raise
