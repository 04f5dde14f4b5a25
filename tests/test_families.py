"""One file adds a member to a family: it can be chosen, its contract is tested, the catalogue knows it."""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml

import eyas
from eyas.component import families

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Example:
    """The smallest new member of a family, in one file."""

    parameter: str
    """Where ``params.yaml`` names a member: ``section.field``; empty where only a call names it."""
    contract: str
    """The tests that every member passes."""
    source: str

    @property
    def choice(self) -> dict[str, dict[str, object]]:
        """``params.yaml`` that chooses the new member."""
        if not self.parameter:
            return {}
        section, field = self.parameter.split(".")
        return {section: {field: ["new"] if field.endswith("s") else "new"}}


EXAMPLES = {
    "adapter": Example(
        "",
        "tests/adaptation/adapters/test_contract.py",
        """
from typing import Literal

from eyas.adaptation.adapters.ada_bn import AdaBn


class New(AdaBn):
    kind: Literal["new"] = "new"
""",
    ),
    "calibrator": Example(
        "score.calibrator",
        "tests/calibration/test_contract.py",
        """
from typing import Literal

from eyas.calibration.moving_average import MovingAverage


class New(MovingAverage):
    kind: Literal["new"] = "new"
    momentum: float = 0.5
""",
    ),
    "criterion": Example(
        "sample.criterion",
        "tests/pruning/test_criteria.py",
        """
from typing import Literal

import torch

from eyas.pruning.criteria.base import Criterion


class New(Criterion):
    kind: Literal["new"] = "new"

    def __call__(self, group, model, data=None):
        return torch.ones(group.channels)
""",
    ),
    "detector": Example(
        "adapt.detector",
        "tests/adaptation/drift/test_detectors.py",
        """
from typing import Literal

from eyas.adaptation.detectors.distributions import Distributions


class New(Distributions):
    kind: Literal["new"] = "new"
""",
    ),
    "exporter": Example(
        "export.exporters",
        "tests/deploy/test_exporters.py",
        """
from typing import ClassVar, Literal

from eyas.deploy.exporters.onnx import Onnx


class New(Onnx):
    kind: Literal["new"] = "new"
    suffix: ClassVar[str] = ".new.onnx"
    opset: int = 18
""",
    ),
    "format": Example(
        "fetch.format",
        "tests/data/test_formats.py",
        """
from typing import Literal

import numpy as np

from eyas.data.formats.base import Format, Listing
from eyas.errors import DataError


class New(Format):
    kind: Literal["new"] = "new"

    @classmethod
    def recognises(cls, files):
        return "images.npz" in files

    def list_images(self, root, files):
        if not self.recognises(files):
            raise DataError("expected images.npz")
        labels = np.load(root / "images.npz")["labels"]
        number = np.arange(len(labels))
        classes = tuple(str(label) for label in range(labels.max() + 1))
        return Listing(("images.npz",), np.zeros_like(number), number, labels, classes, named=False)

    def read(self, path, rows):
        yield from np.load(path)["images"][list(rows)]

    def write_example(self, root, images_NHWC, labels):
        np.savez(root / "images.npz", images=images_NHWC, labels=np.array(labels))
""",
    ),
    "recipe": Example(
        "baseline.recipe",
        "tests/training/test_recipes.py",
        """
from typing import Literal

import torch

from eyas.training.recipes.base import Recipe


class New(Recipe):
    kind: Literal["new"] = "new"

    def optimiser(self, model):
        return torch.optim.Adam(model.parameters())

    def rate(self, epoch, epochs):
        return 1e-3

    def loss(self, logits_NK, labels_N, teacher_NK):
        return torch.nn.functional.cross_entropy(logits_NK, labels_N)
""",
    ),
    "recovery": Example(
        "finetune.recovery",
        "tests/recovery/test_refit.py",
        """
from typing import Literal

from eyas.recovery.least_squares import LeastSquares


class New(LeastSquares):
    kind: Literal["new"] = "new"
    strengths: tuple[float, ...] = (0.1,)
""",
    ),
    "prior": Example(
        "score.prior",
        "tests/scoring/priors/test_priors.py",
        """
from typing import Literal

import numpy as np

from eyas.scoring.priors.base import Prior


class New(Prior):
    kind: Literal["new"] = "new"

    def __call__(self, space, widths):
        return np.sqrt(widths).sum(1)
""",
    ),
    "sparsifier": Example(
        "finetune.sparsifier",
        "tests/training/test_sparsifiers.py",
        """
from typing import Literal

from eyas.training.sparsifiers.soft_shrinkage import SoftShrinkage


class New(SoftShrinkage):
    kind: Literal["new"] = "new"
    factor: float = 0.9
""",
    ),
    "sparsity": Example(
        "finetune.sparsity",
        "tests/pruning/test_sparsity.py",
        """
from typing import Literal

from eyas.pruning.sparsity.one_by_n import OneByN


class New(OneByN):
    kind: Literal["new"] = "new"
    zeros: float = 0.25
""",
    ),
    "runtime": Example(
        "export.runtimes",
        "tests/deploy/test_runtimes.py",
        """
from typing import ClassVar, Literal

from eyas.deploy.runtimes.onnx_runtime import OnnxRuntime


class New(OnnxRuntime):
    kind: Literal["new"] = "new"
    suffixes: ClassVar[tuple[str, ...]] = (".new",)
""",
    ),
    "sampler": Example(
        "sample.sampler",
        "tests/sampling/test_samplers.py",
        """
from typing import Literal

from eyas.sampling.samplers.random_widths import BudgetSampler


class New(BudgetSampler):
    kind: Literal["new"] = "new"
    floor: float = 0.2
""",
    ),
    "surgery": Example(
        "baseline.surgeries",
        "tests/networks/surgeries/test_contract.py",
        """
from typing import Literal

from eyas.networks.surgeries.unfold_batch_norm import UnfoldBatchNorm


class New(UnfoldBatchNorm):
    kind: Literal["new"] = "new"
    eps: float = 1e-3
""",
    ),
    "task": Example(
        "fetch.task",
        "tests/data/test_task_contract.py",
        """
from typing import ClassVar, Literal

from eyas.data.tasks.segmentation import Segmentation


class New(Segmentation):
    kind: Literal["new"] = "new"
    measure: ClassVar[str] = "accuracy"
    words: ClassVar[str] = "pixel accuracy"
""",
    ),
    "scorer": Example(
        "score.scorer",
        "tests/scoring/scorers/test_scorers.py",
        """
from typing import ClassVar, Literal

from eyas.scoring.scorers.base import Scorer, per_image


class New(Scorer):
    kind: Literal["new"] = "new"
    label: ClassVar[str] = "largest logit"

    def __call__(self, outputs):
        return per_image(outputs.logits.float().amax(1))

    def reference(self, outputs):
        return [max(logits) for logits in outputs.logits.tolist()]
""",
    ),
}
CHOOSE = """
import json, sys
from eyas.cli.catalogue import chapters
from eyas.config import load_params
params = load_params("params.yaml")
chosen = {}
for name in sys.argv[1:]:
    section, field = name.split(".")
    value = getattr(getattr(params, section), field)
    chosen[name] = (value[0] if isinstance(value, tuple) else value).kind
catalogue = {chapter.title: [entry.name for entry in chapter.entries] for chapter in chapters()}
print(json.dumps({"chosen": chosen, "catalogue": catalogue}))
"""


