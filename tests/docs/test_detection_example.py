"""The detector of docs/detection.md: its code runs as it stands there, and does what the page says."""

import math
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from eyas.errors import ParameterError
from eyas.sampling.search import search
from eyas.scoring.scorers import Scorer

TEXT = (Path(__file__).parents[2] / "docs" / "detection.md").read_text()


@pytest.fixture(scope="module")
def page() -> Iterator[dict]:
    names: dict = {"__name__": "detection"}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for code in re.findall(r"```python\n(.*?)```", TEXT, re.S):
            exec(code, names)
        yield names
    finally:
        torch.set_num_threads(threads)
        Scorer.registry.pop("detection_loss", None)


def loss(page: dict, model: torch.nn.Module) -> float:
    with torch.inference_mode():
        return page["loss"](*model(page["test"]), page["test_targets"]).mean().item()


def test_the_small_detector_is_half_as_large_and_nearly_as_good(page: dict) -> None:
    result = page["result"]
    assert result.cost.macs / page["space"].cost().macs == pytest.approx(0.5, abs=0.02)
    assert {name for frozen in page["space"].frozen for name in frozen.layers} == {"classes", "corners"}
    untrained = loss(page, page["Detector"]().eval())
    assert loss(page, page["small"]) < 0.5 * untrained
    assert loss(page, page["small"]) < 1.5 * loss(page, page["detector"])


def test_candidates_are_ranked_by_the_users_own_number(page: dict) -> None:
    table = page["result"].table
    assert all(map(math.isfinite, table.score))
    assert all(map(math.isnan, table.accuracy))
    best = int(np.argmax(table.score))
    assert table.winner == best
    # the winner's score, made again outside of the race: pruned, recalibrated, judged on the same images
    import eyas

    small = eyas.prune(page["detector"], page["space"], page["result"].plan)
    settings = table.settings
    eyas.recalibrate(small, page["calibration"], batch_size=settings["batch_size"], seed=settings["seed"])
    with torch.inference_mode():
        again = -page["loss"](*small.eval()(page["scoring"]), page["scoring_targets"]).mean().item()
    assert table.score[best] == pytest.approx(again, rel=1e-4)


def test_the_exported_file_answers_with_both_tensors_alike(page: dict) -> None:
    assert set(page["exported"]) == {"logits", "output_1"}
    assert page["difference"] < 1e-3


def test_most_objects_are_detected_where_they_are(page: dict) -> None:
    hits = objects = 0
    for n, target in enumerate(page["test_targets"]):
        for cell in target[0].nonzero().flatten().tolist():
            label, true = int(target[0, cell]), (target[1:, cell] + page["middle"][:, cell]).numpy()
            kept = next(kept for other, kept, _ in page["detections"][n] if other == label)
            hits += any(np.abs(page["boxes"][n, :, at] - true).max() < 3 for at in kept)
            objects += 1
    assert hits > 0.8 * objects


def test_rungs_of_training_steps_are_refused_with_such_a_scorer(page: dict) -> None:
    options = page["SearchOptions"](
        scorer=page["DetectionLoss"](),
        rungs=[{"images": 50}, {"steps": 2, "images": 50}],
        training=(page["images"], page["targets"]),
    )
    arguments = (page["calibration"], page["scoring"], page["scoring_targets"])
    with pytest.raises(ParameterError, match=r"`rungs` train for up to 2 steps by classes, which `scorer`"):
        search(page["detector"], page["space"], {"macs": 0.5}, *arguments, candidates=4, options=options)
