"""What a person says to ``eyas init``, on the command line or asked, and what of it can be used."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from pydantic import ValidationError

from eyas.config.budget_params import BudgetParams
from eyas.data.comparability import WORDS
from eyas.errors import ParameterError, nearest
from eyas.sampling.budget_limits import LIMITS, not_a_number

Value = TypeVar("Value")
TEST_CHOICES = (
    "test      images that the weights were not trained on measure the accuracy. Which ones?",
    "          1  images in another place, kept out of the training (--test IMAGES): usual",
    "          2  some of the images above: the weights were trained on none of them (--unseen)",
    "          3  some of the images above, though trained on: accuracies then tell little (--test from_train)",
)
CHOICES = ("1", "2", "3")


class Ask(Protocol):
    """Asks a person until the answer passes ``check``, and says in a line what is wrong with one that does not."""

    def __call__(self, question: str, check: Callable[[str], Value], default: str | None = None) -> Value:
        """The answer, as ``check`` makes it."""


@dataclass(frozen=True)
class InitAnswers:
    """What the command line says; what it leaves out is asked, or looked up."""

    images: str | None = None
    test: str | None = None
    unseen: bool = False
    checkpoint: str | None = None
    architecture: str | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    image_size: int | None = None
    budget: Sequence[str] = ()
    latency_profile: str | None = None
    out: str | None = None
    force: bool = False


def ask_for_test(ask: Ask, say: Callable[[str], None], look: Callable[[str], str]) -> tuple[str | None, bool]:
    """Where the test images come from, and whether the checkpoint has seen none of train.

    Args:
        ask: asks a person.
        say: tells a line.
        look: makes an address of a place of images, or refuses it.
    """
    for line in TEST_CHOICES:
        say(line)

    def check(text: str) -> str:
        if text.lstrip("+-").isdigit() and text not in CHOICES:
            msg = f"{text} is none of them: give 1, 2 or 3, or where the test images are"
            raise ParameterError(msg)
        return text if text in {*CHOICES, "unseen", *WORDS} else look(text)

    choice = ask("1, 2 or 3, or where the test images are", check)
    if choice in {"2", "unseen"}:
        return None, True
    if choice == "1":
        return ask("Test images (a folder, file or address)", look), False
    return "from_train" if choice == "3" else choice, False


def image_side(text: str | int) -> int:
    """A side of an image, in pixels.

    Raises:
        ParameterError: it is no whole number above 0.
    """
    if not str(text).isdigit() or not int(text):
        msg = f"{text} is no side of an image: give a whole number of pixels, such as 224"
        raise ParameterError(msg)
    return int(text)


def budget_limits(items: str | Sequence[str]) -> dict[str, float]:
    """``macs=0.5 latency_ms=4`` as limits.

    Raises:
        ParameterError: a name is unknown, or a number none.
    """
    texts = items.replace(",", " ").split() if isinstance(items, str) else items
    try:
        return BudgetParams.model_validate(dict(_limits(texts))).limits
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        msg = f"{' '.join(texts)}: {place}{': ' if place else ''}{first['msg'].removeprefix('Value error, ')}"
        raise ParameterError(msg) from error


def _limits(texts: Sequence[str]) -> Iterator[tuple[str, float]]:
    known = ", ".join(LIMITS)
    for text in texts:
        name, sign, value = text.partition("=")
        if not sign:
            msg = f"{text}: give NAME=NUMBER, such as macs=0.5; names are {known}"
            raise ParameterError(msg)
        if name not in LIMITS:
            msg = f"{text}: no limit is called {name!r}{nearest(name, LIMITS)}; names are {known}"
            raise ParameterError(msg)
        try:
            yield name, float(value)
        except ValueError as error:
            msg = f"{text}: {not_a_number(name, value)}"
            raise ParameterError(msg) from error
