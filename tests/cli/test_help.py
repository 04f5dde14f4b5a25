"""What ``--help`` says on a terminal of 80 columns: summaries whole, lines that fit, names as one types them."""

import re

import pytest
from typer.testing import CliRunner

from eyas.cli.app import app
from eyas.cli.catalogue import commands

NAMES = [entry.name for entry in commands().entries]


def page(*arguments: str) -> str:
    return CliRunner().invoke(app, [*arguments, "--help"], env={"COLUMNS": "80"}).output


@pytest.mark.parametrize("group", [(), ("sites",)])
def test_the_summary_of_every_command_is_whole(group: tuple[str, ...]) -> None:
    lines = page(*group).partition("Commands:\n")[2].splitlines()
    before = "".join(f"{name} " for name in group)
    assert [before + line.split()[0] for line in lines] == [
        name for name in NAMES if name.startswith(before) and " " not in name.removeprefix(before)
    ]
    for line in lines:
        assert line.endswith("."), line
        assert not line.endswith((",", "...", "…")), line


@pytest.mark.parametrize("name", NAMES)
def test_help_fits_and_names_arguments_as_they_are_typed(name: str) -> None:
    text = page(*name.split())
    assert max(map(len, text.splitlines())) <= 80
    usage = text.partition("\n\n")[0]
    assert not re.search(r"[{}<>]|\[\[|\.\.\.\.", usage)
    assert "<" not in text.partition("Arguments:\n")[2].partition("Options:")[0]
    lines = text.partition("Options:\n")[2].partition("Commands:")[0].splitlines()
    bare = [line for line, below in zip(lines, [*lines[1:], ""], strict=True)
            if re.fullmatch(r"  -\S+( \S+)*", line) and not below.startswith(" " * 10)]  # fmt: skip
    assert bare == [], "an option without a word about it"


@pytest.mark.parametrize(
    ("typed", "offered"),
    [("--parms", "(Possible options: --params)"), ("--nme", "(Possible options: --name)"), ("--zzzzzz", "")],
)
def test_a_misspelt_option_offers_what_is_near_alone(typed: str, offered: str) -> None:
    result = CliRunner().invoke(app, ["run", typed, "x"])
    assert result.exit_code == 2
    (line,) = (line for line in result.output.splitlines() if "No such option" in line)
    assert line.endswith(offered or typed)
    assert line.count("--") == 1 + bool(offered)
