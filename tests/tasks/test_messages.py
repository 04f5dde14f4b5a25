"""Errors of the library name arguments in backticks; a stage shows the fields of params.yaml instead."""

import ast
import inspect
import re
from dataclasses import fields
from pathlib import Path

import eyas
from eyas.config import PipelineParams
from eyas.scoring import ScoreOptions
from tasks import score
from tasks.stage import name_fields

ENGINE = Path(eyas.__file__).parent / "scoring"
ARGUMENTS = {*inspect.signature(eyas.score).parameters} - {"options"} | {field.name for field in fields(ScoreOptions)}
UNMISTAKABLE = sorted(name for name in ARGUMENTS if "_" in name)
OF_A_RUNG = "leave calibration_images out, or say held_out"  # a field of Rung, which has the same name in params.yaml


def messages():
    """Every piece of text of the engine that is neither a docstring nor looked up by code."""
    for path in sorted(ENGINE.rglob("*.py")):
        tree = ast.parse(path.read_text())
        bare = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            text = node.value if isinstance(node, ast.Constant) and id(node) not in bare else None
            if isinstance(text, str) and " " in text.strip():
                yield path.name, text


def test_arguments_become_fields_and_other_words_stay():
    message = "`workers` 0: give a whole number; scoring workers need `memory`"
    assert name_fields(message, score.FIELDS) == "runtime.workers 0: give a whole number; scoring workers need `memory`"


def test_every_argument_that_an_error_names_is_translated():
    named = {name for _, text in messages() for name in re.findall(r"`(\w+)`", text)}
    assert named
    assert named <= score.FIELDS.keys()


def test_every_argument_of_score_has_its_field():
    assert score.FIELDS.keys() == ARGUMENTS - {"progress"}


def test_no_error_of_the_engine_names_an_argument_without_saying_that_it_is_one():
    for path, text in messages():
        for name in UNMISTAKABLE:
            bare = re.findall(rf"(?<![`\w]){name}(?![`\w])", text.replace(OF_A_RUNG, ""))
            assert not bare, f"{path}: {text}"
        assert not re.search(r"\b(score|runtime|sample)\.(?!plan)[a-z_]+", text), f"{path}: {text}"


def test_every_field_that_is_shown_exists():
    params = PipelineParams.model_validate({})
    for shown in score.FIELDS.values():
        for section, field in re.findall(r"\b(score|runtime)\.(\w+)", shown):
            assert hasattr(getattr(params, section), field), shown
