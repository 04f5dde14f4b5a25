"""dvc.yaml against the code: every source a stage can reach is listed, every parameter exists, names agree."""

import importlib
import json
import pkgutil
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, get_args

import grimp
import pytest
import yaml

from eyas.component import Component
from eyas.config import PipelineParams
from tasks.dvc_cli import stage_names
from tasks.named_inputs import INPUTS

ROOT = Path(__file__).resolve().parents[2]
PIPELINE = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
# config names every component; only those in a stage's own section reach it. What a stage can see of config is there.
CONFIG = "eyas.config"
SECTIONS = {"src/eyas/config/section.py", "src/eyas/config/stages.py"}
# Reached by name, not by import: a plain architecture name is built by models/.
BY_NAME = {stage: ["models"] for stage in ("baseline", "sample", "score", "finetune", "export")}


# Packages that import their public names on first use say which only where types are checked.
ON_USE = {"eyas.adaptation.adapters", "eyas.data", "eyas.scoring", "eyas.training"}


@cache
def imports(*, for_types: bool = False) -> grimp.ImportGraph:
    return grimp.build_graph("tasks", "eyas", "models", exclude_type_checking_imports=not for_types)


def reached(module: str) -> set[str]:
    """Every module of ours that importing ``module`` runs, packages' ``__init__`` aside; config's own imports aside."""
    seen, waiting = {module}, [module]
    while waiting:
        here = waiting.pop()
        if here == CONFIG or here.startswith(f"{CONFIG}."):
            continue
        imported = imports(for_types=here in ON_USE).find_modules_directly_imported_by(here) - seen
        seen |= imported
        waiting += imported
    return seen


def families(section: str) -> Iterator[str]:
    """Packages of the components that a section may name."""
    params: Any = {field.alias or name: field.annotation for name, field in PipelineParams.model_fields.items()}[
        section
    ]
    for field in params.model_fields.values():
        kinds = [field.annotation, *get_args(field.annotation)]
        for kind in kinds:
            if isinstance(kind, type) and issubclass(kind, Component):
                yield kind.__module__.rpartition(".")[0]


def sections_of(stage: str) -> list[str]:
    """Of ``params.yaml``."""
    return [name for name in PIPELINE[stage]["params"] if isinstance(name, str)]


def path_of(module: str) -> str:
    file = importlib.util.find_spec(module).origin  # type: ignore[union-attr]
    return str(Path(file).resolve().relative_to(ROOT))  # type: ignore[arg-type]


def test_every_package_that_imports_on_use_is_known() -> None:
    inits = (ROOT / "src" / "eyas").rglob("__init__.py")
    lazy = [path.parent for path in inits if "import_on_use(" in path.read_text()]
    assert {".".join(folder.relative_to(ROOT / "src").parts) for folder in lazy} == ON_USE


@pytest.mark.parametrize("package", sorted({"eyas", *ON_USE}))
def test_no_name_that_is_imported_on_use_is_a_module_of_its_package(package: str) -> None:
    module = importlib.import_module(package)  # the module would take the name's place once it is imported
    assert not set(module.__all__) & {inner.name for inner in pkgutil.iter_modules(module.__path__)}


@pytest.mark.parametrize("stage", sorted(PIPELINE))
def test_every_source_a_stage_reaches_is_listed(stage: str) -> None:
    listed = [dep for dep in PIPELINE[stage]["deps"] if not dep.startswith("artifacts/")]
    modules = reached(f"tasks.{stage}")
    for package in [*families(stage), *BY_NAME.get(stage, [])]:
        members = {package, *imports().find_descendants(package)}
        modules |= members.union(*(reached(member) for member in members))
    files = {path_of(module) for module in modules} - {"src/eyas/__init__.py", "tasks/__init__.py"}
    files = {file for file in files if not file.startswith("src/eyas/config/")} | SECTIONS
    missing = {file for file in files if not any(file == dep or file.startswith(f"{dep}/") for dep in listed)}
    assert missing == set()


@pytest.mark.parametrize("stage", sorted(PIPELINE))
def test_what_is_listed_exists(stage: str) -> None:
    made = {out for other in PIPELINE.values() for part in ("outs", "metrics", "plots") for out in other.get(part, [])}
    for dep in PIPELINE[stage]["deps"]:
        assert dep in made or (ROOT / dep).exists(), dep


@pytest.mark.parametrize("stage", sorted(PIPELINE))
def test_a_stage_has_one_name_everywhere(stage: str) -> None:
    assert PIPELINE[stage]["cmd"] == f"PATH=.venv/bin:$PATH python -m tasks.{stage}"
    assert stage in sections_of(stage)
    outs = [out for part in ("outs", "metrics", "plots") for out in PIPELINE[stage].get(part, [])]
    assert all(out.startswith(f"artifacts/{stage}/") for out in outs)


def test_whole_sections_are_listed() -> None:
    """DVC fails on a single field that ``params.yaml`` leaves to its default."""
    sections = {field.alias or name for name, field in PipelineParams.model_fields.items()}
    assert {name for stage in PIPELINE for name in sections_of(stage)} <= sections


@pytest.mark.parametrize("stage", sorted(PIPELINE))
def test_a_stage_lists_its_part_of_what_dvc_cannot_see_and_it_is_written_down(stage: str) -> None:
    assert [name for name in PIPELINE[stage]["params"] if isinstance(name, dict)] == [{INPUTS: [stage]}]
    assert json.loads((ROOT / INPUTS).read_text()).keys() == PIPELINE.keys()


@pytest.mark.parametrize("stage", sorted(PIPELINE))
def test_every_section_a_stage_reads_is_listed(stage: str) -> None:
    text = (ROOT / "tasks" / f"{stage}.py").read_text()
    assert set(re.findall(r"\bparams\.(\w+)", text)) & set(PIPELINE) <= set(sections_of(stage))


def test_runtime_is_outside_of_dvcs_view() -> None:
    assert not any(name.startswith("runtime") for stage in PIPELINE for name in sections_of(stage))


def test_the_six_stages_run_in_the_order_of_the_design() -> None:
    assert stage_names(ROOT) == ["fetch", "baseline", "sample", "score", "finetune", "export"]
