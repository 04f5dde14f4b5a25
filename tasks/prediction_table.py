"""Predictions as lines for the terminal, and as JSON values."""

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import typer

from eyas.cli.terminal import echo, terminal_width
from tasks.given_places import path_from_here
from tasks.predict import Prediction, Predictions

HEADER = ("image", "class", "probability", "then")


def print_predictions(answers: Predictions, top: int, *, as_json: bool) -> None:
    """What to doubt of the answers, if anything, then the answers, then files that have none."""
    if answers.warning:
        echo(answers.warning, err=True)
    if as_json:
        typer.echo(json.dumps(as_dict(answers), indent=2))
    for line in () if as_json else prediction_lines(answers, top, terminal_width()):
        echo(line)
    for line in unreadable_lines(answers):
        echo(line, err=True)


def prediction_lines(answers: Predictions, top: int, width: int | None = None) -> Iterator[str]:
    """Who answered, a line per image with its ``top`` likeliest classes, and of several images how many of each class.

    Args:
        answers: of at least one image; of none there are no lines.
        top: classes that are told of an image; the likeliest alone where more do not fit.
        width: of a line, where a terminal has one.
    """
    if not answers.images:
        return
    chosen = f" ({answers.chosen_as})" if answers.chosen_as else ""
    yield f"by {answers.network}{chosen}"
    rows = [HEADER, *(_cells(one, top) for one in answers.images)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    fits = top > 1 and (width is None or sum(widths) + 2 * (len(widths) - 1) <= width)
    for image, name, probability, rest in rows:
        then = f"  {rest}" if fits else ""
        yield f"{image:{widths[0]}}  {name:{widths[1]}}  {probability:>{widths[2]}}{then}".rstrip()
    if len(answers.images) > 1:
        classes = Counter(next(iter(one.probabilities)) for one in answers.images).most_common()
        yield f"{len(answers.images)} images: {', '.join(f'{number} {name}' for name, number in classes)}"


def unreadable_lines(answers: Predictions) -> Iterator[str]:
    """A line per file that was not answered."""
    for file, reason in answers.unreadable.items():
        yield f"error: {path_from_here(file)}: {reason}"


def as_dict(answers: Predictions) -> dict[str, Any]:
    """All that was answered."""
    images = [
        {"file": str(one.file), "class": next(iter(one.probabilities)), "probabilities": one.probabilities}
        for one in answers.images
    ]
    unreadable = {str(file): reason for file, reason in answers.unreadable.items()}
    return {"network": answers.network, "chosen_as": answers.chosen_as, "images": images, "unreadable": unreadable}


def _cells(one: Prediction, top: int) -> tuple[str, str, str, str]:
    (first, probability), *rest = [*one.probabilities.items()][:top]
    return (
        path_from_here(one.file),
        first,
        _percent(probability),
        ", ".join(f"{name} {_percent(share)}" for name, share in rest),
    )


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
