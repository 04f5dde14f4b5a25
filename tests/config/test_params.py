"""params.yaml: what is wrong is named, with what is allowed, before any work."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from eyas.adaptation.adapters import Adapter
from eyas.component import Options, families
from eyas.config import PipelineParams, expand, load_params, parse_params
from eyas.data.formats import Format
from eyas.errors import ParameterError

ROOT = Path(__file__).resolve().parents[2]


def test_the_default_parameters_are_valid_and_name_every_section() -> None:
    params = load_params(ROOT / "params.yaml")
    sections = yaml.safe_load((ROOT / "params.yaml").read_text())
    names = {field.alias or name for name, field in PipelineParams.model_fields.items()}
    assert set(sections) <= names
    assert params.fetch.train == "builtin:digits"
    assert params.sample.budget.macs == 0.5


def test_every_field_of_every_section_has_a_docstring_beneath_it() -> None:
    fields = {
        f"{owner}.{name}": field
        for owner, content in PipelineParams.model_json_schema()["$defs"].items()
        for name, field in content.get("properties", {}).items()
        if name != "kind"
    }
    assert {"SampleParams.seed", "BudgetParams.macs", "Rung.images", "StorageSettings.region"} <= fields.keys()
    assert [name for name, field in fields.items() if not field.get("description")] == []


@pytest.mark.parametrize(
    ("content", "needles"),
    [
        ({"scroe": {}}, ["scroe", "no such parameter", "score"]),
        ({"fetch": {"trian": "x"}}, ["fetch.trian", "no such parameter", "image_size"]),
        ({"fetch": {"image_size": "big"}}, ["fetch.image_size", "'big'", "integer"]),
        ({"fetch": {"score_fraction": 1.5}}, ["fetch.score_fraction", "1.5", "less than 1"]),
        ({"fetch": {"mean": [0.5], "std": [0.5, 0.5]}}, ["mean has 1", "std 2"]),
        ({"sample": {"budget": {}}}, ["sample.budget", "at least one of macs"]),
        ({"sample": {"budget": {"flops": 0.5}}}, ["sample.budget.flops"]),
        ({"sample": {"budget": {"latency": 4}}}, ["sample.budget", "latency 4 is no share", "give latency_ms: 4"]),
        ({"sample": {"budget": {"latency": 0.5, "latency_ms": 4}}}, ["sample.budget", "give one of them"]),
        ({"sample": {"budget": {"latency_ms": 0}}}, ["sample.budget.latency_ms", "greater than 0"]),
        ({"sample": {"budget": {"file_bytes": -1}}}, ["sample.budget.file_bytes", "greater than 0"]),
        ({"sample": {"budget": {"macs": 0.5, "params": 1.5}}}, ["sample.budget", "params 1.5 is neither a share"]),
        ({"sample": {"candidates": 0}}, ["sample.candidates", "greater than or equal to 1", "0"]),
        ({"sample": {"criterion": "l7_norm"}}, ["sample.criterion", "l7_norm", "available", "l1_norm"]),
        ({"sample": {"criterion": {"kind": ["l1_norm"]}}}, ["sample.criterion", "['l1_norm']", "available", "l1_norm"]),
        (
            {"fetch": {"format": "tfrecord"}},
            ["fetch.format", "'tfrecord'", "cifar, folder, idx, images, masks, parquet", "auto"],
        ),
        ({"fetch": {"format": {"kind": "parquet", "column": "x"}}}, ["fetch.format.column", "label_column"]),
        ({"sample": {"criterion": {"kind": "l1_norm", "power": 3}}}, ["sample.criterion", "power"]),
        ({"finetune": {"recipe": {"kind": "sgd", "lr": 0.1}}}, ["finetune.recipe.lr", "learning_rate"]),
        ({"finetune": {"recipe": {"kind": "sgd", "ema_decay": 1}}}, ["finetune.recipe.ema_decay", "less than 1"]),
        ({"finetune": {"gradual": {"cuts": 0}}}, ["finetune.gradual.cuts", "greater than or equal to 1", "0"]),
        ({"finetune": {"gradual": {"cuts": 16}}}, ["finetune.gradual.cuts", "less than or equal to 15", "16"]),
        ({"finetune": {"gradual": {"share": 1}}}, ["finetune.gradual.share", "less than 1"]),
        ({"finetune": {"gradual": {"steps": 3}}}, ["finetune.gradual.steps", "no such parameter", "cuts"]),
        ({"finetune": {"gradual": {}, "epochs": 2}}, ["finetune", "gradual.cuts 3", "epochs 2", "leave gradual out"]),
        ({"finetune": {"gradual": {}, "epochs": 0}}, ["gradual.cuts 3 with epochs 0"]),
        ({"score": {"seed": True}}, ["score.seed", "integer", "True"]),
        ({"sample": {"budget": 0.5}}, ["sample.budget", "macs", "0.5"]),
        ({"sample": None}, ["sample", "candidates"]),
        ({"score": {"batch_size": 1}}, ["score.batch_size", "greater than or equal to 2"]),
        ({"score": {"seed": 2**70}}, ["score.seed", "less than"]),
        ({"score": {"score_images": 1}}, ["score.score_images", "greater than or equal to 2"]),
        ({"score": {"rungs": []}}, ["score.rungs", "at least one rung"]),
        ({"score": {"rungs": [{"images": 9}, {"images": 99}]}}, ["score.rungs", "finalists", "held_out"]),
        ({"score": {"rungs": [{"steps": 9}, {"images": 99, "mode": "held_out"}]}}, ["score.rungs", "put it before"]),
        ({"score": {"rungs": [{"keep": 4}]}}, ["score.rungs.0", "how many images", "how many steps"]),
        ({"score": {"rungs": [{"images": 9, "keep": 1.0}]}}, ["score.rungs.0.keep", "a whole number", "1.0"]),
        ({"score": {"rungs": [{"images": 9, "keep": True}]}}, ["score.rungs.0.keep", "True"]),
        ({"register": {"model": "a/b"}}, ["register.model", "'a/b'"]),
        ({"runtime": {"device": "tpu"}}, ["runtime.device", "'cpu'", "'tpu'"]),
        ({"schedule": {"cron": "99 99 * * *"}}, ["schedule", "99 99 * * *", "minute hour day month weekday"]),
        ({"schedule": {"cron": "0 3 * * 1", "timezone": "Mars/Base"}}, ["Mars/Base", "Europe/Berlin"]),
        ({"schedule": {"cron": "0 3 * * 1", "interval_minutes": 5}}, ["exclude each other"]),
        ({"adapt": {"schedule": {"interval_minutes": 5}}}, ["adapt", "schedule has a rhythm and images is not set"]),
        ({"adapt": {"adapter": "alpha"}}, ["adapt.adapter", "unknown adapter kind 'alpha'", "alpha_bn"]),
        ({"adapt": {"rule": {"alpha": 2}}}, ["adapt.rule.alpha", "less than 1"]),
        ({"sample": {"budget": {"macs": 1}}}, ["sample.budget", "macs 1", "nothing would be pruned", "below 1"]),
        ({"sample": {"budget": {"params": 25}}}, ["sample.budget", "params 25 would be a count", "for 25 % give 0.25"]),
        ({"sample": {"budget": {"macs": "50%"}}}, ["sample.budget.macs", "no number: for 50 % give 0.5; given: '50%'"]),
        ({"sample": {"budget": {"latency_ms": "50%"}}}, ["for 50 % give latency: 0.5"]),
        ({"sample": {"budget": {"params": "200%"}}}, ["no number: give a share of the dense cost such as 0.5"]),
        ({"sample": {"budget": {"params": 1.0}}}, ["sample.budget", "params 1", "nothing would be pruned"]),
        ({"finetune": {"epochs": True}}, ["finetune.epochs", "a number is asked for", "yes", "True"]),
        ({"fetch": {"mean": [0.5, True, 0.5]}}, ["fetch.mean", "a number is asked for", "True"]),
        ({"fetch": {"limits": {"pixels": False}}}, ["fetch.limits.pixels", "False"]),
        ({"promote": {"max_drop": True}}, ["promote.max_drop", "a number is asked for"]),
        ({"finetune": {"recipe": {"kind": "sgd", "learning_rate": True}}}, ["finetune.recipe", "learning_rate"]),
        ({"finetune": {"recipe": {"kind": "sgd", "distillation": {"alpha": True}}}}, ["distillation.alpha", "true"]),
        ({"runtime": {"storage": {"backoff": True}}}, ["runtime.storage.backoff", "a number is asked for"]),
        (["fetch"], ["sections", "list"]),
    ],
)
def test_a_wrong_parameter_names_place_value_and_what_is_allowed(content: object, needles: list[str]) -> None:
    with pytest.raises(ParameterError) as caught:
        parse_params(content, "params.yaml")
    message = str(caught.value)
    assert all(needle in message for needle in needles), message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            {"sample": {"round_to": "Auto"}},
            "sample.round_to: Input should be a valid integer, or 'auto'; given: 'Auto'",
        ),
        (
            {"sample": {"round_to": 0}},
            "sample.round_to: Input should be greater than or equal to 1, or 'auto'; given: 0",
        ),
        ({"sample": {"round_to": True}}, "sample.round_to: Input should be a valid integer, or 'auto'; given: True"),
        (
            {"baseline": {"output": [1]}},
            "baseline.output: Input should be a valid integer, or a valid string; given: [1]",
        ),
        (
            {"adapt": {"adapter": {"kind": "alpha_bn", "source_weight": 3}}},
            "adapt.adapter.source_weight: Input should be less than or equal to 1, or 'by_size' or 'chosen'; given: 3",
        ),
        ({"sample": {"ignore": [1]}}, "sample.ignore.0: Input should be a valid string; given: 1"),
    ],
)
def test_a_field_of_several_types_is_told_once_by_its_own_name(content: object, message: str) -> None:
    with pytest.raises(ParameterError) as caught:
        parse_params(content, "params.yaml")
    assert str(caught.value) == f"params.yaml:\n  {message}"


def test_an_option_of_several_types_is_told_once_in_the_library_too() -> None:
    with pytest.raises(ParameterError) as caught:
        Adapter.parse({"kind": "alpha_bn", "source_weight": 3})
    assert str(caught.value) == (
        "`adapter` {'kind': 'alpha_bn', 'source_weight': 3}: source_weight: Input should be less than or equal to 1, "
        "or 'by_size' or 'chosen'; given: 3"
    )


def descendants(root: type[Options]) -> set[type[Options]]:
    return {root}.union(*map(descendants, root.__subclasses__()))


@pytest.mark.parametrize("value", [True, False])
def test_no_field_of_any_section_or_member_takes_a_truth_value_for_a_number(value: bool) -> None:
    families()
    models = {model for model in descendants(Options) if model.__module__.startswith("eyas.")}
    assert len(models) > 30
    for model in models:
        for name in model.model_fields:
            for content in (value, [value, value]):
                try:
                    checked = getattr(model.model_validate({name: content}), name)
                except ValidationError:
                    continue
                assert repr(checked).replace("(", "[").replace(")", "]") == repr(content), (model, name)


def test_a_truth_value_stays_one_where_it_is_asked_for_or_anything_goes() -> None:
    params = parse_params({"baseline": {"seen_by_checkpoint": False, "arguments": {"bias": True, "sizes": [1, True]}}})
    assert params.baseline.seen_by_checkpoint is False
    assert params.baseline.arguments == {"bias": True, "sizes": [1, True]}
    assert params.baseline.arguments["bias"] is True


def test_a_format_is_named_by_its_kind_or_with_options_or_left_to_look() -> None:
    assert parse_params({}).fetch.format == "auto"
    assert parse_params({"fetch": {"format": "folder"}}).fetch.format == Format.parse("folder")
    table = {"kind": "parquet", "image_column": "img", "label_column": None}
    params = parse_params({"fetch": {"format": {"kind": "parquet", "image_column": "img"}}})
    assert params.fetch.format.model_dump() == table
    assert params.fetch.model_dump(mode="json")["format"] == table


@pytest.mark.parametrize("section", [{}, {"format": "auto"}, {"format": "parquet"}])
def test_parquets_columns_may_stand_beside_the_format(section: dict[str, str]) -> None:
    params = parse_params({"fetch": {**section, "image_column": "img", "label_column": None}})
    assert params.fetch.format.model_dump() == {"kind": "parquet", "image_column": "img", "label_column": None}
    assert parse_params({"fetch": {**section, "label_column": None}}).fetch.format in {"auto", Format.parse("parquet")}


def test_columns_beside_another_format_are_refused() -> None:
    with pytest.raises(ParameterError, match="image_column name columns of Parquet, but format is 'folder'"):
        parse_params({"fetch": {"format": "folder", "image_column": "img"}})


def test_every_error_of_a_file_is_reported_at_once() -> None:
    with pytest.raises(ParameterError) as caught:
        parse_params({"fetch": {"image_size": 0}, "score": {"batch_size": 0}}, "p.yaml")
    assert "fetch.image_size" in str(caught.value)
    assert "score.batch_size" in str(caught.value)


def test_a_missing_or_broken_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="does not exist"):
        load_params(tmp_path / "none.yaml")
    broken = tmp_path / "broken.yaml"
    broken.write_text("fetch: [1, 2")
    with pytest.raises(ParameterError, match="is not YAML"):
        load_params(broken)


def test_runtime_of_this_run_overrides_the_files(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text("runtime: {threads: 2, workers: 3}\n")
    runtime = load_params(path, runtime={"threads": 1}).runtime
    assert (runtime.threads, runtime.workers) == (1, 3)


def test_addresses_read_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EYAS_TEST_FOLDER", "/somewhere")
    assert expand("$EYAS_TEST_FOLDER/train.parquet") == "/somewhere/train.parquet"
    monkeypatch.delenv("EYAS_TEST_FOLDER")
    with pytest.raises(ParameterError, match="EYAS_TEST_FOLDER"):
        expand("$EYAS_TEST_FOLDER/train.parquet")


@pytest.mark.parametrize("address", ["$EYAS_TEST_FOLDER", "${EYAS_TEST_FOLDER}/train", "s3://bucket/$EYAS_TEST_FOLDER"])
def test_an_empty_variable_in_an_address_is_named(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("EYAS_TEST_FOLDER", "")
    with pytest.raises(ParameterError, match="EYAS_TEST_FOLDER is empty in the environment"):
        expand(address)


@pytest.mark.parametrize("place", ["fetch.train", "fetch.test", "baseline.checkpoint"])
@pytest.mark.parametrize("address", ["", " ", "\t"])
def test_an_empty_address_is_refused(place: str, address: str) -> None:
    section, field = place.split(".")
    with pytest.raises(ParameterError, match=f"{place}: an address is empty: give one, or leave the field out"):
        parse_params({section: {field: address}})


@pytest.mark.parametrize(
    ("mean", "std", "hint"),
    [
        (30.3, 37.0, True),
        (77.85, 0.3, True),
        (0.3, 96.0, True),
        (1.001, 0.3, True),
        (-5.0, 0.3, False),
        (0.3, 1e-12, False),
    ],
)
def test_a_mean_or_std_of_other_values_than_0_to_1_is_refused(mean: float, std: float, hint: bool) -> None:
    with pytest.raises(ParameterError, match=r"are of pixel values in \[0, 1\]") as caught:
        parse_params({"fetch": {"mean": [mean], "std": [std]}})
    assert ("divide them by 255" in str(caught.value)) is hint


@pytest.mark.parametrize(("mean", "std"), [(0, 1), (1, 0.001), (0.5, 0.5), (0, 1 / 255)])
def test_any_mean_and_std_of_values_from_0_to_1_pass(mean: float, std: float) -> None:
    assert parse_params({"fetch": {"mean": [mean], "std": [std]}}).fetch.mean == (mean,)


@pytest.mark.parametrize("place", ["fetch.train", "fetch.test", "baseline.checkpoint"])
@pytest.mark.parametrize(
    "address",
    [
        "https://ann:hunter2@host/d.zip",
        "https://hunter2@host/d.zip",
        "https://host/d.zip?X-Amz-Signature=hunter2&x=1",
        "https://host/d.zip?id=1&sig=hunter2",
        "s3://ann:hunter2@bucket/d.zip",
    ],
)
def test_an_address_that_is_recorded_may_hold_no_secret(place: str, address: str) -> None:
    section, field = place.split(".")
    with pytest.raises(ParameterError) as caught:
        parse_params({section: {field: address}})
    assert place in str(caught.value)
    assert "$NAME" in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "address",
    [
        "$SIGNED",
        "https://host/d.zip?id=1&design=1",
        "https://ann:$PASSWORD@host/d.zip?sig=$SIGNATURE",
        "s3://bucket/a@b?key=1",
        "models:/net@champion",
        "data/a@b:c",
    ],
)
def test_an_address_without_secrets_passes(address: str) -> None:
    assert parse_params({"fetch": {"train": address}}).fetch.train == address


def test_the_command_line_refuses_with_status_2_before_any_work(tmp_path: Path) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text("score: {batch_sise: 4}\n")
    done = subprocess.run(
        [sys.executable, "-m", "flows", "run", "--params", str(path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "score.batch_sise: no such parameter" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (ROOT / "workspaces" / "wrong").exists()


SPARSE = {"sparsity": {"kind": "one_by_n"}}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"sparsifier": "granet"}, "sparsifier granet comes to zeros that sparsity asks for: give sparsity, too"),
        ({"sparsity": "n_m", "sparsifier": "granet"}, "sparsity n_m has none: take one_by_n, unstructured"),
        ({**SPARSE, "sparsifier": "granet", "epochs": 0}, "sparsifier granet trains, and epochs is 0"),
        ({**SPARSE, "sparsifier": "soft_shrinkage", "depth_scaling": True}, "take at_once, or leave depth_scaling out"),
        (
            {**SPARSE, "gradual": {"cuts": 2}, "depth_scaling": True},
            "leave one of gradual, sparsity, depth_scaling out",
        ),
        ({**SPARSE, "recipe": {"kind": "sgd", "guidance": {}}}, "set sparsity.rearrange to false"),
        ({"sparsity": {"kind": "n_m", "n": 4}}, "n 4 of m 4 leaves no zeros"),
        ({"sparsity": "nm"}, "did you mean 'n_m'"),
    ],
)
def test_what_does_not_go_with_sparsity_is_refused(fields, words):
    with pytest.raises(ParameterError, match=re.escape(words)):
        parse_params({"finetune": fields})


def test_sparsity_goes_with_the_rest_where_it_can():
    assert parse_params({}).finetune.sparse is None
    guided = {"kind": "sgd", "guidance": {"measure": "cka"}}
    sparse = parse_params({"finetune": {**SPARSE, "recipe": guided, "depth_scaling": True}}).finetune.sparse
    assert (sparse.sparsity.kind, sparse.sparsifier.kind) == ("one_by_n", "at_once")
    assert parse_params({"finetune": {**SPARSE, "gradual": {"cuts": 1}, "depth_scaling": True}}).finetune.sparse
    assert parse_params({"finetune": {"sparsity": "unstructured"}}).finetune.sparse.sparsity.share == 0.5
