"""A version against the gates: it, the champion and the dense network answer the same test images in one run."""

import json
import math
import tempfile
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from eyas.config import ExportParams
from eyas.data import Split, open_dataset
from eyas.data.held_out import HeldOutImages
from eyas.data.manifest import MANIFEST
from eyas.deploy import latency
from eyas.deploy.exported_model import ExportedModel
from eyas.errors import BadInputError, EyasError
from eyas.operations.gate import Gate
from eyas.operations.gates import PromotionDecision, judge
from eyas.operations.measured_network import MeasuredNetwork
from eyas.operations.run_times import RunTimes
from eyas.operations.tracking import MlflowStore, Version, model_registry
from eyas.operations.tracking.adaptation_run import parent_of
from eyas.operations.tracking.alias_move import NO_REASON, ROLLED_BACK
from tasks.adapted_gates import adaptation_gates, gain_words, limits_for, named_for
from tasks.dvc_lock import require_as_written
from tasks.profile_name import DEFAULT, workspace_folder
from tasks.recorded_gates import as_recorded
from tasks.seen_images import unseen_by
from tasks.workspace import Workspace

VERDICT = "eyas.verdict"
FETCHED = Path("artifacts", "fetch")
Networks = dict[str, tuple[ExportedModel, str]]
"""By role (candidate, dense, champion): the version's files, and which ONNX file of them."""


def judge_version(
    store: MlflowStore, workspace: Workspace, version: Version, champion: Version | None, force: str
) -> PromotionDecision:
    """Evaluate and judge; changes nothing.

    Raises:
        BadInputError: there are no test images here to judge it on.
        ChecksumError: the test images or their labels are not what ``fetch`` wrote.
    """
    with tempfile.TemporaryDirectory() as scratch:
        candidate = download_export(store, version, Path(scratch))
        return judge_export(store, workspace, version, candidate, champion=champion, force=force)


def judge_export(
    store: MlflowStore,
    workspace: Workspace,
    version: Version,
    candidate: ExportedModel,
    *,
    champion: Version | None,
    force: str = "",
) -> PromotionDecision:
    """:func:`judge_version` of files that are here, of a version that may not be registered yet."""
    folder = folder_with_images(workspace, version)
    require_as_written(folder, "fetch")
    settings, limits = workspace.params.export, limits_for(version, workspace.params)
    with tempfile.TemporaryDirectory() as scratch:
        networks: Networks = {"candidate": (candidate, "model.onnx"), "dense": (candidate, "dense.onnx")}
        special = never_rolled_back(version) + adaptation_gates(version)
        fetched = folder / FETCHED
        dataset = open_dataset(fetched)
        test, labelled = dataset.split("test"), dataset.task_of("test").labelled
        if champion is not None:
            champions, gates = compare_with_champion(
                store, version, candidate, champion, Path(scratch), labelled=labelled
            )
            networks, special = networks | champions, special + gates
        seen_none = {
            role: unseen_by(store, one, networks[role][0].folder, HeldOutImages.of(fetched))
            for role, one in (("candidate", version), ("champion", champion))
            if one is not None and role in networks
        }
        measured = evaluate(networks, test, settings, macs_of(version, champion), labelled=labelled)
        record = as_recorded(
            version.metrics,
            candidate,
            measured,
            dataset=dataset.digest,
            agreement=settings.min_agreement,
            made_by="finetune" if parent_of(version) is None else "its adaptation",
        )
        special = (*special, *record)
        parity = candidate.parity_within(settings.max_difference, settings.min_agreement)
    gates, numbers = judge(
        limits,
        measured["candidate"],
        dense=measured["dense"],
        champion=measured.get("champion"),
        parity=parity,
        own=seen_none["candidate"],
        both=min(seen_none.values(), key=lambda one: one.comparable),
        taken_as_is=version.metrics.get("baseline.epochs") == 0,
    )
    number = champion.number if champion else None
    judged_on = "" if folder == workspace.folder else version.tags.get("eyas.profile", DEFAULT)
    told = named_for(version, (*special, *gates))
    beside = {"judged_on": judged_on, "verdict": version.tags.get(VERDICT, ""), "field_gain": gain_words(version)}
    return PromotionDecision(version.name, version.number, number, told, numbers, force, **beside)


def folder_with_images(workspace: Workspace, version: Version) -> Path:
    """Of the workspace whose test images decide: its own or, where that fetched none, that of the version's run.

    Raises:
        BadInputError: neither has any.
    """
    root, made_by = workspace.root, version.tags.get("eyas.profile", DEFAULT)
    folders = (workspace.folder, root if made_by == DEFAULT else workspace_folder(root, made_by))
    folder = next((one for one in folders if (one / FETCHED / MANIFEST).exists()), None)
    if folder is None:
        command = version.tags.get("eyas.command", "eyas run")
        msg = f"there are no test images here to judge {version} on: repeat the run that made it, {command}"
        raise BadInputError(msg)
    return folder


