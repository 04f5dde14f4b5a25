"""An adapted network as a version of the registry: what it came from, what it followed, and nothing made twice."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from eyas.config import AdaptParams
from eyas.data.comparability import Comparability
from eyas.operations.fingerprint import Fingerprint
from eyas.operations.lineage import Lineage
from eyas.operations.tracking import MlflowStore, Version, model_registry, register_version
from eyas.operations.tracking.adaptation_run import ADAPTED_FROM
from eyas.operations.tracking.candidate_alias import BUDGET, CandidateAlias
from eyas.storage.digests import json_sha256
from tasks.adapted_gates import ADAPTATION
from tasks.field_images import FieldImages
from tasks.recorded_gates import SPACE_FILE
from tasks.registered_checkpoint import MADE_FROM
from tasks.registered_network import RegisteredNetwork
from tasks.users_code import PYTHON_PATH
from tasks.watch import REFERENCE

ADAPT = "adapt"
"""Among the stage keys of an adapted version: the digest of what was adapted, to what, and how."""
_KEPT = ("dvc.lock", "dvc.yaml", "inputs.json", SPACE_FILE)
"""Files of the parent that say how both were made."""


def adaptation_key(parent: Version, field: FieldImages, section: AdaptParams, followed: int) -> str:
    """Equal for the same parent, adapter and images, of which so many were followed: with labels none is held out."""
    how = section.model_dump(mode="json", include={"adapter", "batch_size", "seed"})
    return json_sha256([parent.name, parent.number, parent.manifest_digest, field.digest, followed, how])


@dataclass(frozen=True)
class AdaptedVersion:
    """A version to be: its files lie in ``export``, and nobody has registered it."""

    parent: RegisteredNetwork
    export: Path
    run_id: str
    key: str
    """See :func:`adaptation_key`."""
    record: Mapping[str, Any]
    """The adapter, the images, and what the rule said."""
    metrics: Mapping[str, float]
    """Of the adapted network, as ``<stage>.<name>``; what the parent knew of itself else stays."""
    description: str

    @cached_property
    def lineage(self) -> Lineage:
        """The parent's, with the adaptation as a step more."""
        folder, tags = self.parent.folder, self.parent.version.tags
        before = Lineage.from_tags(tags, json.loads((folder / "params.json").read_text()))
        code = model_registry.read_code(folder / model_registry.CODE, self.parent.version)
        return replace(before, run_id=self.run_id, stage_keys={**before.stage_keys, ADAPT: self.key}, code=code)

    @property
    def tags(self) -> dict[str, str]:
        """What is true of the parent's making is true of this one's."""
        version = self.parent.version
        kept = {name: version.tags[name] for name in (PYTHON_PATH, MADE_FROM) if name in version.tags}
        for known in (Fingerprint.from_tags(version.tags), Comparability.from_tags(version.tags)):
            kept |= known.tags() if known else {}
        own = {ADAPTED_FROM: f"{version.name}/{version.number}", ADAPTATION: json.dumps(self.record, sort_keys=True)}
        return {**kept, **own}

    @property
    def all_metrics(self) -> dict[str, float]:
        """Those of the parent but for what an adaptation changes."""
        before = self.parent.version.metrics.items()
        kept = {name: value for name, value in before if not name.startswith(("finetune.test_", "export.", "adapt."))}
        return {**kept, **self.metrics}

    def unregistered(self) -> Version:
        """The version as the gates know versions, before there is one."""
        manifest = json.loads((self.export / "manifest.json").read_text())
        tags = {**self.tags, **self.lineage.tags(), model_registry.MANIFEST_DIGEST: json_sha256(manifest)}
        tags["eyas.metrics"] = json.dumps(self.all_metrics)
        return Version(self.parent.version.name, "adapted", tags, run_id=self.run_id)

    def register(self, store: MlflowStore, alias: str | None) -> Version:
        """Enter it with the alias of its parent's candidate, or with ``alias`` where one was asked for."""
        version = self.parent.version
        candidate = CandidateAlias(self.lineage.profile, json.loads(version.tags.get(BUDGET, "{}")), alias)
        for name in _KEPT:
            if (self.parent.folder / name).exists():
                shutil.copyfile(self.parent.folder / name, self.export / name)
        return register_version(
            store,
            version.name,
            self.export,
            self.lineage,
            shape=self.parent.exported.shape,
            metrics=self.all_metrics,
            headline={name.partition(".")[2]: value for name, value in self.metrics.items()},
            tags=self.tags,
            description=self.description,
            extra_files=[self.export / name for name in (*_KEPT, REFERENCE)],
            alias=candidate,
        )


def made_before(store: MlflowStore, parent: Version, key: str) -> Version | None:
    """The version that the same adaptation has made, if one has."""
    keys = {**parent.lineage.stage_keys, ADAPT: key}
    return model_registry.find_version(store, parent.name, json_sha256(keys))
