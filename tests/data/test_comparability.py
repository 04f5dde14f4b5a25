"""What is said of a comparison, through a file and through tags."""

from pathlib import Path

import pytest

from eyas.data.comparability import COMPARABLE, Comparability, read_comparability


@pytest.mark.parametrize("value", [Comparability(), Comparability(False, 'the checkpoint may have seen: "a|b"\n')])
def test_it_comes_back_as_it_was(value: Comparability, tmp_path: Path) -> None:
    value.write(tmp_path)
    assert read_comparability(tmp_path) == value
    assert Comparability.from_tags(value.tags()) == value


def test_where_nothing_is_said_a_file_means_comparable_and_tags_mean_unknown(tmp_path: Path) -> None:
    assert not (tmp_path / COMPARABLE).exists()
    assert read_comparability(tmp_path) == Comparability()
    assert Comparability.from_tags({"eyas.profile": "default"}) is None
