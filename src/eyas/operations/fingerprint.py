"""Fingerprints: what a model was made of, so that retraining can tell whether anything changed."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from eyas.storage.digests import json_sha256

TAG = "eyas.fingerprint."
PARAMS_TAG = "eyas.params_digest"
"""The same digest as the lineage's, under its name."""
STAGES, OWN = "stages", "own"
Code = Mapping[str, Mapping[str, str]]
"""What ``code`` was made of: sha256 by file under ``stages`` (relative to the checkout); under ``own`` that of the
user's files (relative to where they were imported from) and versions of what is installed."""
MAX_NAMED = 5
"""Differing files that are named."""
MEANING = {
    "data": "the data in its source",
    "params": "the parameters",
    "code": "the code of the stages",
    "checkpoint": "the base checkpoint",
}


@dataclass(frozen=True)
class Fingerprint:
    """One hash each; equal hashes mean that a run would make the same model again."""

    data: str
    """Of the source: names and contents of local files, or what the remote says of its version."""
    params: str
    """:func:`~eyas.operations.lineage.params_digest`: of every parameter that can change a network."""
    code: str
    """Of every source file that ``dvc.yaml`` lists, and of the user's own that the parameters reach."""
    checkpoint: str
    """Of the checkpoint at its address; empty without one."""

    def tags(self) -> dict[str, str]:
        """As tags of a registered version."""
        return {_tag(name): value for name, value in asdict(self).items()}

    @classmethod
    def from_tags(cls, tags: Mapping[str, str]) -> "Fingerprint | None":
        """What :meth:`tags` wrote; None where a version carries none."""
        if any(_tag(name) not in tags for name in MEANING):
            return None
        return cls(**{name: tags[_tag(name)] for name in MEANING})

    def changes_since(self, other: "Fingerprint") -> list[str]:
        """The parts that differ, by name: ``data``, ``params``, ``code``, ``checkpoint``."""
        mine, theirs = asdict(self), asdict(other)
        return [name for name in mine if mine[name] != theirs[name]]


def code_digest(code: Code) -> str:
    """Of every source file that a stage depends on."""
    return json_sha256(_flat(code))


def changed_files(now: Code, then: Code) -> list[str]:
    """Files and distributions that differ, each with what happened to it, the first few of them."""
    here, there = _flat(now), _flat(then)
    changes = [
        f"{name} {'is new' if name not in there else 'is gone' if name not in here else 'changed'}"
        for name in sorted(here | there)
        if here.get(name) != there.get(name)
    ]
    return [*changes[:MAX_NAMED], *([f"{len(changes) - MAX_NAMED} more"] if len(changes) > MAX_NAMED else [])]


def _flat(code: Code) -> dict[str, str]:
    return {name: value for part in code.values() for name, value in part.items()}


def _tag(name: str) -> str:
    return PARAMS_TAG if name == "params" else TAG + name
