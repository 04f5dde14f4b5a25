"""The networks that ``eyas compare`` is given by name: a profile's, a registered version's, an MLflow run's."""

import itertools
import json
import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from eyas.data.comparability import Comparability, read_comparability
from eyas.data.index import dataset_digest, read_index
from eyas.data.manifest import INDEX
from eyas.errors import BadInputError, nearest
from eyas.operations.comparison.compared_network import ComparedNetwork
from eyas.operations.comparison.comparison_table import last_name
from eyas.operations.comparison.network_origin import NetworkOrigin
from eyas.operations.report import LATENCY, Results, read_results, verdict_on
from eyas.operations.report.page_title import data_name, network_name
from eyas.operations.tracking import MlflowStore, Version, attempt, download_stage_file, model_registry
from eyas.operations.tracking.candidate_alias import budget_words
from eyas.operations.tracking.recorded_origin import origin_of_stages, recorded_origin
from eyas.operations.tracking.recorded_result import pipeline_tags, report_json
from eyas.operations.tracking.recorded_result import stage_metrics as recorded_metrics
from tasks.compared_adaptation import adaptation_changes, adapted_test_set, adapted_words
from tasks.compared_names import FILES
from tasks.dvc_cli import stage_keys
from tasks.dvc_lock import require_as_made
from tasks.judge_version import VERDICT
from tasks.profile_name import DEFAULT, profile_title
from tasks.registered_checkpoint import SCHEME
from tasks.stage_metrics import stage_metrics
from tasks.tracking_store import open_store
from tasks.workspace import Workspace, open_workspace
from tasks.workspace_files import recorded_arguments

_RUN_ID = re.compile(r"[0-9a-f]{32}")
_ADDRESS = re.compile(r"models:/(?P<model>[^/@]+)(/(?P<number>\d+)|@(?P<alias>[\w-]+))")
MOST_NAMED = 8
"""Profiles that a fault names."""
_EXPORTED = ("manifest.json", "model.onnx")


@dataclass(frozen=True)
class NetworkFinder:
    """Knows where a name may lead: the checkout's profiles, the model registry, the runs.

    Args:
        workspace: whose registered model a bare number or alias is of.
        scratch: where files of versions and runs are brought.
    """

    workspace: Workspace
    scratch: Path

    @cached_property
    def store(self) -> MlflowStore:
        """Opened when the first name needs it."""
        return open_store(self.workspace)

    @property
    def model(self) -> str:
        """The registered model."""
        return self.workspace.params.register_.model

    def network(self, name: str) -> ComparedNetwork:
        """What a name stands for.

        Raises:
            BadInputError: nothing has it, or what has it made no network; says what there is.
        """
        if name.endswith(FILES):
            opened = open_workspace(self.workspace.root, Path(name))
            return self.profile(opened.name, opened.folder)
        if name.startswith(SCHEME):
            return self._of_address(name)
        if _RUN_ID.fullmatch(name):
            return self._of_run(name)
        if name.isdigit():
            version = model_registry.get_version(self.store, self.model, name)
            return replace(self._of_version(version), name=f"version {name}", detail=made_with(version))
        if name in {*self.profiles(), self.workspace.name}:  # which need not have run
            return self.profile(name, self.folder_of(name))
        named = model_registry.get_alias(self.store, self.model, name)
        if named is None:
            raise BadInputError(self._unknown(name))
        return replace(self._of_version(named), name=name)

    def profile(self, name: str, folder: Path) -> ComparedNetwork:
        """What the stages left in a workspace, with the run and the version that MLflow has of it.

        Raises:
            BadInputError: a stage has not run; names the profiles that have a result, those of the same file first.
        """
        network = of_profile(name, folder, self._finished(name))
        if not (folder / "dvc.lock").exists():
            return network
        with attempt(f"finding the run of {name}"):
            return replace(network, origin=network.origin.recorded_as(origin_of_stages(self.store, stage_keys(folder))))
        return network

    def profiles(self) -> list[str]:
        """Names of the workspaces there are."""
        folder = self.workspace.root / "workspaces"
        return [DEFAULT, *sorted(path.name for path in folder.glob("*") if (path / "params.yaml").exists())]

    def _finished(self, name: str) -> list[str]:
        """Profiles that have a result, those first that set something else in the parameter file of ``name``."""
        done = [
            one for one in self.profiles() if (self.folder_of(one) / "artifacts" / "export" / _EXPORTED[0]).exists()
        ]
        return sorted(done, key=lambda one: not one.startswith(f"{name}+"))

    def folder_of(self, profile: str) -> Path:
        """Of a workspace."""
        root = self.workspace.root
        return root if profile == DEFAULT else root / "workspaces" / profile

    def _of_address(self, address: str) -> ComparedNetwork:
        match = _ADDRESS.fullmatch(address)
        if match is None:
            msg = f"{address}: expected models:/NAME/NUMBER or models:/NAME@ALIAS"
            raise BadInputError(msg)
        version = model_registry.named_version(self.store, match["model"], match["number"] or match["alias"])
        return replace(self._of_version(version), name=address.removeprefix(SCHEME))

    def _of_version(self, version: Version) -> ComparedNetwork:
        files = model_registry.download(self.store, version, self.scratch / f"{version.name}-{version.number}")
        latency = files / LATENCY
        changes = adaptation_changes(self.store, version)
        return ComparedNetwork(
            name=str(version),
            kind="version",
            adaptation=changes,
            address=f"{SCHEME}{version.name}/{version.number}",
            metrics=version.metrics or recorded_metrics(self.store, version.run_id),
            latency=json.loads(latency.read_text()) if latency.exists() else {},
            verdict=version.tags.get(VERDICT, ""),
            detail=", ".join(filter(None, (f"version {version.number}", made_with(version)))),
            test_set=adapted_test_set(version) if changes else self._test_set(version.run_id),
            comparability=Comparability.from_tags(version.tags) or Comparability(),
            files=files,
            origin=recorded_origin(self.store, version.run_id, version),
        )

    def _of_run(self, run_id: str) -> ComparedNetwork:
        tags = pipeline_tags(self.store, run_id)
        folder = self.scratch / run_id
        folder.mkdir(exist_ok=True)
        brought = [download_stage_file(self.store, run_id, "export", name, folder) for name in _EXPORTED]
        return ComparedNetwork(
            name=f"run {run_id[:8]}",
            kind="run",
            address=run_id,
            metrics=recorded_metrics(self.store, run_id),
            latency=report_json(self.store, run_id, LATENCY, folder),
            verdict=tags.get(VERDICT, ""),
            detail=tags.get("eyas.profile", ""),
            test_set=self._test_set(run_id),
            comparability=Comparability.from_tags(tags) or Comparability(),
            files=folder if all(brought) else None,
            origin=recorded_origin(self.store, run_id),
        )

    def _test_set(self, run_id: str) -> str:
        folder = self.scratch / f"index-{run_id}"
        folder.mkdir(exist_ok=True)
        index = download_stage_file(self.store, run_id, "fetch", INDEX, folder)
        return digest_of_test(index) if index else ""

    def _unknown(self, name: str) -> str:
        aliases = model_registry.list_aliases(self.store, self.model)
        numbers = [version.number for version in model_registry.list_versions(self.store, self.model)]
        hint = nearest(name, [*self.profiles(), *aliases])
        return (
            f"{name} is no profile, version, alias or run{hint}: there are the profiles {_listed(self.profiles())}; "
            f"versions of {self.model}: {_listed(numbers)}; aliases: {_listed(sorted(aliases))}; a parameter file ends "
            "in .yaml, a run has 32 digits"
        )


