"""The Python of README.md runs as it is printed."""

import re
from pathlib import Path

import pytest
import torch

TEXT = (Path(__file__).parents[2] / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", TEXT, re.S)


@pytest.mark.parametrize("code", BLOCKS)
def test_it_runs(code: str, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict = {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        exec(code, names)
    dense, cost = names["space"].cost(), names["result"].cost
    assert cost.macs == pytest.approx(0.5 * dense.macs, abs=0.005 * dense.macs)
    assert str(cost.macs) in capsys.readouterr().out
    assert sum(weights.numel() for weights in names["small"].parameters()) == cost.params
    assert names["small"](names["images"][:2]).shape == (2, 10)


def test_there_is_one() -> None:
    assert len(BLOCKS) == 1