def download_export(store: MlflowStore, version: Version, scratch: Path) -> ExportedModel:
    """A version's files, each checked against what was registered."""
    return ExportedModel.open(model_registry.download(store, version, scratch / version.number))


def compare_with_champion(
    store: MlflowStore,
    version: Version,
    candidate: ExportedModel,
    champion: Version,
    scratch: Path,
    *,
    labelled: bool = True,
) -> tuple[Networks, tuple[Gate, ...]]:
    """The champion as far as it can be compared with the candidate, and what speaks against replacing it.

    Where test images are not ``labelled`` both have to be pruned from one dense network, whose answers they are held
    against.

    A champion whose files are lost must not stay for ever: replacing it takes force.
    """
    try:
        present = download_export(store, champion, scratch)
        gates = other_files(version, champion) + same_task(candidate, present)
        same_dense = labelled or candidate.made_from_as(present)
        gates += () if same_dense else (_other_dense(champion),)
    except EyasError as error:
        words = f"the champion, version {champion.number}, cannot be compared with: {error}"
        return {}, (Gate("champion_files", 0.0, 1.0, False, words),)
    comparable = same_dense and candidate.answers_as(present)
    return ({"champion": (present, "model.onnx")} if comparable else {}), gates


def _other_dense(champion: Version) -> Gate:
    """Agreement with one network and agreement with another do not compare."""
    words = (
        f"the champion, version {champion.number}, was pruned from another dense network, and no test image has a "
        "label: how often each answers as its own does not compare; give a test set with labels (fetch.test), or "
        "replacing it takes force"
    )
    return Gate("same_dense", 0.0, 1.0, False, words)


def macs_of(version: Version, champion: Version | None) -> dict[str, float]:
    """Multiply-adds per image as they were registered, by role; of what the registry does not say, none."""
    known = {
        "candidate": version.metrics.get("finetune.macs"),
        "dense": version.metrics.get("baseline.macs"),
        "champion": champion.metrics.get("finetune.macs") if champion else None,
    }
    return {role: macs for role, macs in known.items() if macs is not None}


def evaluate(
    networks: Networks, test: Split, settings: ExportParams, macs: Mapping[str, float], *, labelled: bool = True
) -> dict[str, MeasuredNetwork]:
    """Every network on all test images, and their latencies side by side; by role, as are ``macs``.

    Where these are not ``labelled`` the dense network's answers stand for their labels.
    """
    files = {role: model.folder / file for role, (model, file) in networks.items()}
    shapes = {role: model.shape for role, (model, _) in networks.items()}
    runs, batch = settings.latency_runs, settings.latency_batch
    measured = latency.measure(files, shapes, runs=runs, batch=batch, threads=settings.threads)
    pixels = {model.folder: images_for(test, model, networks["candidate"][0]) for model, _ in networks.values()}
    answers = {role: model.answers(pixels[model.folder], file) for role, (model, file) in networks.items()}
    labels = test.labels.numpy() if labelled else answers["dense"]
    return {
        role: MeasuredNetwork(
            answers=answers[role],
            labels=labels,
            latency=measured["milliseconds"][role]["median"],
            bytes=files[role].stat().st_size,
            macs=macs.get(role, math.nan),
            times=RunTimes.of(measured["milliseconds"][role]),
            labelled=labelled,
        )
        for role in networks
    }


def images_for(test: Split, model: ExportedModel, candidate: ExportedModel) -> Tensor:
    """The test images as the version's own manifest says, ``(N, C, H, W)``.

    Where it does not say how they are resized they are as the candidate's; where neither does, as they were fetched.
    """
    known = next((one for one in (model, candidate) if one.knows_resize), None)
    return (test.decoded_as(model.shape, known.resize) if known else test).images()


def never_rolled_back(version: Version) -> tuple[Gate, ...]:
    """A version that was taken back once does not return by itself."""
    mark = version.tags.get(ROLLED_BACK)
    if mark is None:
        return ()
    reason = json.loads(mark)["reason"] or NO_REASON
    words = f"was rolled back before ({reason}): promoted again only with --force and a reason"
    return (Gate("rolled_back", 1.0, 0.0, False, words),)


def other_files(candidate: Version, champion: Version) -> tuple[Gate, ...]:
    """The champion under another number is no new champion."""
    if candidate.manifest_digest != champion.manifest_digest:
        return ()
    words = f"has the same files as the champion, version {champion.number}: there is nothing to gain"
    return (Gate("other_files", 0.0, 1.0, False, words),)


def same_task(candidate: ExportedModel, champion: ExportedModel) -> tuple[Gate, ...]:
    """Networks for other classes, or for images of which one is not known, take force to replace one another."""
    if candidate.answers_as(champion):
        return ()
    words = f"the champion takes {champion.task} and the candidate {candidate.task}: their answers do not compare"
    return (Gate("same_task", 0.0, 1.0, False, words),)
