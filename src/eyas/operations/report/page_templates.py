"""The HTML pages' templates, which share style and charts; whatever a page is given is escaped."""

import re

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

from eyas.operations.typed_commands import broken, shell_words

SHARED = "eyas.operations.report"
_BEFORE_UNIT = re.compile(r"(?<=\d) (?=(?:%|(?:[kMG]i?)?B\b|[kMG]\b|ms\b|s\b|x\b|points\b|MACs\b))")


def page_templates(*packages: str) -> Environment:
    """Templates of these packages, and those of the report for all."""
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(package) for package in (*packages, SHARED)]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"unbroken": unbroken, "shell_words": shell_words, "broken": broken}
    return environment


def unbroken(text: str) -> str:
    """A text in which no line ends between a number and its unit, or begins with a middle dot."""
    return _BEFORE_UNIT.sub("\N{NO-BREAK SPACE}", text).replace(" ·", "\N{NO-BREAK SPACE}·")
