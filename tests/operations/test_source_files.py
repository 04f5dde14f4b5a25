"""What a module reaches, against what Python itself imports; and what only running would tell counts whole."""

import importlib
import itertools
import sys
import zipfile
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import version
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eyas.operations.source_files import SourceFiles
from eyas.storage.digests import file_sha256

NUMBERS = itertools.count()


def reached(folder: Path, *modules: str, listed: Callable[[Path], bool] = lambda _: False) -> dict[str, str]:
    return SourceFiles([str(folder), *sys.path]).reached_from(modules, listed)


def write(folder: Path, files: Mapping[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.fixture
def searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that Python looks in; what was imported from it is forgotten afterwards."""
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def imported(folder: Path, module: str) -> dict[str, str]:
    """What Python has imported from a folder, once the module's ``build`` has run."""
    importlib.invalidate_caches()
    importlib.import_module(module).build()
    files = {Path(m.__file__) for m in list(sys.modules.values()) if getattr(m, "__file__", None)}
    own = [path for path in files if path.is_relative_to(folder)]
    return {path.relative_to(folder).as_posix(): file_sha256(path) for path in own}


NET = "def build(): ...\n"
FORMS = {
    "import": {"p/__init__.py": "", "p/net.py": "import p.b\n" + NET, "p/b.py": "", "p/c.py": ""},
    "relative": {"p/__init__.py": "", "p/net.py": "from . import b\n" + NET, "p/b.py": "", "p/c.py": ""},
    "of a name": {"p/__init__.py": "", "p/net.py": "from .b import x\n" + NET, "p/b.py": "x = 1", "p/x.py": ""},
    "two levels up": {
        "p/__init__.py": "", "p/s/__init__.py": "", "p/s/net.py": "from .. import b\n" + NET, "p/b.py": "",
    },
    "in a function": {"p/__init__.py": "", "p/net.py": "def build():\n    from p import b\n", "p/b.py": ""},
    "by the package": {"p/__init__.py": "from p.b import y", "p/net.py": NET, "p/b.py": "y = 2", "p/c.py": ""},
    "beside the package": {"p/__init__.py": "", "p/net.py": "import helper\n" + NET, "helper.py": "", "other.py": ""},
    "in a circle": {"p/__init__.py": "", "p/net.py": "import p.b\n" + NET, "p/b.py": "import p.net"},
    "of a namespace": {"p/s/net.py": "from p.t import b\n" + NET, "p/t/b.py": ""},
    "by a text": {
        "p/__init__.py": "",
        "p/net.py": "import importlib\nimportlib.import_module('.b', 'p')\n" + NET,
        "p/b.py": "",
        "p/c.py": "",
    },
    "of all names": {
        "p/__init__.py": "",
        "p/net.py": "from p.s import *\n" + NET,
        "p/s/__init__.py": "__all__ = ['b']",
        "p/s/b.py": "",
        "p/s/c.py": "",
    },
    "for the type checker": {
        "p/__init__.py": "",
        "p/net.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import p.b\n" + NET,
        "p/b.py": "",
    },
    "that may fail": {
        "p/__init__.py": "",
        "p/net.py": "try:\n    import nowhere\nexcept ImportError:\n    import p.b\n" + NET,
        "p/b.py": "",
    },
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_what_is_reached_is_what_python_imports(form: str, searched: Path) -> None:
    write(searched, FORMS[form])
    module = "p.s.net" if (searched / "p/s/net.py").exists() else "p.net"
    assert reached(searched, module) == imported(searched, module)


def test_an_archive_counts_as_one_file(searched: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(searched / "nets.zip", "w") as archive:
        archive.writestr("p/__init__.py", "")
        archive.writestr("p/net.py", NET)
    assert set(reached(searched / "nets.zip", "p.net").values()) == {file_sha256(searched / "nets.zip")}


MODULES = ("net", "a", "b", "s", "s.c", "s.d", "s.t", "s.t.e")
WAYS = ("import {full}", "from {package} import {last}", "def late():\n    import {full}\nlate()", "import {full} as z")


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    edges=st.lists(
        st.tuples(st.sampled_from(MODULES), st.sampled_from(MODULES), st.sampled_from(WAYS)), max_size=9, unique=True
    ),
    edited=st.sampled_from(MODULES),
)
def test_any_graph_of_imports_is_walked_as_python_walks_it_and_only_its_files_count(
    searched: Path, edges: list[tuple[str, str, str]], edited: str
) -> None:
    top = f"graph{next(NUMBERS)}"
    lines: dict[str, list[str]] = {module: [] for module in MODULES}
    for origin, target, way in edges:
        if not target.startswith(origin) and not origin.startswith(target):  # a package in the making has no parts yet
            full = f"{top}.{target}"
            package, _, last = full.rpartition(".")
            lines[origin].append(way.format(full=full, package=package, last=last))
    packages = {"s", "s.t"}

    def path(module: str) -> str:
        return f"{top}/{module.replace('.', '/')}{'/__init__' if module in packages else ''}.py"

    files = {f"{top}/__init__.py": ""} | {path(module): "\n".join([*lines[module], ""]) for module in MODULES}
    write(searched, files)
    (searched / path("net")).write_text(files[path("net")] + NET)
    before = reached(searched, f"{top}.net")
    try:
        expected = imported(searched, f"{top}.net")
    except ImportError:  # a circle that Python cannot close: all of it counts nevertheless
        return
    assert before == {name: digest for name, digest in expected.items() if name.startswith(top)}
    (searched / path(edited)).write_text("# edited\n" + (searched / path(edited)).read_text())
    after = reached(searched, f"{top}.net")
    assert (after != before) == (path(edited) in before)
    assert {name for name in after if after[name] != before.get(name)} <= {path(edited)}


LOOKING = {
    "computed name": "import importlib\ndef build(name='b'): importlib.import_module('p.' + name)\n",
    "pkgutil": "import pkgutil\n" + NET,
    "its own place": "from pathlib import Path\ntext = Path(__file__).with_name('depth.yaml').read_text()\n" + NET,
    "resources": "from importlib import resources\n" + NET,
    "a renamed import": "from importlib import import_module as load\ndef build(): load('p.b')\n",
    "a path": "from importlib.util import spec_from_file_location\n" + NET,
}


@pytest.mark.parametrize("way", LOOKING)
def test_code_that_looks_around_counts_with_its_package_and_what_that_imports(way: str, tmp_path: Path) -> None:
    files = {"p/__init__.py": "", "p/net.py": LOOKING[way], "p/b.py": "import helper", "p/s/c.py": ""}
    beside = {"helper.py": "", "other.py": "", "p/depth.yaml": "8", "p/.hidden": "", "p/__pycache__/b.pyc": ""}
    write(tmp_path, files | beside)
    assert reached(tmp_path, "p.net").keys() == {*files, "p/depth.yaml", "helper.py"}


def test_outside_of_packages_the_files_that_it_names_count(tmp_path: Path) -> None:
    text = "HERE = __file__\nA, B, C = 'depth.yaml', 'parts', '../secret'\nlong = '" + "x" * 5000 + "'\nnull = '\\0'\n"
    write(tmp_path, {"at/net.py": text, "at/depth.yaml": "8", "at/parts/a.json": "", "at/other.json": "", "secret": ""})
    assert reached(tmp_path / "at", "net").keys() == {"net.py", "depth.yaml", "parts/a.json"}


BESIDE = {
    "a renamed import": ("from importlib import import_module as im\nS = im('scale').S", "scale.py"),
    "a computed name": ("import importlib\nS = importlib.import_module('sc' + 'ale').S", "scale.py"),
    "a formatted name": ("import importlib\nS = importlib.import_module(f'net_{3}').S", "net_3.py"),
    "resolve_name": ("from pkgutil import resolve_name\nS = resolve_name('scale:S')", "scale.py"),
    "locate": ("import pydoc\nS = pydoc.locate('scale.S')", "scale.py"),
    "its own frame": ("import inspect\nS = inspect.getfile(inspect.currentframe()) + '/s.json'", "s.json"),
    "an extension": ("from torch.utils.cpp_extension import load\nE = load('e', ['e.cpp'])", "e.cpp"),
}


@pytest.mark.parametrize("way", BESIDE)
def test_outside_of_packages_what_lies_beside_and_is_looked_for_counts(way: str, tmp_path: Path) -> None:
    code, other = BESIDE[way]
    write(tmp_path, {"net.py": code, other: "S = 2\n", "unread.json": ""})
    files = {name for name in reached(tmp_path, "net") if len(reached(tmp_path, "net")[name]) == 64}
    assert files == {"net.py", other}


def test_what_is_installed_counts_by_its_version_and_once_it_is_own_code_that_needs_it(tmp_path: Path) -> None:
    write(tmp_path, {"p/__init__.py": "import json", "p/net.py": "import numpy.linalg\nimport yaml"})
    own = reached(tmp_path, "p.net")
    assert {name: own[name] for name in own if not name.startswith("p/")} == {
        "numpy": version("numpy"), "PyYAML": version("PyYAML")
    }  # fmt: skip
    assert reached(tmp_path, "p.net", listed=lambda _: True) == {}
    assert reached(tmp_path, "yaml") == {"PyYAML": version("PyYAML")}
    assert reached(tmp_path, "json", "sys", "nowhere", "p.nowhere") == reached(tmp_path, "p")


def test_listed_files_do_not_count_but_what_they_reach_does(tmp_path: Path) -> None:
    write(tmp_path, {"models/__init__.py": "from models import a", "models/a.py": "import helper", "helper.py": ""})
    inside = (tmp_path / "models").resolve()
    assert reached(tmp_path, "models", listed=lambda path: path.is_relative_to(inside)).keys() == {"helper.py"}


def test_of_this_package_only_what_is_asked_for_is_read(tmp_path: Path) -> None:
    files = {"eyas/__init__.py": "", "eyas/recipes/mine.py": "import eyas.other, helper", "eyas/other.py": "import no"}
    write(tmp_path, files | {"no.py": "", "helper.py": ""})
    assert reached(tmp_path, "eyas.recipes.mine").keys() == {"helper.py"}
    assert reached(tmp_path, "helper") == reached(tmp_path, "eyas.recipes.mine")


def test_what_is_no_python_counts_as_it_is(tmp_path: Path) -> None:
    write(tmp_path, {"p/__init__.py": "", "p/net.py": "def build(:\n"})
    (tmp_path / "p/net.py").write_bytes(b"\xff\xfe broken \0")
    assert reached(tmp_path, "p.net")["p/net.py"] == file_sha256(tmp_path / "p/net.py")


def test_nothing_of_it_runs(tmp_path: Path) -> None:
    write(tmp_path, {"p/__init__.py": f"open({str(tmp_path / 'ran')!r}, 'w')", "p/net.py": "import p.b", "p/b.py": ""})
    assert len(reached(tmp_path, "p.net")) == 3
    assert not (tmp_path / "ran").exists()
    assert "p" not in sys.modules


@pytest.mark.parametrize(
    "reading",
    [
        'os.environ["NET_ACT"]',
        'os.environ.get("NET_ACT", "relu")',
        'os.getenv("NET_ACT")',
        'getenv("NET_ACT")',
        'environ.get("NET_ACT")',
        '"NET_ACT" in os.environ',
        'os.path.join(os.environ.get("NET_ACT", ""), "file")',
    ],
)
def test_a_variable_that_the_code_names_counts_by_a_digest(
    reading: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write(tmp_path, {"net.py": f"import os\nfrom os import environ, getenv\ndef build(): return {reading}\n"})
    digests = set()
    for value in (None, "", "relu", "gelu"):
        monkeypatch.delenv("NET_ACT", raising=False)
        if value is not None:
            monkeypatch.setenv("NET_ACT", value)
        code = reached(folder, "net")
        assert code.keys() == {"net.py", "$NET_ACT"}
        digests.add(code["$NET_ACT"])
    assert len(digests) == 4
    assert all(len(digest) == 64 and "gelu" not in digest for digest in digests)


def test_variables_of_other_names_do_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write(tmp_path, {"net.py": 'import os\nname = "A" + "B"\nos.environ[name]\n{}.get("C")\nprint("D")\n'})
    assert reached(folder, "net").keys() == {"net.py"}
