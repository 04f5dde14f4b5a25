"""Damage of every kind, the same under a seed: what a bad disk, a broken transfer or a stranger makes of a file."""

import copy
import random
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest

from eyas.errors import EyasError

_NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 2**63 - 1, 2**64 - 1)
_VALUES = (
    None,
    True,
    -1,
    0,
    2**63,
    10**400,
    1e308,
    float("nan"),
    "",
    "x" * 300,
    "\0",
    [],
    {},
    [[]],
    {"": None},
    "0..9",
)
_HEADER = 64  # bytes at either end, where most formats say what follows


def attack(damaged: Iterable[Any], attempt: Callable[[Any], object], *, names: str = "", least: float = 0.5) -> None:
    """Try damaged forms: each is read, or refused in one line in which ``names`` is found; some must be refused."""
    refused, count = list[str](), 0
    for number, content in enumerate(damaged):
        count += 1
        try:
            attempt(content)
        except EyasError as error:
            refused.append(str(error))
        except Exception as error:
            pytest.fail(f"mutation {number} raised {type(error).__name__}: {error}")
    assert len(refused) >= least * count
    assert [text for text in refused if "\n" in text or not re.search(names, text)] == []


def mutations(data: bytes, count: int, seed: int = 0) -> Iterator[bytes]:
    """``count`` damaged forms of a file: flipped bits, cut, spliced, repeated, and extreme numbers in its headers."""
    source = random.Random(seed)
    for _ in range(count):
        damaged = bytearray(data)
        for _ in range(source.choice((1, 1, 1, 2, 5))):
            source.choice(_DAMAGES)(damaged, source)
        yield bytes(damaged)


def json_mutations(content: Any, count: int, seed: int = 0) -> Iterator[Any]:
    """``count`` damaged forms of plain data: values replaced, members lost or renamed."""
    source = random.Random(seed)
    for _ in range(count):
        damaged = copy.deepcopy(content)
        place = damaged
        while True:
            key = source.choice(list(place) if isinstance(place, dict) else range(len(place)))
            inner = place[key]
            if not (isinstance(inner, (dict, list)) and inner) or source.random() < 0.2:
                break
            place = inner
        if source.random() < 0.2:
            del place[key]
        elif isinstance(place, dict) and source.random() < 0.1:
            place[f"{key}x"] = place.pop(key)
        else:
            place[key] = copy.deepcopy(source.choice(_VALUES))
        yield damaged


def _position(data: bytearray, source: random.Random) -> int:
    """Anywhere, more often at the ends."""
    size = max(len(data), 1)
    near = source.randrange(min(_HEADER, size))
    return source.choice((source.randrange(size), near, size - 1 - near))


def _flip(data: bytearray, source: random.Random) -> None:
    at = _position(data, source)
    data[at : at + 1] = bytes([(data[at] if at < len(data) else 0) ^ 1 << source.randrange(8)])


def _number(data: bytearray, source: random.Random) -> None:
    size = source.choice((1, 2, 4, 8))
    value = source.choice(_NUMBERS) % 256**size
    at = _position(data, source)
    data[at : at + size] = value.to_bytes(size, source.choice(("little", "big")))


def _cut(data: bytearray, source: random.Random) -> None:
    del data[_position(data, source) :]


def _drop(data: bytearray, source: random.Random) -> None:
    at = _position(data, source)
    del data[at : at + source.randrange(1, 32)]


def _splice(data: bytearray, source: random.Random) -> None:
    start, size, at = _position(data, source), source.randrange(1, 64), _position(data, source)
    data[at:at] = data[start : start + size]


def _noise(data: bytearray, source: random.Random) -> None:
    at = _position(data, source)
    noise = source.randbytes(source.randrange(1, 16))
    data[at : at + len(noise)] = noise


_DAMAGES = (_flip, _flip, _number, _number, _number, _cut, _drop, _splice, _noise)
