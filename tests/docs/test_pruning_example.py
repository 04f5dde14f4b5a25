"""The worked example of docs/pruning.md says what the library answers."""

import ast
import re
from pathlib import Path

import torch
from torch import nn

import eyas

TEXT = (Path(__file__).parents[2] / "docs" / "pruning.md").read_text()


def test_the_worked_example() -> None:
    code = next(block for block in re.findall(r"```python\n(.*?)```", TEXT, re.S) if "class Net" in block)
    names: dict = {"nn": nn, "torch": torch}
    exec(code, names)
    space = eyas.trace(names["Net"](), (torch.randn(1, 3, 8, 8),))
    assert [(g.name, g.channels, g.step, g.layers) for g in space.groups] == [("stem", 4, 1, ("stem", "bn", "body"))]
    assert repr(space.frozen[0]) in TEXT
    slices = {n: {d: len(i) for d, i in dims.items()} for n, dims in space.slices(space.plan({"stem": 3})).items()}
    written = re.search(r"^(\{'stem.weight'.*?\}\})$", TEXT, re.S | re.M)
    assert written is not None
    assert ast.literal_eval(written[1]) == slices
    assert f"({space.cost().macs}, {space.cost({'stem': 3}).macs})" in TEXT
