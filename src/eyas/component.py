"""Components: algorithms whose validated configuration *is* the algorithm.

A family (criteria, calibrators, samplers, ...) is a folder with one algorithm per file. Its ``base.py`` holds
the family's root, a direct subclass of :class:`Component`; each other file holds one frozen pydantic class
with a ``kind`` literal and a ``__call__``. Defining the class registers it.
"""

import importlib
import pkgutil
from collections.abc import Iterable
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict

from eyas.errors import ParameterError


class Component(BaseModel):
    """Root of every family; a subclass without ``kind`` starts a family of its own."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    registry: ClassVar[dict[str, type["Component"]]] = {}
    family: ClassVar[str] = "component"

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """Start a family, or register a member under its ``kind``."""
        super().__pydantic_init_subclass__(**kwargs)
        field = cls.model_fields.get("kind")
        if field is None:
            cls.registry, cls.family = {}, cls.__name__.lower()
            return
        kind = field.default
        known = cls.registry.get(kind)
        if known is not None and known.__qualname__ != cls.__qualname__:
            msg = f"{cls.family} kind {kind!r} is defined twice: {known.__module__} and {cls.__module__}"
            raise TypeError(msg)
        cls.registry[kind] = cls

    @classmethod
    def parse(cls, value: Any) -> Self:
        """A member of this family from ``{"kind": ..., **options}``, a bare kind, or a member itself.

        Raises:
            ParameterError: the kind is unknown; the message lists what is available.
        """
        if isinstance(value, cls):
            return value
        options = {"kind": value} if isinstance(value, str) else value
        kind = options.get("kind") if isinstance(options, dict) else None
        if kind not in cls.registry:
            available = ", ".join(sorted(cls.registry))
            msg = f"unknown {cls.family} kind {kind!r} in {value!r}; available: {available}"
            raise ParameterError(msg)
        member: Any = cls.registry[kind].model_validate(options)
        return member  # type: ignore[no-any-return]


def import_members(package: str, path: Iterable[str]) -> None:
    """Import every module of a family's folder, so that its members register themselves."""
    for module in pkgutil.iter_modules(path):
        importlib.import_module(f"{package}.{module.name}")