def of_profile(name: str, folder: Path, finished: Sequence[str] = ()) -> ComparedNetwork:
    """What the stages left in a workspace.

    Args:
        name: of the profile.
        folder: of its workspace.
        finished: profiles to name where this one has no result.

    Raises:
        BadInputError: a stage has not run.
        ChecksumError: a file is not what its stage wrote.
    """
    artifacts = folder / "artifacts"
    try:
        results = read_results(artifacts)
    except FileNotFoundError as error:
        others = f"name one that has: {_listed(finished[:MOST_NAMED])}; or " if finished else ""
        way = f"{others}bring it up to date with eyas run"
        msg = f"profile {name} has no result yet ({error.filename} is not there): {way}"
        raise BadInputError(msg) from error
    require_as_made(folder)
    index, verdict = artifacts / "fetch" / INDEX, verdict_on(results)
    return ComparedNetwork(
        name=profile_title(name, recorded_arguments(folder), short=False),
        kind="profile",
        address=name,
        metrics=stage_metrics(artifacts),
        latency=results.latency,
        verdict=verdict.tags()[VERDICT],
        verdict_lines=tuple(verdict.lines),
        test_set=digest_of_test(index) if index.exists() else "",
        comparability=read_comparability(artifacts / "baseline"),
        files=artifacts / "export",
        origin=_origin_here(results, artifacts),
    )


def _origin_here(results: Results, artifacts: Path) -> NetworkOrigin:
    """As far as a workspace itself knows."""
    report = artifacts / "report" / "report.html"
    known = network_name(results.architecture), data_name(results.manifest)
    return NetworkOrigin(*known, report=report if report.exists() else None)


def made_with(version: Version) -> str:
    """A version's budget, what else was set for its run, and what it was adapted from: what tells versions apart."""
    words = shlex.split(version.tags.get("eyas.command", ""))
    sets = (value for option, value in itertools.pairwise(words) if option == "--set")
    others = (last_name(value) for value in sets if not value.startswith("sample.budget."))
    return ", ".join(filter(None, (budget_words(version), *others, adapted_words(version))))


def digest_of_test(index: Path) -> str:
    """Of the test images and their labels, wherever they are stored and whatever else is in the data set."""
    return dataset_digest([row for row in read_index(index) if row.split == "test"], {})


def fetched_folders(finder: NetworkFinder) -> Iterator[Path]:
    """Where data sets lie that may hold the test images, the workspace's own first."""
    own = finder.workspace.folder
    for folder in dict.fromkeys((own, *map(finder.folder_of, finder.profiles()))):
        if (folder / "artifacts" / "fetch" / INDEX).exists():
            yield folder / "artifacts" / "fetch"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"
