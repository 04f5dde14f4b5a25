"""Fingerprints: what a model was made of, so that retraining can tell whether anything changed."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

TAG = "eyas.fingerprint."
PARAMS_TAG = "eyas.params_digest"
"""The same digest as the lineage's, under its name."""
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
    """Of every source file that ``dvc.yaml`` lists."""
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


def _tag(name: str) -> str:
    return PARAMS_TAG if name == "params" else TAG + name
