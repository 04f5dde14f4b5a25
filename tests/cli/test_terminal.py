"""Text in lines of a terminal: nothing is lost, no word or number is broken, and a command can still be pasted."""

import shlex

import pytest

from eyas.cli import init_command, terminal
from eyas.cli.terminal import wrapped, wrapped_step
from eyas.operations.typed_commands import is_command

VERDICT = (
    "Success: +0.00 points against the dense network, which is 0 of 349 test images (0 gained, 0 lost); "
    "95 % interval −0.56 to +0.56 points"
)
COMMAND = "MLFLOW_TRACKING_URI='sqlite:////a place/mlflow.db' .venv/bin/eyas promote --force 'why it is good enough'"


@pytest.mark.parametrize("width", range(24, 140, 7))
def test_lines_fit_and_say_the_same(width: int) -> None:
    lines = wrapped(VERDICT, width).split("\n")
    assert all(len(line) <= width for line in lines)
    assert " ".join(line.strip() for line in lines) == VERDICT
    assert all(line.startswith("  ") for line in lines[1:])
    assert not any(line.endswith(" 95") for line in lines)


def test_a_number_stays_with_its_unit() -> None:
    assert wrapped("it has 375 k MACs of 747 k", 10, 0).split("\n") == ["it has", "375 k MACs", "of 747 k"]
    assert wrapped("took 0.0354 ms", 11, 0).split("\n") == ["took", "0.0354 ms"]


def test_a_word_that_is_longer_than_a_line_stays_whole() -> None:
    assert wrapped("see /a/long-path/to/report.html now", 12, 4).split("\n") == [
        *("see", "    /a/long-path/to/report.html", "    now"),
    ]


def test_without_a_terminal_nothing_is_broken() -> None:
    assert wrapped(VERDICT, None) == VERDICT
    assert wrapped_step(COMMAND, None, 7) == COMMAND


def test_lines_of_a_text_are_broken_for_themselves() -> None:
    assert wrapped("one two\n  three four", 8, 2) == "one two\n  three\n    four"


@pytest.mark.parametrize("width", [40, 60, 80])
def test_a_broken_command_is_the_same_to_a_shell(width: int) -> None:
    text = wrapped_step(f"{COMMAND}   (overrules the gates; the reason is recorded)", width, 7)
    lines = text.split("\n")
    note = next(place for place, line in enumerate(lines) if line.startswith("       (overrules"))
    command = lines[:note]
    assert len(command) > 1
    assert all(line.endswith(" \\") for line in command[:-1])
    assert not command[-1].endswith("\\")
    joined = "\n".join(command).replace("\\\n", " ")
    assert shlex.split(joined) == shlex.split(COMMAND)
    assert " ".join(line.strip() for line in lines[note:]) == "(overrules the gates; the reason is recorded)"


def test_advice_in_words_is_broken_as_words() -> None:
    advice = "run on test images that the first weights were not made from (fetch.test): the gates refuse"
    assert not is_command(advice)
    assert wrapped_step(advice, 60, 7).split("\n") == [
        "run on test images that the first weights were not", "       made from (fetch.test): the gates refuse"
    ]  # fmt: skip
    assert all(map(is_command, ["make ui   (pages)", "python -m eyas.cli run", COMMAND]))


@pytest.mark.parametrize(
    ("line", "below"),
    [
        ("few       " + "some words " * 9, 10),
        ("          " + "some words " * 9, 10),
        ("          2  " + "some words " * 9, 13),
    ],
)
def test_what_goes_on_stands_below_the_words_behind_a_label(
    line: str, below: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(terminal, "terminal_width", lambda *, err=False: 80)
    terminal.echo_labelled(line)
    first, second = capsys.readouterr().out.splitlines()
    assert len(first) <= 80
    assert first.startswith(line[:below])
    assert len(second) - len(second.lstrip()) == below


def test_a_question_breaks_between_words(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def prompt(text: str, *, default: str | None, show_default: bool) -> str:
        asked.append(f"{text}: ")
        return "yes" if default is None or show_default else default

    monkeypatch.setattr(init_command, "terminal_width", lambda: 80)
    monkeypatch.setattr("typer.prompt", prompt)
    question = "What was asked " * 12
    assert init_command._ask(question, str, "given") == "given"
    lines = asked[0].splitlines()
    assert max(map(len, lines)) <= 80
    assert " ".join(asked[0].split()) == " ".join(f"{question} [given]:".split())
