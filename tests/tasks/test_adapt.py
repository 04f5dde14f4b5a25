"""Adaptation of a registered digits network: proposed, refused, unchanged, taken back; each with its reason."""

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlparse

import pytest
import torch
import yaml
from PIL import Image
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from eyas.adaptation.adapt import adapt as follow
from eyas.adaptation.adapters import Adapter
from eyas.adaptation.drift import DriftReport
from eyas.adaptation.revert_rule import Reason, RevertVerdict
from eyas.adaptation.rule_limits import RevertRule
from eyas.config import AdaptParams, PipelineParams
from eyas.data import open_dataset
from eyas.deploy.bundle.contents import BUNDLE
from eyas.deploy.exported_model import ExportedModel
from eyas.errors import BadInputError, ChecksumError, DataError, EyasError, ParameterError, RefusedError
from eyas.networks.saved_network import load_network
from eyas.operations import tracking
from eyas.operations.comparison.comparison import Comparison
from eyas.operations.gates import PromotionDecision
from eyas.operations.tracking import Version, model_registry
from tasks import adapt as module
from tasks import adaptation_case, adapted_network
from tasks.adapt import adapt, look_before, open_made_in
from tasks.adaptation_case import AdaptDecision
from tasks.adapted_export import export_adapted, write_weights
from tasks.compare import compare_named
from tasks.field_images import FieldImages
from tasks.promote import promote
from tasks.record import start_run
from tasks.register import register, workspace_lineage
from tasks.registered_network import RegisteredNetwork, open_registered
from tasks.reproduce import reproduce
from tasks.search_space import SPACE
from tasks.stage import Metrics
from tasks.status import status_lines
from tasks.tracking_store import candidate_alias, open_store
from tasks.watch import require_enough_to_compare
from tasks.workspace import Workspace
from tests.tasks.registering import Setting, aliases

LENIENT = RevertRule(
    max_class_excess=1, max_class_growth=1, max_class_distance=1, min_agreement=0, max_canary_loss=1,
    max_distance_ratio=9,
)  # fmt: skip
Write = Callable[..., str]


