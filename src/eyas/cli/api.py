"""The public names of ``eyas`` as the page ``docs/api.md``: signatures as the source has them, and docstrings."""

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator

import eyas
from eyas.cli.reference import markdown

API = """# The public names

What `import eyas` offers. Written by `make docs` from the code; do not edit.
"""
HEADINGS = re.compile(r"^(Args|Attributes|Returns|Yields|Raises|Example|Note):$")


def api() -> str:
    """The page."""
    return "\n".join([API, *(block for name in eyas.__all__ for block in _name(name))])


def _name(name: str) -> Iterator[str]:
    """A heading, the signature, the docstring; of a class also its public attributes and methods."""
    source = textwrap.dedent(inspect.getsource(getattr(eyas, name)))
    node = ast.parse(source).body[0]
    yield f"## `eyas.{name}`\n"
    if isinstance(node, ast.FunctionDef):
        yield from _function(node, source)
    elif isinstance(node, ast.ClassDef):
        yield f"{docstring(node)}\n"
        yield from _attributes(node)
        for member in node.body:
            if isinstance(member, ast.FunctionDef) and not member.name.startswith("_"):
                yield from _function(member, source)


def _function(node: ast.FunctionDef, source: str) -> Iterator[str]:
    """What stands above the body, without its colon, and the docstring."""
    first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
    head = "\n".join(source.splitlines()[first - 1 : node.body[0].lineno - 1])
    yield f"```python\n{textwrap.dedent(head).rstrip().removesuffix(':')}\n```\n"
    yield f"{docstring(node)}\n"


def _attributes(node: ast.ClassDef) -> Iterator[str]:
    """A list of the annotated names, each with the text beneath it."""
    lines = []
    for member, after in zip(node.body, [*node.body[1:], ast.Pass()], strict=True):
        if isinstance(member, ast.AnnAssign) and not ast.unparse(member.target).startswith("_"):
            if isinstance(member.value, ast.Call):
                member.value = None  # dataclasses.field(...) is no default that a reader understands
            lines.append(f"- `{ast.unparse(member)}`: {_text(after)}".removesuffix(": "))
    if lines:
        yield "\n".join([*lines, ""])


def _text(node: ast.stmt) -> str:
    """The text of a string that stands alone; empty for anything else."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
        return markdown(" ".join(node.value.value.split()))
    return ""


def docstring(node: ast.FunctionDef | ast.ClassDef) -> str:
    """A Google docstring as Markdown: its sections become lists."""
    lines, inside = [], False
    for line in (ast.get_docstring(node) or "").splitlines():
        heading = HEADINGS.match(line)
        inside = bool(heading) or (inside and (not line or line.startswith(" ")))
        if heading:
            lines.append(f"**{heading[1]}**\n")
        elif inside and line.startswith("    ") and not line[4:].startswith(" "):
            lines.append(f"- {_item(line.strip())}")
        else:
            lines.append(line)
    return markdown("\n".join(lines))


def _item(text: str) -> str:
    """``name: meaning`` with the name marked as code."""
    name, colon, meaning = text.partition(": ")
    return f"`{name}`: {meaning}" if colon and re.fullmatch(r"[\w*, ]+", name) else text
