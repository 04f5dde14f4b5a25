import base64
import io
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from eyas.data.comparability import Comparability
from eyas.data.decoding import Preprocessing
from eyas.data.make_dataset import DatasetOptions, make_dataset
from eyas.operations.report import read_results, write_report
from eyas.operations.report.charts import learning_chart, loss_chart, score_chart
from eyas.operations.report.class_changes import class_changes, confusion_matrix, confusions
from eyas.operations.report.diagnostic_words import MEANINGS, WORDS
from eyas.operations.report.html_page import marked, render_html
from eyas.operations.report.svg_axes import axis_over
from eyas.operations.report.trade_offs import trade_offs
from eyas.scoring.race.rungs import Rung
from tests.scoring.conftest import make_scene
from tests.support.image_sources import make_images, write_folder
from tests.support.workspace import write_workspace

EVIL = "<script>alert(1)</script>"
PARAMS = {"sample": {"budget": {"macs": 0.5}}}
CURVES = (learning_chart, loss_chart)
LABELS, DENSE, PRUNED = [0, 0, 1, 1, 2, 2], [0, 0, 1, 2, 2, 2], [0, 1, 1, 1, 2, 0]


@pytest.fixture
def artifacts(tmp_path: Path) -> Path:
    return write_workspace(tmp_path / "artifacts", candidates=20)


def change(path: Path, content: Mapping[str, object]) -> None:
    """Set fields of a JSON file."""
    before = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(before | content))


def answer(artifacts: Path, **networks: list[int]) -> None:
    pq.write_table(pa.table({"label": LABELS, **networks}), artifacts / "finetune/answers.parquet")


def text_of(artifacts: Path, reproduce: Sequence[str] = ()) -> str:
    """The page, with plain spaces."""
    page = render_html(read_results(artifacts), artifacts, params=PARAMS, reproduce=reproduce)
    return page.replace("\N{NO-BREAK SPACE}", " ")


def test_the_page_says_first_what_the_result_is_worth(artifacts: Path) -> None:
    text = text_of(artifacts, reproduce=["git checkout abc", "make run < all"])
    assert (
        text.index("Undecided, but the gates let it pass")
        < text.index("points against the dense network")
        < text.index("<h2>Result</h2>")
    )
    assert "More than 1,280 images can spare: name a test set of your own (fetch.test)" in text
    for words in ("97.22 %", "96.67 %", "1.38 x faster", "git checkout abc\nmake run &lt; all"):
        assert words in re.sub("</?span>", "", text)
    assert not re.search(r"(src|href)=\"(?!data:)", text)
    assert len(text) < 3_000_000


def test_it_lies_beside_the_markdown_page_and_is_the_same_for_the_same_files(artifacts: Path) -> None:
    page = write_report(artifacts, params=PARAMS)
    again = render_html(read_results(artifacts), artifacts, params=PARAMS, reproduce=())
    assert page.with_suffix(".html").read_text() == again


def test_what_is_absent_is_said(artifacts: Path) -> None:
    text = text_of(artifacts)
    for words in (
        "Uniform widths were not raced",
        "Answers to single images were not kept: run finetune again.",
        "The race left no diagnostics.",
    ):
        assert words in text
    (artifacts / "baseline/history.csv").unlink()
    (artifacts / "finetune/history.csv").unlink()
    assert "Nothing was trained" in text_of(artifacts)


def test_uniform_widths_have_a_column_where_they_are_known(artifacts: Path) -> None:
    change(artifacts / "score/diagnostics.json", {"uniform": {"candidate": 7, "score": -0.5, "rank": 3}})
    text = text_of(artifacts)
    assert "<th>change</th><th>uniform widths</th>" in text
    assert '<td class="soft">not fine-tuned</td>' in text
    assert "set <code>finetune.compare_uniform</code> to measure it" in text
    change(artifacts / "finetune/metrics.json", {"uniform_test_accuracy": 0.9123})
    text = text_of(artifacts)
    assert '<td class="soft">91.23 %</td>' in text
    assert "uniform widths (candidate 7): test accuracy 91.23 %, after fine-tuning" in text
    against_macs, against_time = trade_offs(read_results(artifacts))
    assert {mark.shape for mark in against_macs.marks} == {"dense", "pruned", "uniform"}
    assert {mark.shape for mark in against_time.marks} == {"dense", "pruned"}
    assert against_time.notes == ("Not timed, because not exported: uniform widths.",)


def test_a_winner_of_uniform_widths_has_no_rival(artifacts: Path) -> None:
    winner = read_results(artifacts).winner.index
    change(artifacts / "score/diagnostics.json", {"uniform": {"candidate": winner, "score": -0.5, "rank": 1}})
    text = text_of(artifacts)
    assert "The winner keeps uniform widths" in text
    assert "<th>uniform widths</th>" not in text


