"""docs/extending.md as it is printed: a package of the user's own through the stages, in a workspace."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml
from sklearn.datasets import load_digits

from eyas.cli.catalogue import find
from eyas.cli.reference import details
from eyas.component import families
from eyas.config import load_params, parse_params
from eyas.config.plugins import find_modules_of
from eyas.errors import ParameterError
from eyas.training import TensorSplit, train
from eyas.training.recipes.sgd import SGD
from tasks.named_inputs import own_code, write_inputs
from tasks.named_inputs import plugins as plugins_in
from tasks.users_code import of_the_users_code
from tasks.workspace import Workspace, open_workspace
from tests.tasks.conftest import BASELINE

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "extending.md").read_text()
FILES = dict(re.findall(r"```(?:python|yaml)\n# (\S+)\n(.*?)```", TEXT, re.S))
KINDS = {"criterion": "largest_weight", "sampler": "near_uniform", "scorer": "margin", "recipe": "straight"}
SMALL = [
    *("sample.candidates=12", "sample.tolerance=0.02", "finetune.epochs=1", "finetune.recipe.batch_size=256"),
    *("score.rungs=[{images: 64, keep: 3}, {images: 128, calibration_images: 100, mode: held_out}]",),
]


@pytest.fixture
def _forgotten(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Modules and members of the page leave no trace in this process."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] in {"my_pruning", "my_training", "my_steps"}]:
        del sys.modules[name]
    for family, kind in KINDS.items():
        families()[family].registry.pop(kind, None)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout, and elsewhere the parameter file of the page with its package beside it."""
    root, elsewhere = tmp_path / "checkout", tmp_path / "elsewhere"
    (root / "src").mkdir(parents=True)
    for name in ("dvc.yaml", "params.yaml", ".dvcignore", "models", "tasks", "src/eyas"):
        (root / name).symlink_to(ROOT / name)
    (root / ".dvc").mkdir()
    for name, text in FILES.items():
        (elsewhere / name).parent.mkdir(parents=True, exist_ok=True)
        (elsewhere / name).write_text(text)
    content = {**yaml.safe_load(FILES["mine.yaml"]), "baseline": BASELINE}
    (elsewhere / "mine.yaml").write_text(yaml.safe_dump(content))
    (elsewhere / "my_pruning" / "__init__.py").touch()
    return root


def opened(checkout: Path, *overrides: str) -> Workspace:
    return open_workspace(checkout, checkout.parent / "elsewhere" / "mine.yaml", overrides)


STAGES = """
from tasks import finetune, sample, score, stage
for name, module in {"sample": sample, "score": score, "finetune": finetune}.items():
    stage.main(name, getattr(module, name), module.FIELDS)
"""


