"""YAML: read where it stays small, whatever its anchors say; everything else is one line."""

import os
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from eyas.config import load_params
from eyas.config.safe_yaml import DEEPEST, LARGEST, load_yaml
from eyas.errors import ParameterError
from tests.support.mutations import mutations

COUNT = int(os.environ.get("EYAS_MUTATIONS", "150"))
PARAMS = Path(__file__).resolve().parents[2] / "params.yaml"


def laughs(start: str, line: str) -> str:
    """Nine anchors, each of which names the one before ten times."""
    lines = [start, *(line.format(at, ", ".join([f"*a{at - 1}"] * 10)) for at in range(1, 9))]
    return "\n".join(lines)


BOMBS = {
    "lists": (laughs("x0: &a0 [1]", "x{0}: &a{0} [{1}]"), "values, anchors followed"),
    "merged mappings": (laughs("x0: &a0 {k: 1}", "x{0}: &a{0} {{<<: [{1}]}}"), "values, anchors followed"),
    "a list of itself": ("x: &a [*a]", "nested too deeply"),
    "a mapping of itself": ("x: &a {y: *a}", "nested too deeply"),
    "brackets": ("[" * 100_000, "nested too deeply"),
    "a stair of anchors": (
        "\n".join(["x0: &a0 1", *(f"x{at}: &a{at} {'[' * 50}*a{at - 1}{']' * 50}" for at in range(1, 40))]),
        "nested too deeply",
    ),
    "letters": ("x: " + "1" * 3_000_000, "letters: more than"),
    "digits": ("x: " + "1" * 10_000, "is not YAML"),
    "a date that is none": ("x: 2020-99-99", "is not YAML"),
    "a key that cannot be one": ("{[1]: 2}", "is not YAML"),
    "two documents": ("x: 1\n---\ny: 2", "is not YAML"),
    "an object": ("!!python/object/apply:os.system [ls]", "is not YAML"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_what_would_not_stay_small_is_refused_in_one_line(tmp_path: Path, name: str) -> None:
    text, words = BOMBS[name]
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(ParameterError, match=words) as refusal:
        load_params(tmp_path / "x.yaml")
    assert str(refusal.value).startswith(str(tmp_path / "x.yaml"))
    assert len(str(refusal.value).splitlines()) == 1


def test_the_limits_are_where_they_are_said_to_be() -> None:
    assert len(load_yaml(f"[{'1,' * (LARGEST - 1)}]", "x")) == LARGEST - 1
    with pytest.raises(ParameterError, match=f"holds {LARGEST + 1} values"):
        load_yaml(f"[{'1,' * LARGEST}]", "x")
    assert load_yaml("[" * (DEEPEST - 1) + "]" * (DEEPEST - 1), "x")
    with pytest.raises(ParameterError, match="nested too deeply"):
        load_yaml("[" * (DEEPEST + 1) + "]" * (DEEPEST + 1), "x")


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5) | st.dates(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=12,
)


@given(PLAIN, PLAIN)
def test_anything_else_is_what_yaml_says(content: object, shared: object) -> None:
    text = yaml.safe_dump({"a": shared, "b": shared, "c": content})
    assert load_yaml(text, "x") == yaml.safe_load(text)


def test_damaged_parameters(tmp_path: Path) -> None:
    path, refused = tmp_path / "params.yaml", 0
    for number, data in enumerate(mutations(PARAMS.read_bytes(), COUNT)):
        path.write_bytes(data)
        try:
            load_params(path)
        except ParameterError:
            refused += 1
        except Exception as error:
            pytest.fail(f"mutation {number} raised {type(error).__name__}: {error}")
    assert refused > COUNT // 3