def test_marks_stand_where_their_values_are(artifacts: Path) -> None:
    results = read_results(artifacts)
    chart = score_chart(results, "score")
    assert len(chart.marks) == 20
    by_score = sorted(chart.marks, key=lambda mark: mark.y)
    assert [mark.candidate for mark in by_score] == [
        candidate.index for candidate in sorted(results.candidates, key=lambda candidate: -candidate.score)
    ]
    dense, pruned = sorted(trade_offs(results)[0].marks, key=lambda mark: mark.shape)
    assert dense.x > pruned.x
    assert dense.y < pruned.y
    assert pruned.y_bar is not None
    assert pruned.y_bar[0] < pruned.y < pruned.y_bar[1]


def test_curves_begin_with_what_training_began_with(artifacts: Path) -> None:
    results = read_results(artifacts)
    first = {chart: [mark.tip for mark in chart(results).marks if "epoch 0" in mark.tip] for chart in CURVES}
    assert first == {learning_chart: ["pruned network, fine-tuned\nepoch 0: 71"], loss_chart: []}


def test_files_of_other_formats_are_points_where_they_were_measured(artifacts: Path) -> None:
    fact = {"accuracy": 0.95, "agreement": 0.99, "max_difference": 0.1, "bytes": 50_000, "images": 200}
    change(artifacts / "export/files.json", {"dense": fact, "model": fact, "onnx_int8": fact | {"accuracy": 0.94}})
    assert [mark.shape for mark in trade_offs(read_results(artifacts))[0].marks] == ["format", "dense", "pruned"]
    assert [mark.shape for mark in trade_offs(read_results(artifacts))[1].marks] == ["dense", "pruned"]
    assert "judged on 200 test images" in text_of(artifacts)


def test_an_axis_shows_all_values_and_no_impossible_tick() -> None:
    axis = axis_over([97.2, 99.9], "accuracy", most=100)
    assert axis.low < 97.2
    assert axis.high > 99.9
    assert max(float(text) for _, text in axis.ticks) <= 100
    assert axis.place(axis.low) == 0
    assert axis.place(axis.high) == 100
    flat = axis_over([5.0], "one value")
    assert flat.place(5.0) == 50
    assert axis_over([float("nan")], "none").ticks


def test_classes_and_confusions_are_counted(artifacts: Path) -> None:
    change(artifacts / "fetch/manifest.json", {"classes": ["ant", EVIL, "cat"]})
    answer(artifacts, dense=DENSE, pruned=PRUNED)
    results = read_results(artifacts)
    changes = {row.name: (row.images, row.dense, row.pruned) for row in class_changes(results)}
    assert changes == {"ant": (2, 1.0, 0.5), EVIL: (2, 0.5, 1.0), "cat": (2, 1.0, 0.5)}
    assert class_changes(results)[-1].name == EVIL
    assert confusion_matrix(results, "pruned").tolist() == [[1, 1, 0], [0, 2, 0], [1, 0, 1]]
    pairs = {(one.label, one.answer): (one.dense, one.pruned) for one in confusions(results)}
    assert pairs == {("ant", EVIL): (0, 1), (EVIL, "cat"): (1, 0), ("cat", "ant"): (0, 1)}


def test_names_of_the_user_are_escaped(artifacts: Path) -> None:
    change(artifacts / "fetch/manifest.json", {"classes": ["ant", EVIL, "cat"], "source": {"train": EVIL}})
    space = artifacts / "sample/space.json"
    space.write_text(space.read_text().replace('"stem"', json.dumps(EVIL)))
    answer(artifacts, dense=DENSE, pruned=PRUNED)
    text = text_of(artifacts, reproduce=[EVIL])
    assert EVIL not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert marked(f"`a` **b** {EVIL}") == f"<code>a</code> <strong>b</strong> {marked(EVIL)}"


