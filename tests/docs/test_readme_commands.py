"""The shell lines of README.md: the cheap ones run as printed, in a checkout of their own, on photographs of its own.

Run: ``eyas init``, ``eyas run --check``, ``eyas inspect``, ``eyas doctor``. Only parsed, by the command's own parser
and the names that its overrides may have: ``eyas run``, also with ``--budgets`` or ``--sweep`` (whole runs), ``eyas
predict``, ``promote``, ``compare``, ``watch`` and ``adapt`` (they need a version, or two results). Of ``make run`` and
``make test`` it is only asked whether make knows them.
"""

import re
import shlex
import shutil
from pathlib import Path

import pytest
import torch
import typer
import yaml

import models
from eyas.cli.app import app
from eyas.config import parse_params
from eyas.config.first_look import look_at_names
from tasks.sweep_values import sweep_items
from tests.integration.conftest import ROOT, Checkout
from tests.support.colour_bundle import photograph

TEXT = (ROOT / "README.md").read_text()
FENCED = re.findall(r"^```(\w*)\n(.*?)^```", TEXT, re.M | re.S)
BLOCKS = [block for language, block in FENCED if not language and re.match(r"make|\.venv/bin/eyas", block)]
LINES = [line.partition("  #")[0].strip() for block in BLOCKS for line in block.splitlines()]
COMMANDS = [shlex.split(line)[1:] for line in LINES if line.startswith(".venv/bin/eyas ")]
PACKAGE = """
from torch import nn


def build(num_classes=2):
    features = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
    return nn.Sequential(features, nn.Flatten(), nn.Linear(8, num_classes))
"""
TOLD = {
    "init": "wrote     mine.yaml\n",
    "run": "mine can run: looked at parameters, data, checkpoint",
    "inspect": "reachable down to",
    "doctor": "a run can start: eyas run",
}
"""What each of the cheap ones must say."""
PARTS = ("flows", "tasks", "models", "src", "dvc.yaml", "params.yaml", ".dvc/config", ".dvcignore")


def cheap(words: list[str]) -> bool:
    return words[0] in {"init", "inspect", "doctor"} or "--check" in words


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """What the commands need of the checkout, with photographs, weights and a package of the user's own."""
    folder = tmp_path_factory.mktemp("readme") / "eyas"
    for name in PARTS:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, folder / name)
    for split, images in (("train", range(30)), ("test", range(30, 36))):
        for colour in ("red", "green"):
            place = folder / "photos" / split / colour
            place.mkdir(parents=True)
            for number in images:
                photograph(colour, (16, 18), number).save(place / f"{number}.png")
    photograph("red", (20, 20)).save(folder / "photo.png")
    torch.save(models.build("resnet8", 2, width=4).state_dict(), folder / "dense.pt")
    (folder / "my_package").mkdir()
    (folder / "my_package" / "networks.py").write_text(PACKAGE)
    return Checkout(folder)


@pytest.mark.parametrize("words", [*filter(cheap, COMMANDS)], ids=lambda words: words[0])
def test_a_cheap_one_runs(checkout: Checkout, words: list[str]) -> None:
    """In the order of the page: ``run --check`` looks at what ``init`` wrote."""
    told = checkout.run("eyas.cli", *words, environment={"PWD": str(checkout.folder)})
    assert TOLD[words[0]] in told


def test_every_one_is_understood(checkout: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(checkout.folder)
    Path("mine.yaml").touch()
    group = typer.main.get_command(app)
    for words in COMMANDS:
        name, command, rest = group.resolve_command(typer.Context(group), words)  # type: ignore[attr-defined]
        assert name == words[0]
        read = command.make_context(name, rest).params
        swept = [item for sweep in read.get("sweep") or () for item in sweep_items(sweep)]
        look_at_names(Path("params.yaml"), [*(read.get("overrides") or ()), *swept])


def test_make_knows_what_is_typed() -> None:
    targets = [line.split()[1] for line in LINES if line.startswith("make ")]
    assert targets == ["run", "test"]
    for target in targets:
        assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.M)


def test_the_parameter_file_is_one() -> None:
    (block,) = (block for language, block in FENCED if language == "yaml")
    assert parse_params(yaml.safe_load(block)).sample.budget.limits == {"macs": 0.4}


def test_nothing_that_is_typed_is_left_out() -> None:
    assert len(COMMANDS) == TEXT.count("\n.venv/bin/eyas ")
    assert sum(map(cheap, COMMANDS)) == 4
    assert len(BLOCKS) == 5