@pytest.fixture(scope="module")
def write(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Write:
    """Write training images as they look after ``change``, with values in [0, 1], a folder per class."""
    train = open_dataset(root / "artifacts/fetch").split("train")

    def make(
        change: Callable[[Tensor], Tensor] = lambda pixels: pixels, count: int = 160, classes: tuple[int, ...] = ()
    ) -> str:
        folder = tmp_path_factory.mktemp("field")
        chosen = torch.isin(train.labels, torch.tensor(classes or range(10))).nonzero().flatten()[:count]
        pixels = (change(train.images()[chosen].float() / 255) * 255).round().clamp(0, 255).byte()
        for number, (image, label) in enumerate(zip(pixels, train.labels[chosen].tolist(), strict=True)):
            (folder / str(label)).mkdir(parents=True, exist_ok=True)
            Image.fromarray(image[0].numpy()).save(folder / str(label) / f"{number:03}.png")
        return str(folder)

    return make


def dim(pixels: Tensor) -> Tensor:
    return 0.4 * pixels


def register_champion(root: Path, params: PipelineParams, name: str, *, bundle: bool = False) -> Workspace:
    """A workspace whose exported network is registered as the pipeline does it, and is champion."""
    changes = {
        "adapt": AdaptParams(rule=LENIENT),
        "export": params.export.model_copy(update={"exporters": (), "latency_runs": 2, "bundle": bundle}),
        "promote": params.promote.model_copy(update={"max_drop": None}),
        "register_": params.register_.model_copy(update={"model": name}),
        "runtime": params.runtime.model_copy(update={"tracking_uri": f"sqlite:///{root / 'store' / 'mlflow.db'}"}),
    }
    workspace = Workspace(root, root, "default", params.model_copy(update=changes))
    lineage = workspace_lineage(start_run(workspace), workspace)
    extra = [workspace.artifacts / SPACE, *(workspace.folder / name for name in ("dvc.lock", "dvc.yaml"))]
    alias = candidate_alias(workspace)
    register(open_store(workspace), workspace.params, workspace.artifacts, lineage, alias=alias, extra_files=extra)
    promote(workspace)
    return workspace


@pytest.fixture(scope="module")
def champion(root: Path, digits_params: PipelineParams) -> Workspace:
    """One that every adaptation here leaves as it is."""
    return register_champion(root, digits_params, "stays")


def with_adapt(workspace: Workspace, **changes: object) -> Workspace:
    """Other parameters of the adaptation."""
    section = AdaptParams.model_validate({**workspace.params.adapt.model_dump(), **changes})
    return replace(workspace, params=workspace.params.model_copy(update={"adapt": section}))


def versions(workspace: Workspace) -> list[Version]:
    return model_registry.list_versions(open_store(workspace), workspace.params.register_.model)


def last_run(workspace: Workspace) -> dict[str, str]:
    """Tags of the newest run of the model."""
    store = open_store(workspace)
    query = f"tags.`eyas.model` = '{workspace.params.register_.model}'"
    order = ["attributes.start_time DESC"]
    tags: dict[str, str] = store.client.search_runs([store.experiment_id], query, order_by=order)[0].data.tags
    return tags


@pytest.fixture(scope="module")
def moving(root: Path, digits_params: PipelineParams) -> Workspace:
    """A champion that follows the field and is taken back: ``proposed``, ``promoted``, ``reverted`` in turn."""
    return register_champion(root, digits_params, "moves", bundle=True)


@pytest.fixture(scope="module")
def strict(moving: Workspace) -> Workspace:
    """It under the rule as it is by default."""
    return with_adapt(moving, rule=RevertRule())


@pytest.fixture(scope="module")
def darker(write: Write) -> str:
    """Images of the field that are darker than those of the training."""
    return write(dim)


@pytest.fixture(scope="module")
def proposed(strict: Workspace, darker: str) -> AdaptDecision:
    """Version 2, which labels proposed."""
    return adapt(with_adapt(strict, since="1d"), darker, labelled=True)


@pytest.fixture(scope="module")
def comparison(moving: Workspace, proposed: AdaptDecision) -> Comparison:
    """Versions 1 and 2, before one of them is promoted."""
    fetched = tracking.StageRecord("fetch", "as version 1", moving.artifacts / "fetch")
    tracking.record_stage(open_store(moving), versions(moving)[0].run_id, fetched)
    return compare_named(moving, ["1", "2"])


@pytest.fixture(scope="module")
def promoted(strict: Workspace, comparison: Comparison) -> PromotionDecision:
    """Version 2 is champion."""
    return promote(strict)


@pytest.fixture(scope="module")
def reverted(strict: Workspace, promoted: PromotionDecision, write: Write) -> AdaptDecision:
    """Clean images took version 2 back."""
    return adapt(strict, write())


def field_accuracies(decision: AdaptDecision) -> tuple[float, float]:
    """On images of the field in percent, before and after they were followed."""
    line = next(line for line in decision.lines if line.startswith("images of the field"))
    before, after = map(float, re.findall(r"(\d+\.\d+)%", line))
    return before, after


def told_gain(comparison: Comparison) -> re.Match[str]:
    """What a comparison says that following the field brought there: who decided, and both accuracies."""
    (note,) = comparison.notes
    measured = re.search(r"(labels .+): on 160 images of the field accuracy is ([\d.]+) %, ([\d.]+) % without", note)
    assert measured is not None, note
    return measured


def test_labels_propose_a_version_and_what_it_costs_elsewhere_is_told(proposed: AdaptDecision) -> None:
    assert (proposed.outcome, proposed.version, proposed.images) == ("proposed", "2", 160)
    assert re.match("drift in 160 images: darker images", proposed.drift)
    before, after = field_accuracies(proposed)
    assert after > before + 5
    line = next(line for line in proposed.lines if line.startswith("test images, not of the field"))
    (caution,) = [line for line in proposed.lines if line.startswith("caution: where images become as before")]
    assert re.findall(r"\d+\.\d+%", caution) == re.findall(r"\d+\.\d+%", line)
    assert proposed.lines.index(caution) < proposed.lines.index(line)
    assert "--labels" not in caution  # what is gained stands beside it


def test_a_proposed_version_is_registered_like_any_other(moving: Workspace, proposed: AdaptDecision) -> None:
    first, second = versions(moving)
    assert aliases(moving) == {"champion": "1", "candidate": "2"}
    assert second.tags["eyas.adapted_from"] == "moves/1"
    record = json.loads(second.tags["eyas.adaptation"])
    assert record["adapter"]["kind"] == "ada_bn"
    assert record["images"] == 160
    assert re.fullmatch(r"since 20\d\d-\d\d-\d\d \d\d:\d\d UTC", record["dates"])
    assert second.lineage.dataset_hash == first.lineage.dataset_hash
    assert second.metrics["baseline.test_accuracy"] == first.metrics["baseline.test_accuracy"]


def test_all_files_of_a_proposed_version_are_of_the_adapted_network(
    moving: Workspace, proposed: AdaptDecision, tmp_path: Path
) -> None:
    first, second = versions(moving)
    places = (model_registry.download(open_store(moving), one, tmp_path / one.number) for one in (first, second))
    files = [ExportedModel.open(place) for place in places]
    here, there = (one.manifest["files"] for one in files)
    assert here.keys() == there.keys()
    differing = {file for file in here if here[file]["sha256"] != there[file]["sha256"]}
    assert {"model.onnx", "model.safetensors", "bn_statistics.safetensors", f"{BUNDLE}/model.onnx"} <= differing
    assert {"dense.onnx", "plan.json"} & differing == set()
    test = open_dataset(moving.artifacts / "fetch").split("test")
    right = float((files[1].answers(test.images()) == test.labels.numpy()).mean())
    assert second.metrics["finetune.test_accuracy"] == pytest.approx(right)
    network = load_network(files[1].folder, allowed=("models:build",)).model
    pixels = open_dataset(moving.artifacts / "fetch").normalise(test.images())
    with torch.inference_mode():
        assert (network(pixels).argmax(1).numpy() == files[1].answers(test.images())).all()


def test_a_comparison_tells_which_version_is_for_which_images(
    moving: Workspace, proposed: AdaptDecision, comparison: Comparison
) -> None:
    assert len(comparison.dense) == 1, "both came from it"
    adapted = comparison.networks[1]
    assert adapted.detail.endswith("adapted from version 1 by ada_bn")
    assert adapted.change is not None
    assert adapted.change.difference == pytest.approx(adapted.accuracy - adapted.dense_accuracy)
    paired = comparison.differences[1].paired if comparison.differences[1] else None
    assert paired is not None
    assert paired.difference == pytest.approx(adapted.accuracy - comparison.networks[0].accuracy)
    (note,) = comparison.notes
    assert note.startswith("version 2 is adapted from version 1 by ada_bn: it follows 160 images of the field; test")
    measured, (before, after) = told_gain(comparison), field_accuracies(proposed)
    assert [float(share) for share in measured.groups()[1:]] == pytest.approx([after, before], abs=0.01)
    record = json.loads(versions(moving)[1].tags["eyas.adaptation"])
    assert (measured[1] == "labels decided") == record["by_labels"]
    assert comparison.conclusion.startswith("they are for different images: version 2 for images of the field, version")


def test_images_that_a_candidate_has_followed_make_no_other_version(
    strict: Workspace, comparison: Comparison, darker: str
) -> None:
    again = adapt(strict, darker)
    assert (again.outcome, again.version, len(versions(strict))) == ("unchanged", "2", 2)
    assert "moves version 2 has followed these images already: nothing new is registered" in again.message
    told = f"not judged yet; {told_gain(comparison)[1]}: on 160 images of the field"
    assert told in "\n".join(status_lines(strict))


def test_promotion_and_status_tell_what_an_adapted_version_loses_and_gains(
    moving: Workspace, strict: Workspace, promoted: PromotionDecision, comparison: Comparison
) -> None:
    assert promoted.outcome == "promoted"
    right = versions(moving)[1].metrics["finetune.test_accuracy"]
    losses = (
        rf"on test images, which are not of the field, accuracy is {100 * right:.4g} %, that of the champion [\d.]+ %"
    )
    for told in (promoted.message, *("\n".join(status_lines(strict, verbose=whole)) for whole in (False, True))):
        assert re.search(losses, told)
        assert told_gain(comparison)[0] in told
        assert re.search(r"`\S*eyas rollback.*` goes back to version 1", told)
    assert "adapted from version 1 to images of the field" in "\n".join(status_lines(moving))


def test_images_that_an_adapted_champion_knows_change_nothing(
    strict: Workspace, promoted: PromotionDecision, darker: str
) -> None:
    same = adapt(strict, darker)
    assert (same.outcome, same.version) == ("unchanged", "2")
    assert "the images are as it knows them" in same.message


def test_few_images_and_few_classes_do_not_take_an_adapted_champion_back(
    strict: Workspace, promoted: PromotionDecision, write: Write
) -> None:
    with pytest.raises(RefusedError, match="do not adapt yet: 20 images are few"):
        adapt(strict, write(count=20))
    assert aliases(strict)["champion"] == "2"
    for classes in ((1,), (0,), (7,), (0, 1)):  # which say nothing of which network is better
        with pytest.raises(RefusedError, match="another balance of classes"):
            adapt(strict, write(dim, classes=classes))
    assert adapt(strict, write(dim, classes=(0, 1, 2, 3, 4))).outcome == "unchanged"
    assert aliases(strict)["champion"] == "2"


def test_a_parent_that_was_never_champion_before_is_only_proposed(
    strict: Workspace, promoted: PromotionDecision, write: Write
) -> None:
    store = open_store(strict)
    model_registry.drop_alias(store, "moves", "previous")
    try:
        decision = adapt(strict, write(classes=(3, 7)))
        assert decision.outcome == "proposed"  # the champion stands until someone promotes
        in_its_place = "moves version 1 is proposed in the place of moves version 2, the champion that was adapted"
        assert in_its_place in decision.message
        assert aliases(strict) == {"champion": "2", "candidate": "1"}
    finally:
        model_registry.set_alias(store, "moves", "previous", "1")
        model_registry.set_alias(store, "moves", "candidate", "2")


def test_clean_images_take_an_adapted_champion_back(moving: Workspace, reverted: AdaptDecision) -> None:
    assert (reverted.outcome, reverted.version) == ("reverted", "1")
    assert "version 1 is champion again, version 2 was rolled back" in reverted.message
    assert "statistics: layers are" in reverted.message
    assert reverted.drift.startswith("to its parent no drift in 160 images")
    assert aliases(moving) == {"champion": "1"}


def test_a_version_that_was_taken_back_is_neither_made_nor_promoted_again(
    moving: Workspace, strict: Workspace, reverted: AdaptDecision, darker: str
) -> None:
    with pytest.raises(RefusedError, match=r"has followed .* rolled back \(by the rule, on 160 images: stat") as told:
        adapt(strict, darker)
    assert "`eyas promote --version 2 --force 'WHY'` takes it all the same, `eyas adapt " in str(told.value)
    assert len(versions(moving)) == 2
    with pytest.raises(RefusedError, match="was rolled back before"):
        promote(moving, "2")


def test_how_an_adapted_version_is_made_again_is_told(moving: Workspace, reverted: AdaptDecision) -> None:
    needs = reproduce(moving, "2")
    assert "eyas adapt IMAGES --version 1 --force --labels --set 'adapt.adapter={" in needs.commands[-1]
    assert "images.json of MLflow run" in needs.commands[-1]


def test_clean_images_change_nothing(champion: Workspace, write: Write) -> None:
    decision = adapt(champion, write())
    assert decision.outcome == "unchanged"
    assert decision.drift.startswith("no drift in 160 images")
    assert len(versions(champion)) == 1
    assert (last_run(champion)["eyas.kind"], last_run(champion)["eyas.outcome"]) == ("adaptation", "unchanged")


@pytest.mark.parametrize(("mode", "size", "told"), [("RGB", 32, "32 x 32 in colour"), ("L", 8, None)])
def test_images_of_another_kind_are_warned_of(
    champion: Workspace, tmp_path: Path, caplog: pytest.LogCaptureFixture, mode: str, size: int, told: str | None
) -> None:
    folder, random = tmp_path / "photos", torch.Generator().manual_seed(0)
    folder.mkdir()
    for number in range(16):
        pixels = torch.randint(256, (size, size, 3), generator=random, dtype=torch.uint8)
        Image.fromarray(pixels.numpy()).convert(mode).save(folder / f"{number:02}.png")
    with pytest.raises(RefusedError, match="16 images are few"):
        adapt(champion, str(folder))
    warnings = [record.getMessage() for record in caplog.records if record.name == "tasks.adapt"]
    assert len(warnings) == (told is not None)
    if told:
        assert f"00.png is {told}, stays version 1 takes 8 x 8 in grey: its answers may mean little" in warnings[0]


def test_what_the_rule_refuses_is_not_registered(
    champion: Workspace, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = RevertVerdict(False, "revert: collapse", (Reason("collapse", False, "one class eats all"),))
    monkeypatch.setattr(adaptation_case, "judge", lambda *_, **__: said)
    with pytest.raises(
        RefusedError,
        match="darker images.* it is refused by the revert rule, which decides: collapse: one class eats all",
    ):
        adapt(champion, write(dim))
    assert len(versions(champion)) == 1
    assert aliases(champion) == {"champion": "1", "candidate": "1"}
    assert last_run(champion)["eyas.outcome"] == "refused"
    assert "one class eats all" in last_run(champion)["eyas.reason"]
    for labelled, more in ((False, "some"), (True, "more")):
        words = rf"as it is: give more images, another adapter \(`eyas adapt .*alpha_bn`\), labels of {more} of them"
        with pytest.raises(RefusedError, match=words):
            adapt(champion, write(dim), labelled=labelled)


def test_what_a_gate_refuses_is_not_registered(
    champion: Workspace, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    def files_of_the_parent(_: object, parent: ExportedModel, *__: object, folder: Path, **___: object) -> Metrics:
        shutil.copytree(parent.folder, folder, dirs_exist_ok=True)
        return {"max_difference": 0.0}

    monkeypatch.setattr(adapted_network, "export_adapted", files_of_the_parent)
    limits = champion.params.promote.model_copy(update={"max_bytes": 1})
    small = replace(champion, params=champion.params.model_copy(update={"promote": limits}))
    with pytest.raises(RefusedError, match="version 1 stays as it is, what was adapted is refused: .*size of the file"):
        adapt(small, write(dim))
    assert len(versions(champion)) == 1


def test_formats_of_few_bits_take_their_ranges_from_the_field(
    root: Path, digits_params: PipelineParams, tmp_path: Path
) -> None:
    parent = tmp_path / "parent"
    shutil.copytree(root / "artifacts/export", parent)
    shutil.copyfile(root / "artifacts" / SPACE, parent / "space.json")
    dataset, network = open_dataset(root / "artifacts/fetch"), load_network(parent, allowed=("models:build",)).model
    pixels = (0.4 * dataset.split("train").images()[:60].float()).byte()
    adapted = follow(network, dataset.normalise(pixels))
    params = digits_params.model_copy(update={"export": digits_params.export.model_copy(update={"adaptable": True})})
    field, folder = FieldImages(pixels, tuple(map(str, range(60)))), tmp_path / "export"
    folder.mkdir()
    export_adapted(params, ExportedModel.open(parent), adapted, field, dataset=dataset, folder=folder, caution="")
    files = json.loads((folder / "files.json").read_text())
    assert files["onnx_int8"]["images"] == 60
    assert files["onnx_int8"]["agreement"] > 0.9
    assert "accuracy" not in files["onnx_int8"]  # the field has no labels
    before = json.loads((parent / "files.json").read_text())
    assert files["dense"] == before["dense"]
    clean = dataset.split("score").images(params.adapt.source_images)  # as the parent answers them, which knows them
    answers = torch.from_numpy(ExportedModel.open(parent).answers(clean))
    told = json.loads((folder / "bundle/adapt_rule.json").read_text())["clean_classes"]
    assert told == torch.bincount(answers, minlength=10).tolist()
    assert told != torch.bincount(adapted(dataset.normalise(clean)).argmax(1), minlength=10).tolist()


def test_force_says_what_it_overrode(champion: Workspace) -> None:
    advice = "do not adapt: nothing drifted"
    report = DriftReport.model_construct(drift=False, adapt=False, advice=advice)
    case = SimpleNamespace(field=SimpleNamespace(labels=None))
    assert module.overridden(case, report).startswith(f"--force overrode this advice: {advice}; the rule and the gates")
    expected = DriftReport.model_construct(drift=True, adapt=True, advice="adaptation is expected to help")
    assert "overrode nothing" in module.overridden(case, expected)


def test_of_few_images_nothing_is_adapted(champion: Workspace, write: Write) -> None:
    few = write(dim, 40)
    with pytest.raises(RefusedError, match="do not adapt yet: 40 images are few") as refused:
        adapt(champion, few, "1")
    assert f"`eyas adapt {few} --version 1 --force` tries it all the same" in str(refused.value)


def test_labels_that_do_not_decide_leave_the_advice_in_force(champion: Workspace, write: Write) -> None:
    few, never_sure = write(dim, 40), with_adapt(champion, rule=LENIENT.model_copy(update={"alpha": 1e-12}))
    with pytest.raises(RefusedError, match="40 images are few.*, and the 40 images have too few labels to") as refused:
        adapt(never_sure, few, "1", labelled=True)
    assert "--force` leaves it to the answers alone" in str(refused.value)


def test_too_few_images_to_compare_with_are_told_by_the_field_that_makes_them(
    champion: Workspace, write: Write
) -> None:
    with pytest.raises(BadInputError, match=r"50 images of the score split are too few .*: raise adapt.source_images"):
        adapt(with_adapt(champion, source_images=50), write())
    with pytest.raises(BadInputError, match=r"95 images .*: raise fetch.score_fraction \(0\.\d+\) and run again"):
        require_enough_to_compare(95, champion)


def test_a_profile_that_fetched_nothing_is_told_so(champion: Workspace, write: Write, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="has no images to compare with: give the version's profile, or `eyas run"):
        adapt(replace(champion, folder=tmp_path / "other"), write())


def test_no_adaptation_is_no_new_version(champion: Workspace, write: Write) -> None:
    with pytest.raises(RefusedError, match="none leaves stays version 1 as it is: there is nothing to propose"):
        adapt(with_adapt(champion, adapter="none"), write(dim))


def test_what_is_held_out_is_recorded_and_no_image_is_there_twice(champion: Workspace, write: Write) -> None:
    def recorded(images: str) -> tuple[list[str], list[str]]:
        with pytest.raises(RefusedError, match="there is nothing to propose"):
            adapt(with_adapt(champion, adapter="none"), images)
        store = open_store(champion)
        run_id = store.client.search_runs([store.experiment_id], order_by=["attributes.start_time DESC"])[0].info.run_id
        files = (Path(store.client.download_artifacts(run_id, f"{name}.json")) for name in ("images", "held_out"))
        taken, held_out = (json.loads(file.read_text()) for file in files)
        return taken, held_out

    field = write(dim, 300)
    taken, held_out = recorded(field)
    assert (len(taken), len(set(held_out))) == (300, 75)
    assert set(held_out) < set(taken)
    for file in list(Path(field).rglob("*.png"))[:100]:
        shutil.copyfile(file, file.with_name(f"again-{file.name}"))
    again, same = recorded(field)
    assert (sorted(again), sorted(same)) == (sorted(taken), sorted(held_out))


def one_class(pixels: Tensor) -> Tensor:
    return 0.4 * pixels[:1] + 0.03 * pixels  # which differ, since copies count once


def test_a_stream_of_one_class_is_refused(champion: Workspace, write: Write) -> None:
    with pytest.raises(RefusedError, match=r"; do not adapt with these: \d+% of the images are taken for one class"):
        adapt(champion, write(one_class))
    with pytest.raises(
        RefusedError,
        match=r"it is refused by the revert rule, which decides: one class: the source takes \d+% of the images for",
    ):
        adapt(with_adapt(champion, rule=RevertRule()), write(one_class), force=True)


def test_what_cannot_be_used_is_told_in_a_line(champion: Workspace, write: Write, tmp_path: Path) -> None:
    def refused(error: type[EyasError], words: str, workspace: Workspace = champion, **options: object) -> None:
        with pytest.raises(error, match=words) as raised:
            adapt(workspace, **{"images": clean, **options})  # type: ignore[arg-type]
        assert "\n" not in str(raised.value)

    clean, empty = write(), tmp_path / "empty"
    empty.mkdir()
    refused(ParameterError, "no images are named", images=None)
    refused(DataError, "empty holds no image", images=str(empty))
    refused(DataError, "gone does not exist: give a file, a folder, or a pattern", images=str(tmp_path / "gone"))
    refused(DataError, r"none of \d+ dates is since 2100-01-01", workspace=with_adapt(champion, since="2100-01-01"))
    refused(DataError, "the images.* at least 8", images=write(count=1))
    (tmp_path / "cats/cat").mkdir(parents=True)
    Image.new("L", (8, 8)).save(tmp_path / "cats/cat/1.png")
    refused(DataError, "the labels do not fit: 'cat' is no class", images=str(tmp_path / "cats"), labelled=True)
    refused(BadInputError, "has no version 9", number="9")
    refused(BadInputError, "has no version beta", number="beta")
    other = champion.params.baseline.model_copy(update={"arguments": {"width": 4, "in_channels": 1}})
    renamed = replace(champion, params=champion.params.model_copy(update={"baseline": other}))
    refused(BadInputError, "give the profile that made it", workspace=renamed)
    assert len(versions(champion)) == 1


def test_a_look_before_prefect_is_there_tells_what_would_refuse_it(
    champion: Workspace, write: Write, tmp_path: Path
) -> None:
    def refused(error: type[EyasError], words: str, images: str | None, number: str | None = None, **how: bool) -> None:
        with pytest.raises(error, match=words) as raised:
            look_before(champion, images, number, labelled=how.get("labelled", False))
        assert "\n" not in str(raised.value)

    clean, flat = write(), tmp_path / "flat"
    look_before(champion, clean, None, labelled=True)
    flat.mkdir()
    refused(DataError, "flat holds no image", str(flat))
    for number in range(9):
        (flat / f"{number}.png").write_text("no image")
    refused(DataError, r"0 of 9 images can be read; field/0.png does not decode: not an image: .* 8", str(flat))
    for number in range(9):
        Image.new("L", (8, 8)).save(flat / f"{number}.png")
    refused(DataError, r"1 of 1 images can be read, 8 more repeat another: a window needs at least 8", str(flat))
    for number in range(9):
        Image.new("L", (8, 8), number).save(flat / f"{number}.png")
    look_before(champion, str(flat), None, labelled=False)
    refused(DataError, r"no labels can be read of the images .*: leave out --labels, or", str(flat), labelled=True)
    (flat / "notes.txt").write_text("none")
    for file in flat.glob("*.png"):
        file.unlink()
    refused(DataError, r"no known format in field \(notes.txt\).*name one with adapt.format$", str(flat))
    refused(DataError, "gone: there is no such file or folder", str(tmp_path / "gone"))
    refused(ParameterError, "no images are named", None)
    refused(BadInputError, "has no version 9", clean, "9")


@pytest.mark.parametrize("kind", [kind for kind, member in sorted(Adapter.members().items()) if not member.foldable])
def test_an_adapter_that_ends_in_no_network_is_refused_before_anything_is_looked_at(
    champion: Workspace, write: Write, kind: str
) -> None:
    asked, images = with_adapt(champion, adapter=Adapter.parse(kind)), write()
    words = f"^adapt.adapter {kind} answers by more than the network's own layers: it ends in no plain network; [^\n]*$"
    with pytest.raises(ParameterError, match=words):
        look_before(asked, images, None, labelled=False)
    with pytest.raises(ParameterError, match=words):
        adapt(asked, images)


def test_a_version_is_adapted_in_the_profile_that_made_it(champion: Workspace, write: Write, tmp_path: Path) -> None:
    """Named by nothing but its store: the checkout's own profile would read other images by another network."""
    assert open_made_in(champion, None, [], None) is champion
    other = replace(champion, name="other", folder=tmp_path)
    root = champion.root
    (root / "params.yaml").write_text(yaml.safe_dump(champion.all_params))
    try:
        own = open_made_in(other, None, ["adapt.batch_size=9"], None)
        assert (own.name, own.folder, own.params.adapt.batch_size) == ("default", root, 9)
        assert own.params.adapt.adapter == champion.params.adapt.adapter
        assert open_made_in(other, None, ["baseline.epochs=9"], None) is other  # names a profile of its own
        assert open_made_in(other, None, [], "mine") is other
        assert open_made_in(other, "9", [], None) is other  # there is none: the adaptation itself says so
    finally:
        (root / "params.yaml").unlink()


def test_before_there_is_a_champion_a_version_is_named(setting: Setting, write: Write) -> None:
    with pytest.raises(ParameterError, match="has no champion to adapt"):
        adapt(setting(), write())
    mine = replace(setting(), arguments=("--params", "mine.yaml"))
    with pytest.raises(ParameterError, match=r"`\S*eyas promote --params \S*mine\.yaml` makes one"):
        module.look_before(mine, write(), None, labelled=False)


def test_few_images_without_drift_are_too_few_to_tell(champion: Workspace, write: Write) -> None:
    decision = adapt(champion, write(count=15))
    assert (decision.outcome, decision.images) == ("unchanged", 15)
    assert decision.message.endswith("15 images are too few to tell whether anything changed; collect at least 64")


def test_an_adapter_that_needs_more_images_than_a_batch_has_is_refused_by_its_field(
    champion: Workspace, write: Write
) -> None:
    with pytest.raises(EyasError, match=r"adapt.batch_size is 1: ada_bn needs at least 2 images"):
        adapt(with_adapt(champion, batch_size=1), write(dim))


def test_a_folded_network_has_nothing_to_adapt(
    champion: Workspace, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without_batch_norm(*arguments: object) -> RegisteredNetwork:
        opened = open_registered(*arguments)  # type: ignore[arg-type]
        block, folded = opened.network.model, []
        for name, layer in list(block.named_modules()):
            if isinstance(layer, nn.BatchNorm2d):
                conv = block.get_submodule(name.replace("bn", "conv"))
                assert isinstance(conv, nn.Conv2d)
                folded.append((name, fuse_conv_bn_eval(conv, layer)))
        for name, conv in folded:
            parent, _, last = name.rpartition(".")
            setattr(block.get_submodule(parent), last, nn.Identity())
            setattr(block.get_submodule(parent), last.replace("bn", "conv"), conv)
        return opened

    monkeypatch.setattr(module, "open_registered", without_batch_norm)
    images = write(dim)
    with pytest.raises(RefusedError, match="the network has no batch-norm layers"):
        adapt(champion, images)
    with pytest.raises(ParameterError, match="the network has no batch-norm with running statistics") as raised:
        adapt(champion, images, force=True)
    assert "\n" not in str(raised.value)


def test_a_damaged_version_is_not_adapted(champion: Workspace, write: Write) -> None:
    weights = Path(urlparse(versions(champion)[0].source).path) / "eyas/model.safetensors"
    was = weights.read_bytes()
    weights.write_bytes(was[:-1] + bytes([was[-1] ^ 1]))
    try:
        with pytest.raises(ChecksumError, match="expected sha256"):
            adapt(champion, write())
    finally:
        weights.write_bytes(was)


def test_a_network_of_another_architecture_is_not_written(root: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has another architecture \(bias differs\)"):
        write_weights(root / "artifacts/export", nn.Linear(2, 2), tmp_path)