def test_images_that_one_network_alone_is_right_on_are_shown(artifacts: Path) -> None:
    manifest = json.loads((artifacts / "fetch/manifest.json").read_text())
    images = make_images(60, size=9)
    write_folder(artifacts / "fetch/files/train", images, [number % 3 for number in range(60)])
    options = DatasetOptions(
        Preprocessing(3, 9), (0.5,) * 3, (0.5,) * 3, calibration_fraction=0.2, score_fraction=0.2, test_fraction=0.2
    )
    make_dataset(artifacts / "fetch", options, {"train": "folder"})
    labels = [2] * len_of(artifacts)
    columns = {"label": labels, "dense": [2, 2, 0, *labels[3:]], "pruned": [1, 2, 2, *labels[3:]]}
    pq.write_table(pa.table(columns), artifacts / "finetune/answers.parquet")
    text = text_of(artifacts)
    shown = re.findall(r'<img src="data:image/png;base64,([^"]+)" alt="cat">', text)
    assert len(shown) == 2
    for title, caption in (("Right before, wrong after", "pruned: bee"), ("Wrong before, right after", "dense: ant")):
        section = text.split(title)[1].split("<h3>")[0]
        assert caption in section
    with Image.open(io.BytesIO(base64.b64decode(shown[0]))) as picture:
        assert any(np.array_equal(np.asarray(picture), image) for image in images)
    (artifacts / "fetch/manifest.json").write_text(json.dumps(manifest | {"classes": ["ant", "bee", "cat"]}))
    assert "The images themselves are not at hand" in text_of(artifacts)


def len_of(artifacts: Path) -> int:
    """Images of the test split."""
    return read_results(artifacts).split_images["test"]


def test_accuracies_that_do_not_compare_are_not_drawn_together(artifacts: Path) -> None:
    Comparability(False, "the checkpoint may have seen the test images").write(artifacts / "baseline")
    change(artifacts / "fetch/manifest.json", {"classes": ["ant", "bee", "cat"]})
    answer(artifacts, dense=DENSE, pruned=PRUNED)
    text = text_of(artifacts)
    assert "Answers of the two networks do not compare here" in text
    assert "The dense network is not drawn" in text
    assert "points against" not in text
    assert {mark.shape for mark in trade_offs(read_results(artifacts))[0].marks} == {"pruned"}


def test_pixels_have_classes_and_no_confusion_matrix(artifacts: Path) -> None:
    change(artifacts / "fetch/manifest.json", {"task": "segmentation", "classes": ["sky", EVIL]})
    for stage, value in (("baseline", 0.7), ("finetune", 0.6)):
        change(artifacts / stage / "metrics.json", {"test_mean_iou": value})
    change(artifacts / "finetune/metrics.json", {"test_difference": -0.1, "test_difference_error": 0.02})
    overlaps = {"dense": [[[8, 4], [9, 3]], [[10, 6], [10, 6]]], "pruned": [[[5, 4], [9, 3]], [[10, 8], [10, 6]]]}
    columns = {
        f"{network}_{part}": rows
        for network, both in overlaps.items()
        for part, rows in zip(("intersection", "union"), both, strict=True)
    }
    pq.write_table(pa.table(columns), artifacts / "finetune/answers.parquet")
    text = text_of(artifacts)
    (evil, sky) = sorted(class_changes(read_results(artifacts)), key=lambda row: row.name)
    assert (sky.dense, sky.pruned) == (17 / 20, 14 / 20)
    assert (evil.dense, evil.pruned) == (7 / 12, 7 / 14)
    for words in ("test mean IoU", "Intersection over union", "No confusion matrix", "The images themselves are not"):
        assert words in text


def test_each_number_of_a_race_has_a_meaning() -> None:
    scene = make_scene(candidates=3)
    rungs = [Rung(images=60, keep=2), Rung(images=60, steps=1)]
    table = scene.score(rungs=rungs, training=(scene.scoring, scene.labels))
    row = dict.fromkeys(("candidate", "score", "accuracy", "rung", "rank", "lead", "lead_error", "lead_images"))
    numbers = table.diagnostics | {"uniform": row, "binding": "macs"}
    dotted = {
        f"{name}.{part}" if part else name
        for name, value in numbers.items()
        for part in (value if isinstance(value, dict) else [""])
    }
    assert dotted == set(MEANINGS) == set(WORDS)
    assert len(set(WORDS.values())) == len(WORDS)


def test_the_legend_says_how_far_candidates_came_and_the_table_names_numbers_in_words(artifacts: Path) -> None:
    change(artifacts / "score/diagnostics.json", {"rank_stability": [0.6], "warnings": []})
    text = text_of(artifacts)
    assert "15 candidates out after rung 1, judged on 256 images" in text
    assert "5 candidates in the last rung, judged on 1,024 images" in text
    assert "<th>change</th><th>uniform widths</th>" not in text
    assert '<th title="rank_stability">agreement between rungs</th><td>0.6</td>' in text


def test_a_network_that_was_not_trained_is_told_so(artifacts: Path) -> None:
    change(artifacts / "finetune/metrics.json", {"epochs": 0, "steps": 0})
    (artifacts / "finetune/history.csv").unlink()
    text = text_of(artifacts)
    assert "The pruned network was not trained." in text
    assert "after fine-tuning" not in text
