"""A checkpoint without a test set of its own is refused before any work, and only then."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eyas.config import parse_params
from eyas.config.test_set import WAYS_OUT
from eyas.errors import ParameterError

FOREIGN = ("dense.pt", "/data/dense.safetensors", "~/w.th", "https://host/w.pth", "s3://bucket/w.pt", "$WEIGHTS/w.pt")
SOURCES = ("builtin:digits", "data/train", "s3://bucket/train", "https://host/data.tar.gz", "$DATA/train.parquet")


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([None, *FOREIGN]),
    st.sampled_from(SOURCES),
    st.sampled_from([None, "data/test", "from_train", "included"]),
    st.sampled_from([None, True, False]),
    st.integers(0, 3),
)
def test_it_is_refused_exactly_where_the_test_images_may_have_been_seen(
    checkpoint: str | None, train: str, test: str | None, seen: bool | None, adapt_epochs: int
) -> None:
    baseline = {"checkpoint": checkpoint, "seen_by_checkpoint": seen, "adapt_epochs": adapt_epochs}
    content = {"fetch": {"train": train, "test": test}, "baseline": baseline}
    if checkpoint and test is None and seen is not False:
        with pytest.raises(ParameterError) as refused:
            parse_params(content, "mine.yaml")
        assert all(way in str(refused.value) for way in WAYS_OUT)
        assert str(refused.value).startswith("mine.yaml:")
        assert refused.value.exit_status == 2
    else:
        assert parse_params(content).baseline.seen_by_checkpoint is seen


def test_of_a_registered_version_the_images_are_known_so_it_is_not_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAMPION", "models:/net@champion")
    for address in ("models:/net@champion", "models:/net/3", "$CHAMPION"):
        assert parse_params({"baseline": {"checkpoint": address}}).fetch.test is None


@pytest.mark.parametrize(
    "way", ["fetch.test: data/test", "fetch.test: from_train", "baseline.seen_by_checkpoint: false"]
)
def test_each_way_out_is_one(way: str) -> None:
    place, _, value = way.partition(": ")
    section, _, field = place.partition(".")
    content: dict[str, dict[str, object]] = {"fetch": {}, "baseline": {"checkpoint": "dense.pt"}}
    content[section][field] = False if value == "false" else value
    parse_params(content)
    assert any(known.startswith(place) for known in WAYS_OUT)


def test_a_part_of_the_training_data_counts_where_the_shares_are_added_up() -> None:
    shares = {"test_fraction": 0.5, "score_fraction": 0.3, "calibration_fraction": 0.2}
    for test in (None, "from_train"):
        with pytest.raises(ParameterError, match="their sum must stay below 1"):
            parse_params({"fetch": {"test": test, **shares}})
    assert parse_params({"fetch": {"test": "included", **shares}}).fetch.addresses == {"train": "builtin:digits"}
