"""Predictions as lines for the terminal, and as JSON values."""

from collections.abc import Iterator
from typing import Any

from tasks.next_command import shown_path
from tasks.predict import Prediction, Predictions

HEADER = ("image", "class", "probability", "then")


def prediction_lines(answers: Predictions, top: int) -> Iterator[str]:
    """Who answered, and a line per image with its ``top`` likeliest classes."""
    yield f"by {answers.network}"
    rows = [HEADER, *(_cells(one, top) for one in answers.images)]
    if len(rows) == 1:
        return
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for image, name, probability, rest in rows:
        yield f"{image:{widths[0]}}  {name:{widths[1]}}  {probability:>{widths[2]}}  {rest}".rstrip()


def warning_lines(answers: Predictions) -> Iterator[str]:
    """What to doubt of the answers, if anything, and a line per file that was not answered."""
    if answers.warning:
        yield answers.warning
    for file, reason in answers.unreadable.items():
        yield f"{shown_path(file)}: {reason}"


def as_dict(answers: Predictions) -> dict[str, Any]:
    """All that was answered."""
    images = [
        {"file": str(one.file), "class": next(iter(one.probabilities)), "probabilities": one.probabilities}
        for one in answers.images
    ]
    unreadable = {str(file): reason for file, reason in answers.unreadable.items()}
    return {"network": answers.network, "images": images, "unreadable": unreadable}


def _cells(one: Prediction, top: int) -> tuple[str, str, str, str]:
    (first, probability), *rest = [*one.probabilities.items()][:top]
    return (
        shown_path(one.file),
        first,
        _percent(probability),
        ", ".join(f"{name} {_percent(share)}" for name, share in rest),
    )


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
