"""The public face: every name imports, and type checkers see its real type, so that a typo is an error."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import eyas

SNIPPET = """
import eyas
from torch import nn, Tensor

def halve(model: nn.Module, images: Tensor) -> nn.Module:
    space = eyas.trace(model, (images,))
    plan = space.plan({group.name: group.channels // 2 for group in space.groups})
    macs: int = space.cost().macs
    return eyas.prune(model, space, plan)
"""
WRONG = [
    ("eyas.trace(", "eyas.trcae(", 'Module has no attribute "trcae"'),
    ("space.plan(", "space.paln(", '"SearchSpace" has no attribute "paln"'),
    ("macs: int", "macs: str", "Incompatible types in assignment"),
    ("eyas.prune(model, space, plan)", "eyas.prune(model, space)", 'Missing positional argument "plan"'),
]


@pytest.mark.parametrize("name", eyas.__all__)
def test_every_public_name_is_where_it_is_said_to_be(name: str) -> None:
    assert name in dir(eyas)
    part = getattr(eyas, name)
    assert part.__name__ == name
    assert part.__module__ == eyas._MODULE_OF[name], "name the module that defines it"


def test_type_checkers_are_told_the_same() -> None:
    tree = ast.parse(Path(eyas.__file__).read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    told = {alias.name: node.module for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert told == eyas._MODULE_OF
    assert sorted(told) == sorted(eyas.__all__)


def test_an_unknown_name_is_no_attribute() -> None:
    with pytest.raises(AttributeError, match="'trcae'"):
        eyas.trcae  # type: ignore[attr-defined]  # noqa: B018


def test_right_code_passes_and_wrong_code_does_not(tmp_path: Path) -> None:
    (tmp_path / "right.py").write_text(SNIPPET)
    for number, (right, wrong, _) in enumerate(WRONG):
        (tmp_path / f"wrong_{number}.py").write_text(SNIPPET.replace(right, wrong))
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", "cache", "right.py"]
    files = [f"wrong_{number}.py" for number in range(len(WRONG))]
    said = subprocess.run([*command, *files], capture_output=True, text=True, cwd=tmp_path, check=False).stdout
    assert "right.py" not in said
    for file, (_, _, complaint) in zip(files, WRONG, strict=True):
        assert [complaint in line for line in said.splitlines() if line.startswith(file)] == [True], said
