"""Errors of the library name arguments in backticks; a stage shows the fields of params.yaml instead."""

import ast
import inspect
import re
from dataclasses import fields
from pathlib import Path

import pytest

import eyas
from eyas.config import PipelineParams
from eyas.sampling.budget import Budget
from eyas.scoring import ScoreOptions
from tasks import adapt, baseline, export, fetch, finetune, sample, score
from tasks.stage import name_fields

ROOMS = Path(eyas.__file__).parent
ENGINE = ROOMS / "scoring"
FIELDS = {
    "fetch": fetch.FIELDS,
    "baseline": baseline.FIELDS,
    "sample": sample.FIELDS,
    "score": score.FIELDS,
    "finetune": finetune.FIELDS,
    "export": export.FIELDS,
    "adapt": adapt.FIELDS,
}
CALLED = {
    "fetch": ["data"],
    "baseline": ["networks", "training", "pruning/tracing/capture.py"],
    "sample": ["pruning", "sampling", "deploy/latency"],
    "score": ["calibration", "scoring", "sampling/placement.py"],
    "finetune": ["calibration", "recovery", "training", "pruning/sparsify.py"],
    "export": ["deploy"],
    "adapt": ["adaptation"],  # a flow of its own, and no stage
}
"""The rooms whose messages name arguments that the stage passes."""
NO_STAGE = {"cli", "config", "operations", "storage"}
"""Rooms whose words no stage translates: they speak of fields themselves, or to who runs a flow or a command."""
SPLITS = {"train", "test"}  # names of splits, which stand in backticks too
ARGUMENTS = {*inspect.signature(eyas.score).parameters} - {"options"} | {field.name for field in fields(ScoreOptions)}
UNMISTAKABLE = sorted(name for name in ARGUMENTS if "_" in name)
OF_A_SAMPLER = {"budget", "tolerance", "round_to", "min_width"}  # which score asks again
OF_A_PROFILE = {"space", "runtime", "dense_ms"}  # which `eyas profile` passes, or who calls the library
OF_MILLISECONDS = {"latency", "table"}  # which its budget may limit
OF_THE_LIBRARY = {"adapted", "false_alarm_rate", "state"}  # of functions and a method that `eyas adapt` does not call
OF_FINETUNING = {"sparsity"}  # pruning/sparsify.py, which sample does not call
OF_A_RESULT = {"uniform"}  # of eyas.search, which a diagnosis advises
OF_A_RUNG = "leave calibration_images out, or say held_out"  # a field of Rung, which has the same name in params.yaml


def messages(room):
    """Every piece of text below a folder, or in a file, that is neither a docstring nor looked up by code."""
    for path in sorted(room.rglob("*.py")) if room.is_dir() else [room]:
        tree = ast.parse(path.read_text())
        bare = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            text = node.value if isinstance(node, ast.Constant) and id(node) not in bare else None
            if isinstance(text, str):
                yield path.name, text


def sentences(room):
    """Those of several words, which are for people."""
    return [(path, text) for path, text in messages(room) if " " in text.strip()]


def test_arguments_become_fields_and_other_words_stay():
    message = "`workers` 0: give a whole number; scoring workers need `memory`"
    assert name_fields(message, score.FIELDS) == "runtime.workers 0: give a whole number; scoring workers need `memory`"


def test_every_room_is_called_by_a_stage():
    called = {place.partition("/")[0] for places in CALLED.values() for place in places}
    assert called | NO_STAGE == {path.parent.name for path in ROOMS.glob("*/__init__.py")}


@pytest.mark.parametrize("stage", CALLED)
def test_every_argument_that_an_error_names_is_translated(stage):
    texts = [text for place in CALLED[stage] for _, text in messages(ROOMS / place)]
    named = {name for text in texts for name in re.findall(r"`(\w+)`", text)} - SPLITS - OF_A_PROFILE - OF_THE_LIBRARY
    assert named
    assert named - (OF_FINETUNING if stage == "sample" else set()) <= FIELDS[stage].keys()


def test_every_argument_that_sample_passes_to_trace_and_budget_has_its_field():
    passed = {*inspect.signature(eyas.trace).parameters, *inspect.signature(Budget.of).parameters}
    of_the_network = {"output", "table"}  # which load_dense and the latency profile look for
    of_the_sampler = {"sampler", "images", "levels"}  # who proposes, and what its table is measured on
    expected = passed - {"model", "example_kwargs", "space", "value"} | {"budget"} | of_the_network | of_the_sampler
    assert expected == sample.FIELDS.keys()


@pytest.mark.parametrize("room", ["pruning", "sampling"])
def test_no_error_about_a_space_names_an_argument_without_saying_that_it_is_one(room):
    for path, text in sentences(ROOMS / room):
        bare = re.search(r"(?<![`\w])(tolerance|round_to|min_width|example_inputs)(?![`\w])", text)
        assert bare is None, f"{path}: {text}"


def test_every_argument_of_score_has_its_field():
    images = {"images"}  # eyas.recalibrate's, which the engine shares
    assert score.FIELDS.keys() == ARGUMENTS - {"progress"} | images | OF_A_SAMPLER | OF_MILLISECONDS | OF_A_RESULT


def test_no_error_of_the_engine_names_an_argument_without_saying_that_it_is_one():
    for path, text in sentences(ENGINE):
        for name in UNMISTAKABLE:
            bare = re.findall(rf"(?<![`\w]){name}(?![`\w])", text.replace(OF_A_RUNG, ""))
            assert not bare, f"{path}: {text}"
        assert not re.search(r"\b(score|runtime|sample)\.(?!plan)[a-z_]+", text), f"{path}: {text}"


def test_every_field_that_is_shown_exists():
    params = PipelineParams.model_validate({})
    for shown in [shown for of_stage in FIELDS.values() for shown in of_stage.values()]:
        for section, field in re.findall(r"\b(fetch|baseline|sample|score|finetune|export|runtime)\.(\w+)", shown):
            assert hasattr(getattr(params, section), field), shown