@pytest.mark.usefixtures("_forgotten")
def test_the_page_through_the_stages(checkout: Path, pruned_digits: Path) -> None:
    workspace = opened(checkout, *SMALL, "runtime.threads=1", "runtime.device=cpu")
    with workspace.locked():
        for name in ("fetch", "baseline"):
            shutil.copytree(pruned_digits / name, workspace.artifacts / name)
        environment = {**workspace.environment(), "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}
        command = [sys.executable, "-c", STAGES]  # in the workspace, and knows nothing but what lies there
        done = subprocess.run(command, cwd=workspace.folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    diagnostics = json.loads((workspace.artifacts / "score/diagnostics.json").read_text())
    assert diagnostics["settings"]["scorer"] == {"kind": "margin"}
    _, epoch = csv.DictReader((workspace.artifacts / "finetune/history.csv").read_text().splitlines())
    assert float(epoch["learning_rate"]) == pytest.approx(0.002 * (1 - 0.75 / 2))  # the third of three steps
    recipe = workspace.params.finetune.recipe
    assert (recipe.kind, recipe.batch_size, recipe.optimizer) == ("straight", 256, "adamw")


@pytest.mark.usefixtures("_forgotten")
def test_what_is_edited_makes_the_stages_stale_that_use_it(checkout: Path) -> None:
    workspace, elsewhere = opened(checkout), checkout.parent / "elsewhere"
    workspace.folder.mkdir(parents=True)
    stale = {}
    for name in sorted(FILES.keys() - {"mine.yaml"}):
        before = write_inputs(workspace)
        (elsewhere / name).write_text((elsewhere / name).read_text() + "# edited\n")
        after = write_inputs(workspace)
        stale[Path(name).stem] = {stage for stage in after if before[stage] != after[stage]}
    assert stale == {
        "criterion": {"sample", "score"},
        "sampler": {"sample", "score"},
        "scorer": {"score", "finetune"},
        "recipe": {"finetune"},
        "my_training": {"finetune"},
        "my_steps": set(),  # nothing names it
    }
    assert set(plugins_in(workspace.params)) == {
        f"{family} {kind} of my_pruning.{family}" for family, kind in KINDS.items()
    }
    code = {"own": {name: digest for part in own_code(workspace).values() for name, digest in part.items()}}
    assert [check.holds for check in of_the_users_code(workspace, code, "")] == [True]


@pytest.mark.usefixtures("_forgotten")
def test_steps_of_ones_own_train_in_the_loop(checkout: Path) -> None:
    """By the option that the page prints; the radius 0 is plain descent, and a larger one is not."""
    (option,) = re.findall(r"--set '(finetune\.recipe=.*)'", TEXT)
    workspace = opened(checkout, option, "finetune.recipe.learning_rate=0.5")
    workspace.folder.mkdir(parents=True)
    assert "my_steps.py" in write_inputs(workspace)["finetune"]
    recipe = workspace.params.finetune.recipe
    assert recipe.model_dump()["arguments"] == {"radius": 0.02}
    digits = load_digits()
    data = TensorSplit(
        torch.tensor(digits.images[:512, None], dtype=torch.float32) / 16, torch.tensor(digits.target[:512])
    )
    plain = SGD(learning_rate=0.5, distillation=None)
    weights = []
    for way in (plain, recipe.model_copy(update={"arguments": {"radius": 0.0}}), recipe):
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
        losses = [epoch.train_loss for epoch in train(model, data, data, recipe=way, epochs=3).history]
        assert losses[-1] < 0.6 * losses[0]
        weights.append(model[1].weight.detach())
    assert torch.allclose(weights[0], weights[1], atol=1e-6)
    assert not torch.allclose(weights[0], weights[2], atol=1e-4)


@pytest.mark.usefixtures("_forgotten")
def test_the_catalogue_shows_them_with_their_module_and_options(checkout: Path) -> None:
    opened(checkout)
    for family, kind in KINDS.items():
        (entry,) = find(kind)
        assert entry.origin == f"my_pruning.{family}"
        assert f" (from my_pruning.{family})" in details(entry)
    (entry,) = find("largest_weight")
    assert [(option.name, option.default) for option in entry.parameters] == [("power", "1.0")]


DOUBLE = FILES["my_pruning/criterion.py"].replace("largest_weight", "l1_norm")


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("recipe.py", "import nowhere\n", "fails with ModuleNotFoundError: No module named 'nowhere'; mend"),
        ("criterion.py", DOUBLE, "fails with TypeError: criterion kind 'l1_norm' is defined twice"),
        ("__init__.py", "1 / 0\n", "fails with ZeroDivisionError: division by zero; mend it"),
        ("__init__.py", "raise SystemExit\n", "fails with SystemExit"),
        (
            None,
            "",
            "is not on this machine: install it, or put it beside the parameter file or on PYTHONPATH",
        ),
    ],
)
@pytest.mark.usefixtures("_forgotten")
def test_a_plugin_that_cannot_be_imported_is_one_line(name: str | None, text: str, words: str, checkout: Path) -> None:
    package = checkout.parent / "elsewhere" / "my_pruning"
    if name is None:
        shutil.rmtree(package)
    else:
        (package / name).write_text(text)
    with pytest.raises(ParameterError) as told:
        opened(checkout)
    assert "\n" not in str(told.value)
    file = checkout.parent / "elsewhere" / "mine.yaml"
    assert str(told.value).startswith(f"{file}: plugins: my_pruning {words}")


@pytest.mark.parametrize("plugins", ["my_pruning", [3], ["my-pruning"], {"my_pruning": 1}, [""]])
def test_what_names_no_modules_is_refused(plugins: object) -> None:
    with pytest.raises(ParameterError, match=r"plugins: expected names of modules in a list, as in \[my_package"):
        parse_params({"plugins": plugins})


@pytest.mark.usefixtures("_forgotten")
def test_installed_plugins_are_known_without_being_named(tmp_path: Path) -> None:
    """By entry point, in a process of its own: a library, a parameter file and the catalogue find them."""
    for name in ("my_pruning/criterion.py", "my_pruning/sampler.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(FILES[name])
    (tmp_path / "my_pruning/__init__.py").touch()
    (tmp_path / "mine-1.0.dist-info").mkdir()
    (tmp_path / "mine-1.0.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
    (tmp_path / "mine-1.0.dist-info/entry_points.txt").write_text("[eyas.components]\nmine = my_pruning\n")
    code = """
import sys
from eyas.pruning.criteria import Criterion
assert "my_pruning" not in sys.modules
print(Criterion.parse("largest_weight"))
from eyas.config import parse_params
print(parse_params({"sample": {"sampler": "near_uniform"}}).sample.sampler)
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(tmp_path)])}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == ["kind='largest_weight' power=1.0", "kind='near_uniform' floor=0.8 drop=0.5"], (
        done.stderr
    )
    (tmp_path / "my_pruning/sampler.py").write_text("import nowhere\n")
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert "ParameterError: entry point mine of mine: my_pruning fails with ModuleNotFoundError" in done.stderr


def test_a_folder_of_that_name_is_no_workspace_where_no_checkout_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "origin.json").write_text("[]")
    (tmp_path / "params.yaml").write_text("score: {seed: 3}\n")
    assert load_params(tmp_path / "params.yaml").score.seed == 3
    assert sys.path[-1] == str(tmp_path)
    find_modules_of(tmp_path / "params.yaml")
    assert sys.path.count(str(tmp_path)) == 1
