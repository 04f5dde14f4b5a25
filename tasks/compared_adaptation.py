"""What is said of an adapted version among others: what it came from, and what following the field changed."""

import json
from typing import Any

from eyas.data.tasks import deciding
from eyas.operations.report.result_table import percent
from eyas.operations.tracking import MlflowStore, Version, attempt, model_registry
from eyas.operations.tracking.adaptation_run import ADAPTED_FROM, parent_of
from tasks.adapted_gates import ADAPTATION, gain_words

TEST_SET = "test_set"
"""In a version's record of its adaptation: digest of the test images that it was measured on."""


def adapted_words(version: Version) -> str:
    """As in ``adapted from version 2 by alpha_bn``; empty where a version was not adapted."""
    parent = parent_of(version)
    return f"adapted from version {parent[1]} by {_record(version)['adapter']['kind']}" if parent else ""


def adapted_test_set(version: Version) -> str:
    """Digest of the test images that an adapted version was measured on; empty where nothing says so."""
    return str(_record(version).get(TEST_SET, ""))


def adaptation_changes(store: MlflowStore, version: Version) -> str:
    """What an adaptation came to, in a sentence; empty where a version was not adapted."""
    parent = parent_of(version)
    if parent is None:
        return ""
    sentences = [f"it follows {_record(version)['images']:,} images of the field"]
    with attempt(f"reading what {version} came from"):
        before = model_registry.get_version(store, *parent)
        (measure, was), (_, now) = (deciding(one.metrics, "finetune.test_") for one in (before, version))
        sentences.append(f"test {measure}, which is not of the field, {percent(was)} before and {percent(now)} after")
    return f"{adapted_words(version)}: {'; '.join([*sentences, gain_words(version)])}"


def _record(version: Version) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(version.tags[ADAPTATION]) if ADAPTED_FROM in version.tags else {}
    return record
