"""Every module can be the first that is imported: a command may begin with any of them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.import_graph import import_circles, modules_of

ROOT = Path(__file__).parents[1]
PACKAGES = {"eyas": ROOT / "src" / "eyas", "tasks": ROOT / "tasks", "flows": ROOT / "flows"}
TRY_EACH = """
import importlib, json, os, sys, traceback
import matplotlib, numpy, pyarrow, pydantic, torch  # once for all children

for module in json.loads(sys.argv[1]):
    child = os.fork()
    if not child:
        try:
            importlib.import_module(module)
        except BaseException:
            print(module, traceback.format_exc().splitlines()[-1], flush=True)
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        print(module, "died", flush=True)
"""


def failing_first(modules: list[str], *places: Path) -> list[str]:
    """Each of the modules imported in a process of its own, before any other: a line for one that fails."""
    path = os.pathsep.join(map(str, places))
    command = [sys.executable, "-c", TRY_EACH, json.dumps(modules)]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, check=True, text=True, capture_output=True)
    return done.stdout.splitlines()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a child per module")
def test_every_module_can_be_imported_first() -> None:
    """Only a module of a circle can fail for being the first, so these are tried."""
    modules = modules_of(PACKAGES)
    assert len(modules) > 500
    in_circles = [module for circle in import_circles(modules) for module in circle]
    assert failing_first(in_circles, ROOT / "src", ROOT) == []


@pytest.mark.parametrize("how", ["from net.words import TEXT", "import net.words", "from net import TEXT"])
def test_a_circle_is_seen_and_fails_where_it_is_entered(tmp_path: Path, how: str) -> None:
    """As a command met it: ``lines`` needs a package whose own module needs ``lines``."""
    package = tmp_path / "net"
    (package / "report").mkdir(parents=True)
    shown = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from net.words import TEXT\n"
    on_use = (
        "import importlib\n"
        "def __getattr__(name):\n"
        "    if name != 'TEXT':\n"
        "        raise AttributeError(name)\n"
        "    return importlib.import_module('net.words').TEXT\n"
    )
    (package / "__init__.py").write_text(shown + on_use)
    (package / "report" / "__init__.py").write_text("from net.report.rows import ROWS\n")
    (package / "report" / "rows.py").write_text("from net.lines import LINES\nROWS = LINES\n")
    (package / "report" / "table.py").write_text("TABLE = 1\n")
    (package / "lines.py").write_text(f"{how}\nLINES = 1\n")
    (package / "words.py").write_text("from net.report.table import TABLE\nTEXT = TABLE\n")
    (package / "apart.py").write_text("def use():\n    import net.lines\n")
    (circle,) = import_circles(modules_of({"net": package}))
    assert circle == ["net.lines", "net.report", "net.report.rows", "net.words"]
    failing = [line.split()[0] for line in failing_first(circle, tmp_path)]
    assert "net.lines" in failing
    assert "net.report" not in failing
