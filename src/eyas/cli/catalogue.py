"""What there is to choose from: algorithms, parameters, commands and errors, discovered from the code."""

import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import typer

from eyas import errors
from eyas.cli.parameters import Parameter, parameters
from eyas.component import Component, families
from eyas.errors import BadInputError, EyasError, nearest

PAPER = re.compile(r"arXiv:\s?(\d{4}\.\d{4,5})")
HELP_WIDTH = 100
EXIT_STATUS = "0 done, 1 failed, 2 bad input (nothing was done), 3 refused by a gate, 130 interrupted"


@dataclass(frozen=True)
class CatalogueEntry:
    """One thing that a user can name."""

    name: str
    summary: str
    """The first paragraph of its docstring."""
    parameters: tuple[Parameter, ...] = ()
    papers: tuple[str, ...] = ()
    """arXiv identifiers in its docstring."""
    use: str = ""
    """When to choose it: the paragraph of its docstring that begins with "Use it"."""
    help: str = ""
    """Of a command, what ``--help`` prints."""
    origin: str = ""
    """Of a plugin's member, the module that defines it."""


@dataclass(frozen=True)
class Chapter:
    """Entries of one sort."""

    title: str
    about: str
    entries: tuple[CatalogueEntry, ...]


def chapters() -> list[Chapter]:
    """The whole catalogue, in the order of the page."""
    return [commands(), sections(), *map(family_chapter, families().values()), error_chapter()]


def find(name: str) -> list[CatalogueEntry]:
    """Entries called ``name``, or all of a chapter called so.

    Raises:
        BadInputError: nothing is called so; the message has the nearest name, and how to see all.
    """
    known = [(chapter, entry) for chapter in chapters() for entry in chapter.entries]
    matching = [entry for chapter, entry in known if name in {entry.name, chapter.title}]
    if not matching:
        names = dict.fromkeys(text for chapter, entry in known for text in (chapter.title, entry.name))
        titles = ", ".join(dict.fromkeys(chapter.title for chapter, _ in known))
        msg = f"nothing is called {name!r}{nearest(name, names)}; eyas catalogue lists all, or one of: {titles}"
        raise BadInputError(msg)
    return matching


def family_chapter(root: type[Component]) -> Chapter:
    """The members of a family, by kind."""
    members = root.members().items()
    return Chapter(root.family, summary(root), tuple(_member(kind, member) for kind, member in members))


def _member(kind: str, member: type[Component]) -> CatalogueEntry:
    papers = tuple(dict.fromkeys(PAPER.findall(member.__doc__ or "")))
    own = member.__module__.partition(".")[0] == Component.__module__.partition(".")[0]
    origin = "" if own else member.__module__
    use = next((text for text in paragraphs(member) if text.startswith("Use it ")), "")
    return CatalogueEntry(kind, summary(member), tuple(parameters(member)), papers, use, origin=origin)


def sections() -> Chapter:
    """The sections of ``params.yaml``."""
    from eyas.config import PipelineParams

    entries = []
    for name, field in PipelineParams.model_fields.items():
        section: Any = field.annotation
        if not isinstance(section, type):
            entries.append(CatalogueEntry(name, " ".join((field.description or "").split())))
            continue
        values = field.get_default(call_default_factory=True)
        entries.append(CatalogueEntry(field.alias or name, summary(section), tuple(parameters(section, values))))
    return Chapter("params.yaml", "A section per stage, and those of the operation.", tuple(entries))


def commands() -> Chapter:
    """The commands of ``eyas``, with what ``--help`` prints."""
    from eyas.cli.app import app

    group: Any = typer.main.get_command(app)
    above = typer.Context(group, info_name="eyas", terminal_width=HELP_WIDTH, **group.context_settings)
    return Chapter(
        "commands",
        "Exit status: 0 done, 1 failed, 2 bad input, 3 refused by a gate, 130 interrupted.",
        tuple(_entries(above)),
    )


def _entries(above: typer.Context, before: str = "") -> Iterator[CatalogueEntry]:
    """The commands of a group, those of a group inside it behind its name."""
    group: Any = above.command
    for name, command in group.commands.items():
        context, grouped = typer.Context(command, info_name=name, parent=above), hasattr(command, "commands")
        first = command.help.partition("\n\n")[0] if grouped else summary(command.callback)
        yield CatalogueEntry(before + name, " ".join(first.split()), help=command.get_help(context))
        if grouped:
            yield from _entries(context, f"{before}{name} ")


def error_chapter() -> Chapter:
    """The errors that explain themselves, with their exit status."""
    entries = (
        CatalogueEntry(error.__name__, f"{summary(error)} Exit status {error.exit_status}.")
        for error in _tree(EyasError)
    )
    return Chapter("errors", summary(errors), tuple(entries))


def _tree(error: type[EyasError]) -> Iterator[type[EyasError]]:
    """An error of ``eyas.errors`` and those below it."""
    if error.__module__ == errors.__name__:
        yield error
        for inner in error.__subclasses__():
            yield from _tree(inner)


def summary(documented: object) -> str:
    """The first paragraph of a docstring, on one line."""
    return paragraphs(documented)[0]


def paragraphs(documented: object) -> list[str]:
    """Those of a docstring, each on one line; one at least."""
    return [" ".join(text.split()) for text in (inspect.getdoc(documented) or "").split("\n\n")]
