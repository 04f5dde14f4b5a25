"""What a command says of the profile that it is given, before anything is started."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from eyas.errors import ParameterError
from flows import commands

HOW = {"wait": False, "register": True, "verbose": False, "quiet": False, "as_json": False}


@pytest.mark.parametrize(
    ("file", "overrides", "name", "words"),
    [
        (Path("nothing.yaml"), [], None, "nothing.yaml does not exist: give --params FILE"),
        (None, ["sample.budgt.macs=0.5"], None, "^--set sample.budgt.macs=0.5: sample.budgt: no such parameter"),
        (None, ["sample.budget.macs"], None, "^--set sample.budget.macs: expected section.field=value"),
        (None, [], "a b", "^--name 'a b': letters, digits"),
    ],
)
def test_wrong_names_start_nothing(
    file: Path | None, overrides: Sequence[str], name: str | None, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "begin_prefect", lambda: pytest.fail("nothing is started"))
    for command in (
        lambda: commands.run(file, overrides, name, **HOW),
        lambda: commands.rollback(file, overrides, name, ""),
        lambda: commands.status(file, overrides, name),
    ):
        with pytest.raises(ParameterError, match=words):
            command()
