"""``eyas compare``: networks held against each other on the test images they share; shown, written, recorded."""

import hashlib
import json
import logging
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from eyas.cli.run_view import step
from eyas.cli.terminal import console_width, wrapped
from eyas.data import open_dataset
from eyas.data.manifest import INDEX
from eyas.data.tasks.unlabelled import Unlabelled
from eyas.deploy.exported_model import ExportedModel
from eyas.errors import BadInputError, EyasError
from eyas.operations.comparison.compared_network import ComparedNetwork
from eyas.operations.comparison.comparison import Comparison, compare_networks
from eyas.operations.comparison.comparison_page import comparison_page
from eyas.operations.comparison.comparison_table import markdown_comparison, markdown_links, short_names
from eyas.operations.comparison.terminal_table import console_comparison
from eyas.operations.measured_network import MeasuredNetwork, compare_answers
from eyas.operations.paired_difference import PairedDifference
from eyas.operations.tracking.comparison_run import record_comparison
from eyas.storage.digests import file_sha256
from tasks.compared_names import require_names
from tasks.compared_networks import NetworkFinder, digest_of_test, fetched_folders
from tasks.judge_version import images_for
from tasks.tracking_store import open_store
from tasks.workspace import Workspace

log = logging.getLogger(__name__)
ANSWERS = "answers"
"""Folder in a checkout's state: what networks answered, so that no one is asked twice."""
DENSE = "dense.onnx"


def compare_named(workspace: Workspace, names: Sequence[str]) -> Comparison:
    """Hold networks against each other.

    Args:
        workspace: whose registered model, store and data are meant.
        names: profiles, parameter files, versions by number, alias or ``models:/`` address, ids of MLflow runs.

    Raises:
        BadInputError: a name leads nowhere, or stands twice.
    """
    require_names(names)
    with tempfile.TemporaryDirectory() as scratch:
        finder = NetworkFinder(workspace, Path(scratch))
        networks = [finder.network(name) for name in names]
        return _compared(networks, finder)


def compare_profiles(workspace: Workspace, folders: Mapping[str, Path]) -> Comparison:
    """Hold what the stages left in the workspaces' folders, by name, against each other."""
    with tempfile.TemporaryDirectory() as scratch:
        finder = NetworkFinder(workspace, Path(scratch))
        networks = [finder.profile(name, folder) for name, folder in folders.items()]
        return _compared(networks, finder)


def _compared(networks: Sequence[ComparedNetwork], finder: NetworkFinder) -> Comparison:
    today = datetime.now(UTC).strftime("%Y-%m-%d")
    shared = SharedTest(finder)
    return compare_networks(shared.with_changes(_shortly_named(networks)), shared.difference, today)


def _shortly_named(networks: Sequence[ComparedNetwork]) -> list[ComparedNetwork]:
    """Profiles that share a file, or fields, by what tells them apart."""
    profiles = [network.name for network in networks if network.kind == "profile"]
    short = dict(zip(profiles, short_names(profiles), strict=True))
    return [replace(network, name=short.get(network.name, network.name)) for network in networks]


@dataclass(frozen=True)
class SharedTest:
    """Asks exported networks about the test images that both have, once each."""

    finder: NetworkFinder

    def difference(self, first: ComparedNetwork, second: ComparedNetwork) -> PairedDifference | str:
        """From the first network to the second; or why it cannot be told."""
        missing = [network.name for network in (first, second) if network.files is None]
        if missing:
            return f"the files of {' and '.join(missing)} are gone"
        one, other = (ExportedModel.open(network.files) for network in (first, second) if network.files)
        if not one.answers_as(other):
            return f"{first.name} takes {one.task}, {second.name} {other.task}"
        try:
            return compare_answers(self._answered(second, other), self._answered(first, one))
        except (EyasError, ValueError) as error:
            return str(error)

    def with_changes(self, networks: Sequence[ComparedNetwork]) -> list[ComparedNetwork]:
        """The networks; adapted ones, of which no run has it, with what differs from their dense network."""
        return [self._with_change(network) if network.adaptation else network for network in networks]

    def _with_change(self, network: ComparedNetwork) -> ComparedNetwork:
        if not network.test_set or network.files is None or network.measure == Unlabelled.words:
            return network
        model = ExportedModel.open(network.files)
        try:
            paired = compare_answers(self._answered(network, model), self._answered(network, model, DENSE))
        except (EyasError, ValueError) as error:
            log.info("%s is not held against its dense network: %s", network.name, error)
            return network
        counted = {f"finetune.test_{name}": float(value) for name, value in paired.metrics().items()}
        return replace(network, metrics={**network.metrics, **counted})

    def _answered(self, network: ComparedNetwork, model: ExportedModel, file: str = "model.onnx") -> MeasuredNetwork:
        """What one of a network's files answered, now or in an earlier comparison."""
        described = [file_sha256(model.folder / file), network.test_set, json.dumps(model.manifest["input"])]
        key = hashlib.sha256("\n".join(described).encode()).hexdigest()
        path = self.finder.workspace.root / self.finder.workspace.params.runtime.state / ANSWERS / f"{key[:32]}.npz"
        if not path.exists():
            with step("compare") as shown:
                who = f"{network.name}'s dense network" if file == DENSE else network.name
                shown.note = f"{who} answers {network.images:,} test images"
                self._ask(network, model, path, file)
        with np.load(path) as kept:
            return MeasuredNetwork(kept["answers"], kept["labels"])

    def _ask(self, network: ComparedNetwork, model: ExportedModel, path: Path, file: str) -> None:
        folders = fetched_folders(self.finder)
        folder = next((one for one in folders if digest_of_test(one / INDEX) == network.test_set), None)
        if folder is None:
            msg = "their test images are in no workspace here: bring one up to date with `eyas run`"
            raise BadInputError(msg)
        test = open_dataset(folder).split("test")
        answers = model.answers(images_for(test, model, model), file)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part.npz")
        np.savez_compressed(part, answers=answers, labels=test.labels.numpy())
        part.replace(path)


def print_comparison(comparison: Comparison) -> None:
    """Title, table, what to conclude and notes on the standard output."""
    from rich.console import Console

    console = Console(highlight=False)
    console.print()

    def tell(line: str, style: str) -> None:
        console.print(wrapped(line, console_width(console)), soft_wrap=True, markup=False, style=style)

    tell(f"{comparison.title} ({comparison.date})", "bold")
    console.print(console_comparison(comparison, console.width))
    console.print()
    if comparison.conclusion:
        tell(comparison.conclusion, "bold")
    for note in comparison.notes:
        tell(note, "yellow")


def log_comparison(workspace: Workspace, comparison: Comparison) -> str:
    """Record table, page and numbers as a run of MLflow; returns its id."""
    table, links = markdown_comparison(comparison), markdown_links(comparison)
    files = {
        "comparison.html": comparison_page(comparison),
        "comparison.md": table + links,
        "comparison.json": json.dumps(comparison.as_dict(), indent=2),
    }
    addresses = [network.address for network in comparison.networks]
    return record_comparison(open_store(workspace), f"compare {comparison.title}", addresses, files, table, links=links)
