"""Tags of a registered version that programs read, folded into one, so that a person sees the others.

Versions that were registered before carry each as a tag of its own; readers see no difference.
"""

import json
from collections.abc import Mapping

RECORD = "eyas.record"
"""Tag: the others by name, as JSON."""
MAX_TAG = 5000
FOLDED = frozenset(
    {
        "eyas.baseline_sha256",
        "eyas.dataset_hash",
        "eyas.logged_model",
        "eyas.manifest_digest",
        "eyas.metrics",
        "eyas.params_digest",
        "eyas.python_path",
        "eyas.run_id",
        "eyas.stage_keys",
        "eyas.stages_digest",
    }
)
FAMILY = "eyas.fingerprint."


def as_record(tags: Mapping[str, str]) -> dict[str, str]:
    """Tags of a new version: what programs read as one."""
    folded = {name: value for name, value in tags.items() if _is_folded(name)}
    return {**readable(tags), **({RECORD: json.dumps(folded, sort_keys=True)} if folded else {})}


def with_record(present: Mapping[str, str], tags: Mapping[str, str]) -> dict[str, str]:
    """The tags to write so that a version whose tags are ``present`` has ``tags`` as well."""
    if RECORD not in present:
        return {name: value[:MAX_TAG] for name, value in tags.items()}
    folded = json.loads(present[RECORD])
    news = {name: value for name, value in tags.items() if _is_folded(name)}
    return {**readable(tags), **({RECORD: json.dumps(folded | news, sort_keys=True)} if news else {})}


def without_record(tags: Mapping[str, str]) -> dict[str, str]:
    """Every tag by its own name, however it was recorded."""
    return {**json.loads(tags.get(RECORD, "{}")), **tags}


def readable(tags: Mapping[str, str]) -> dict[str, str]:
    """Those that a person reads."""
    return {name: value[:MAX_TAG] for name, value in tags.items() if name != RECORD and not _is_folded(name)}


def _is_folded(name: str) -> bool:
    return name in FOLDED or name.startswith(FAMILY)