def test_every_family_has_an_example_here() -> None:
    """Also one whose root stands in another file than ``base.py``, where :func:`families` does not look."""
    source = "\n".join(path.read_text() for path in Path(eyas.__file__).parent.rglob("*.py"))
    roots = {name.lower() for name in re.findall(r"^class (\w+)\(Component\)", source, re.MULTILINE)}
    assert set(EXAMPLES) == set(families()) == roots


@pytest.mark.parametrize("family", sorted(families()))
def test_every_member_says_what_it_is_and_what_each_option_does(family: str) -> None:
    for kind, member in families()[family].members().items():
        assert member.__doc__ != families()[family].__doc__, kind
        for name, option in member.model_fields.items():
            assert name == "kind" or option.description, f"{kind}.{name} has no docstring beneath it"


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the sources in which every family has one more file."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in ("src", "flows", "tasks", "models", "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    for name, example in EXAMPLES.items():
        base = sys.modules[families()[name].__module__].__file__
        assert base is not None
        home = Path(base).relative_to(Path(eyas.__file__).parent).parent
        (folder / "src" / "eyas" / home / "new.py").write_text(example.source)
    return folder


def python(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python on the sources in ``folder``."""
    environment = {**os.environ, "PYTHONPATH": f"{folder / 'src'}{os.pathsep}{folder}"}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_a_new_member_can_be_chosen_and_is_in_the_catalogue(checkout: Path) -> None:
    content: dict[str, dict[str, object]] = {}
    for example in EXAMPLES.values():
        for section, fields in example.choice.items():
            content.setdefault(section, {}).update(fields)
    (checkout / "params.yaml").write_text(yaml.safe_dump(content))
    parameters = [example.parameter for example in EXAMPLES.values() if example.parameter]
    done = python(checkout, "-c", CHOOSE, *parameters)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["chosen"] == dict.fromkeys(parameters, "new")
    known = {name: {*root.members(), "new"} for name, root in families().items()}
    assert {name: set(answer["catalogue"][name]) for name in known} == known


def passed_by_new(report: Path) -> set[str]:
    """The files of tests that the member ``new`` passed."""
    return {
        case.attrib["classname"].removesuffix(".TestContract").replace(".", "/") + ".py"
        for case in ElementTree.parse(report).iter("testcase")
        if re.search(r"\bnew\b", case.attrib["name"].partition("[")[2]) and case.find("skipped") is None
    }


def test_a_new_member_is_tested_by_its_familys_contract_and_passes(checkout: Path) -> None:
    contracts = [example.contract for example in EXAMPLES.values()]
    options = ["-q", "-k", "new", "-p", "no:cacheprovider", "--junitxml", "report.xml"]
    done = python(checkout, "-m", "pytest", *options, *contracts)
    assert done.returncode == 0, done.stdout
    assert passed_by_new(checkout / "report.xml") == set(contracts)


THREE = ("calibrator", "criterion", "sampler")


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package of someone else's, one new file for each of three families; the checkout is not edited."""
    folder = tmp_path_factory.mktemp("elsewhere")
    (folder / "mine").mkdir()
    (folder / "mine" / "__init__.py").touch()
    for name in THREE:
        (folder / "mine" / f"{name}.py").write_text(EXAMPLES[name].source)
    return folder


def python_with(plugin: Path, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run Python on the checkout with the package beside it."""
    places = [str(ROOT / "src"), str(ROOT), str(plugin)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(places)}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


def test_files_of_a_plugin_can_be_chosen_and_are_in_the_catalogue(plugin: Path) -> None:
    content: dict[str, object] = {"plugins": ["mine"]}
    for name in THREE:
        for section, fields in EXAMPLES[name].choice.items():
            content[section] = {**content.get(section, {}), **fields}  # type: ignore[dict-item]
    (plugin / "params.yaml").write_text(yaml.safe_dump(content))
    done = python_with(plugin, "-c", CHOOSE, *[EXAMPLES[name].parameter for name in THREE], cwd=plugin)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["chosen"] == {EXAMPLES[name].parameter: "new" for name in THREE}
    assert all("new" in answer["catalogue"][name] for name in THREE)


def test_files_of_a_plugin_are_tested_by_their_families_contracts_and_pass(plugin: Path) -> None:
    modules = [option for name in THREE for option in ("-p", f"mine.{name}")]
    report = plugin / "report.xml"
    options = ["-q", "-k", "new", "-p", "no:cacheprovider", "--junitxml", str(report), *modules]
    contracts = [EXAMPLES[name].contract for name in THREE]
    done = python_with(plugin, "-m", "pytest", *options, *contracts, cwd=ROOT)
    assert done.returncode == 0, done.stdout
    assert passed_by_new(report) == set(contracts)
