"""The catalogue as text: a listing for the terminal, and the page ``docs/reference.md``."""

import re
from collections.abc import Iterator, Sequence

from eyas.cli.catalogue import PAPER, CatalogueEntry, Chapter
from eyas.cli.parameters import Parameter
from eyas.cli.terminal import wrapped

REFERENCE = """# Reference

Every command, parameter, algorithm and error. Written by `make docs` from the code; do not edit.
"""


def listing(chapters: Sequence[Chapter], columns: int | None = None) -> str:
    """Every entry on a line, or on several of at most ``columns`` characters; last, what chapters there are."""
    lines = []
    for chapter in chapters:
        lines += ["", wrapped(f"{chapter.title}: {plain(chapter.about)}", columns)]
        width = max((len(entry.name) for entry in chapter.entries), default=0)
        lines += [
            wrapped(f"  {entry.name:{width}}  {plain(entry.summary)}{_origin(entry)}", columns, width + 2)
            for entry in chapter.entries
        ]
    names = ", ".join(f"{chapter.title} ({len(chapter.entries)})" for chapter in chapters)
    overview = f"In all: {names}. eyas catalogue criterion shows one of them, or one entry, with its parameters."
    return "\n".join([*lines[1:], "", wrapped(overview, columns)])


def details(entry: CatalogueEntry) -> str:
    """One entry with its parameters."""
    if entry.help:
        return entry.help
    papers = [f"  https://arxiv.org/abs/{paper}" for paper in entry.papers]
    use = [f"  {plain(entry.use)}"] if entry.use else []
    first = f"{entry.name}: {plain(entry.summary)}{_origin(entry)}"
    return "\n".join([first, *use, *papers, *map(_line, entry.parameters)])


def _origin(entry: CatalogueEntry) -> str:
    return f" (from {entry.origin})" if entry.origin else ""


def reference(chapters: Sequence[Chapter]) -> str:
    """The page."""
    blocks = [REFERENCE]
    for chapter in chapters:
        blocks.append(f"## {chapter.title}\n\n{markdown(chapter.about)}\n")
        blocks += ["\n".join(_section(entry)) for entry in chapter.entries]
    return "\n".join(blocks)


def _section(entry: CatalogueEntry) -> Iterator[str]:
    yield f"### `{entry.name}`\n"
    if entry.help:
        yield f"```\n{entry.help}\n```\n"
        return
    yield f"{markdown(entry.summary)}\n"
    if entry.use:
        yield f"{markdown(entry.use)}\n"
    papers = [f"arXiv:{paper}" for paper in entry.papers if paper not in entry.summary]
    if papers:
        yield markdown(f"See {', '.join(papers)}.\n")
    if entry.parameters:
        yield "| parameter | type | default | meaning |\n| --- | --- | --- | --- |"
        yield from map(_row, entry.parameters)
        yield ""


def _line(parameter: Parameter) -> str:
    return f"  {parameter.name} ({parameter.type}) = {parameter.default}: {plain(parameter.meaning)}".removesuffix(": ")


def _row(parameter: Parameter) -> str:
    cells = (f"`{parameter.name}`", parameter.type, f"`{parameter.default}`", markdown(parameter.meaning))
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"


def plain(text: str) -> str:
    """A docstring's text without its markup, formulas as one types them."""
    text = re.sub(r":math:`([^`]*)`", lambda match: plain_formula(match[1]), text)
    return re.sub(r":\w+:`~?([^`]*)`|``([^`]*)``", lambda match: match[1] or match[2], text)


def plain_formula(latex: str) -> str:
    r"""``\sum_g \log(w_g / C_g)`` as ``sum_g log(w_g / C_g)``."""
    text = latex.replace(r"\|", "||").replace(r"\,", " ")
    text = re.sub(r"\\(?:mathrm|text|operatorname)\{([^{}]*)\}", r"\1", text)
    text = re.sub(r"\\frac\{([^{}]*)\}\{([^{}]*)\}", r"(\1) / (\2)", text)
    text = re.sub(r"([_^])\{([^{},]*)\}", r"\1\2", text)  # of several indices the braces stay
    text = re.sub(r"\\sqrt\{(.*)\}", r"sqrt(\1)", text)
    return " ".join(re.sub(r"\\([A-Za-z]+)", r"\1", text).split())


def markdown(text: str) -> str:
    """A docstring's text as Markdown, its papers linked."""
    text = re.sub(r":\w+:`~?([^`]*)`|``([^`]*)``", lambda match: f"`{match[1] or match[2]}`", text)
    return PAPER.sub(r"[arXiv:\1](https://arxiv.org/abs/\1)", text)
