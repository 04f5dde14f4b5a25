"""The catalogue holds what the code holds, and the committed pages are current."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field

import eyas
from eyas.cli.api import api
from eyas.cli.catalogue import Chapter, chapters, family_chapter, find
from eyas.cli.parameters import parameters
from eyas.cli.reference import details, listing, plain_formula, reference
from eyas.component import Component, families
from eyas.config import PipelineParams
from eyas.errors import BadInputError

ROOT = Path(__file__).resolve().parents[2]


class Inner(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)
    number: Annotated[int, Field(ge=2)] = 3
    """Of things."""


class Outer(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)
    share: Annotated[float, Field(gt=0, lt=1)] | None = 0.5
    """A ``share``
    of it."""
    names: tuple[str, ...] = ("a", "b")
    choice: Literal["x", "y"] = "y"
    needed: bool
    inner: Inner = Inner(number=7)
    """What is inside."""


def test_a_field_is_told_with_type_bounds_default_and_meaning() -> None:
    rows = [(one.name, one.type, one.default, one.meaning) for one in parameters(Outer)]
    assert rows == [
        ("share", "number > 0, < 1 or none", "0.5", "A ``share`` of it."),
        ("names", "list of string", '["a", "b"]', ""),
        ("choice", "x | y", "y", ""),
        ("needed", "boolean", "required", ""),
        ("inner", "fields", '{"number": 7}', "What is inside."),
        ("inner.number", "integer >= 2", "7", "Of things."),
    ]


def test_every_member_of_every_family_is_there() -> None:
    """Against the classes themselves: every concrete component of the library has a ``kind``."""
    titles = {chapter.title: {entry.name for entry in chapter.entries} for chapter in chapters()}
    for family, root in families().items():
        own = (
            member for member in descendants(root) if member.__module__.startswith("eyas.")
        )  # tests define some, too
        kinds = {member.model_fields["kind"].default for member in own}
        assert titles[family] >= kinds - {""}
    assert {"criterion", "calibrator", "sampler", "scorer", "recipe", "exporter"} <= set(titles)


def descendants(root: type[Component]) -> set[type[Component]]:
    below = set(root.__subclasses__())
    return below.union(*(descendants(one) for one in below)) if below else below


def test_a_new_member_appears_with_its_paper_and_options() -> None:
    class Fruit(Component):
        """A family."""

    class Apple(Fruit):
        """Round (Newton 1687).

        After arXiv:1234.56789.

        Use it raw, or
        with ``sugar``.
        """

        kind: Literal["apple"] = "apple"
        weight: Annotated[float, Field(gt=0)] = 0.1
        """In kilograms."""

    chapter = family_chapter(Fruit)
    (entry,) = chapter.entries
    assert (chapter.title, chapter.about) == ("fruit", "A family.")
    assert (entry.name, entry.summary, entry.papers) == ("apple", "Round (Newton 1687).", ("1234.56789",))
    assert [(one.name, one.meaning) for one in entry.parameters] == [("weight", "In kilograms.")]
    assert entry.use == "Use it raw, or with ``sugar``."
    assert "  Use it raw, or with sugar.\n" in details(entry)
    page = reference([chapter])
    assert "\nUse it raw, or with `sugar`.\n" in page
    assert "See [arXiv:1234.56789](https://arxiv.org/abs/1234.56789)." in page
    assert "| `weight` | number > 0 | `0.1` | In kilograms. |" in page


def test_every_criterion_says_when_to_use_it() -> None:
    entries = family_chapter(families()["criterion"]).entries
    assert [entry.name for entry in entries if not entry.use and not entry.origin] == []


@pytest.fixture(scope="module")
def whole() -> list[Chapter]:
    return chapters()


def test_every_section_is_there(whole: list[Chapter]) -> None:
    (sections,) = (chapter for chapter in whole if chapter.title == "params.yaml")
    assert [entry.name for entry in sections.entries] == list(PipelineParams().model_dump(by_alias=True))
    budget = next(entry for entry in sections.entries if entry.name == "sample").parameters
    assert next(one.default for one in budget if one.name == "budget.macs") == "0.5"


def test_a_listing_has_every_entry_and_no_markup(whole: list[Chapter]) -> None:
    text = listing(whole)
    assert all(f"  {entry.name}" in text for chapter in whole for entry in chapter.entries)
    last = text.splitlines()[-1]
    assert all(f"{chapter.title} ({len(chapter.entries)})" in last for chapter in whole), "seen without scrolling back"
    assert "``" not in text
    assert ":class:" not in text
    assert "\\" not in text, "no LaTeX"


def test_no_entry_shows_latex(whole: list[Chapter]) -> None:
    for chapter in whole:
        for entry in chapter.entries:
            if not entry.help:
                assert not re.search(r"\\[a-z|,]", details(entry)), entry.name


@pytest.mark.parametrize(
    ("latex", "text"),
    [
        (r"\mathrm{KL}(q \,\|\, p) = \sum_k q_k (\log q_k - \log p_k)", "KL(q || p) = sum_k q_k (log q_k - log p_k)"),
        (r"\sqrt{v_{dense} / v_{pruned}}", "sqrt(v_dense / v_pruned)"),
        (r"\log(1 + \sigma_{l,i}^2)", "log(1 + sigma_{l,i}^2)"),
        (r"\frac{a}{b}", "(a) / (b)"),
    ],
)
def test_a_formula_is_written_as_one_types_it(latex: str, text: str) -> None:
    assert plain_formula(latex) == text


def test_an_entry_is_shown_by_its_name() -> None:
    (momentum,) = (details(entry) for entry in find("moving_average"))
    assert "momentum (number > 0, <= 1) = 0.1: Weight of the newest batch." in momentum
    assert len(find("scorer")) == len(families()["scorer"].members())
    with pytest.raises(BadInputError, match="nothing is called 'nothing'.*eyas catalogue lists all.*calibrator"):
        find("nothing")
    with pytest.raises(
        BadInputError, match=r"nothing is called 'calibrater' \(did you mean 'calibrator'\?\); eyas catalogue"
    ):
        find("calibrater")


@pytest.mark.parametrize("columns", [80, 120])
def test_a_listing_fits_its_columns(columns: int, whole: list[Chapter]) -> None:
    lines, text = listing(whole, columns).splitlines(), listing(whole)
    assert max(map(len, lines)) <= columns
    assert max(map(len, text.splitlines())) > columns
    assert " ".join(" ".join(lines).split()) == " ".join(text.split())


def test_every_public_name_is_on_the_page_of_the_api() -> None:
    page = api()
    assert re.findall(r"^## `eyas\.(\w+)`$", page, re.MULTILINE) == list(eyas.__all__)
    assert "def prune(" in page


@pytest.mark.parametrize("page", ["reference.md", "api.md"])
def test_the_committed_pages_are_current(page: str, written: Path) -> None:
    assert (ROOT / "docs" / page).read_text() == (written / page).read_text(), "run `make docs`"


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pages as a process of its own writes them: tests here define members that are no part of the library."""
    folder = tmp_path_factory.mktemp("docs")
    command = [sys.executable, "-m", "eyas.cli", "catalogue", "--docs", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True)
    return folder
