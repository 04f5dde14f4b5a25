"""Commands of pages: alone, broken behind backslashes, whole for a shell."""

import shlex

import pytest

from eyas.operations.typed_commands import TypedCommand, broken, pasted, shell_words, typed_command

LONG = "eyas predict --params mine.yaml --set sample.budget.macs=0.5 'a photo.png' --set sample.candidates=9"


@pytest.mark.parametrize(
    ("step", "parts"),
    [
        (
            "eyas promote --version 1   (its gate allows it)",
            ("eyas promote --version 1", "its gate allows it"),
        ),
        ("eyas status", ("eyas status", "")),
        ("git checkout 12   # the checkout held changes", ("git checkout 12", "the checkout held changes")),
        ("# mine.yaml: the parameters", ("", "mine.yaml: the parameters")),
        ("run on other test images (fetch.test)", ("", "run on other test images (fetch.test)")),
        (
            "run on other images; without such images .venv/bin/eyas promote --force 'it will do'",
            (".venv/bin/eyas promote --force 'it will do'", "run on other images; without such images"),
        ),
    ],
)
def test_what_is_said_of_a_command_is_no_part_of_it(step: str, parts: tuple[str, str]) -> None:
    assert typed_command(step) == TypedCommand(*parts)


def test_a_long_command_goes_on_behind_a_backslash_with_each_option_beside_its_value() -> None:
    lines = broken(LONG, 50).splitlines()
    assert len(lines) > 2
    assert all(line.endswith(" \\") for line in lines[:-1])
    assert max(map(len, lines)) <= 50
    assert not any(line.removesuffix(" \\").endswith("--set") for line in lines)
    assert shlex.split(" ".join(line.removesuffix("\\") for line in lines)) == shlex.split(LONG)
    assert broken("eyas run") == "eyas run"


def test_words_and_what_parts_them_make_the_text_again() -> None:
    text = broken(LONG, 50)
    pieces = shell_words(text)
    assert "".join(pieces) == text
    assert "'a photo.png'" in [piece.strip(" \\") for piece in pieces[1::2]]
    assert all(not piece.strip() for piece in pieces[::2])


def test_comments_of_a_script_stand_apart() -> None:
    script = ["git checkout 12   # it held changes", "make setup", "# my.yaml: must lie there", LONG]
    commands, notes = pasted(script)
    assert notes == ["it held changes", "my.yaml: must lie there"]
    assert commands.splitlines()[:2] == ["git checkout 12", "make setup"]
    assert "#" not in commands
