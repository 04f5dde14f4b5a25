"""What the names of parameters tell without their classes, and that it is what the classes say."""

import subprocess
import sys
from pathlib import Path

import pytest

from eyas.config import BudgetParams, PipelineParams
from eyas.config.field_names import field_names, unknown_name
from eyas.config.first_look import look_at_names
from eyas.errors import ParameterError, fields_of, model_of


def test_names_in_the_source_are_those_of_the_classes() -> None:
    sections = fields_of(PipelineParams)
    assert field_names() == tuple(sections)
    for name, field in sections.items():
        expected = tuple(fields_of(model_of(field.annotation, {})))
        assert field_names([name]) == (expected or None)
    assert field_names(["sample", "budget"]) == tuple(BudgetParams.model_fields)
    assert field_names(["sample", "criterion"]) is None  # its options depend on its kind


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("fintune.epochs", "fintune: no such parameter (did you mean 'finetune'?); sections are fetch, "),
        ("sample.budgt.macs", "sample.budgt: no such parameter (did you mean 'budget'?); sample knows budget, "),
        ("sample.budget.mac", "sample.budget.mac: no such parameter (did you mean 'macs'?); sample.budget knows macs"),
        ("sample.criterion.anything", ""),
        ("register.model", ""),
        ("runtime.storage.region", ""),
    ],
)
def test_a_wrong_name_is_told_with_the_nearest(place: str, words: str) -> None:
    wrong = unknown_name(place.split("."))
    assert wrong.startswith(words)
    assert bool(wrong) == bool(words)


def test_every_wrong_name_is_told_with_the_file_or_the_option_that_holds_it(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("scor: {}\nfetch: {trian: x, train: y}\n")
    swept = {"sample.budgt.macs=0.5": "--sweep sample.budgt.macs=0.5,0.25 (sample.budgt.macs=0.5)"}
    with pytest.raises(ParameterError) as told:
        look_at_names(file, ["score.sed=3", *swept], swept)
    lines = str(told.value).splitlines()
    assert lines[0].startswith("--set score.sed=3: score.sed: no such parameter (did you mean 'seed'?)")
    assert lines[1].startswith("--sweep sample.budgt.macs=0.5,0.25 (sample.budgt.macs=0.5): sample.budgt: no such")
    assert lines[2] == f"{file}:"
    assert [line.split(":")[0].strip() for line in lines[3:]] == ["scor", "fetch.trian"]


def test_neither_torch_nor_pydantics_classes_are_imported(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("fetch: {trian: x}\n")
    code = f"""
import sys
from pathlib import Path
from eyas.config.first_look import look_at_names
from eyas.errors import ParameterError
try:
    look_at_names(Path({str(file)!r}))
except ParameterError:
    print("torch" in sys.modules, "eyas.config.stages" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False False\n"
