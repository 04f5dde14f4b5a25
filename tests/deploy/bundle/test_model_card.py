import re
from dataclasses import replace

import pytest

from eyas.deploy.bundle.model_card import FILES, LISTED, CardFacts, model_card, public, share
from eyas.pruning.cost import Cost
from eyas.pruning.plan import PruningPlan
from tests.support.colour_bundle import Made

FACTS = CardFacts(
    architecture="my_package.networks:resnet",
    costs=(Cost(1000, 400, 80), Cost(500, 200, 60)),
    plan=PruningPlan(space="s", channels={"conv1": 8}, kept={"conv1": (0, 3, 5)}),
    files={"dense.onnx": {"accuracy": 0.9, "images": 30, "bytes": 4000}} | {
        "model.onnx": {"accuracy": 0.8, "images": 30, "bytes": 2000}
    },
    right=[(9, 10), (10, 10), (5, 10)],
    replayed="Held against PyTorch.",
    licence="CC0-1.0",
    caution="",
    version="0.1",
)  # fmt: skip


def test_card_says_how_good_it_is_and_on_what(made: Made) -> None:
    text = model_card(FACTS, made.dataset.manifest, tuple(FILES))
    assert text.startswith("# resnet, pruned to 50.0% of its multiply-adds\n")
    for told in (
        *("| `model.onnx` | 80.00% +- 7.30% | 2,000 |", "| blue | 90.0% | 10 |", "| red | 50.0% | 10 |"),
        *("| `conv1` | 8 | 3 |", "| macs | 1,000 | 500 |", "On 30 test images", "CC0-1.0", "Held against PyTorch."),
        *("Source: train: colours.", made.dataset.digest, "| test | 30 |", "16 x 16 RGB"),
    ):
        assert told in text, told
    assert "/home/someone" not in text
    assert "Not comparable" not in text


def test_accuracies_that_do_not_compare_say_so(made: Made) -> None:
    text = model_card(replace(FACTS, caution="the checkpoint has seen them"), made.dataset.manifest, tuple(FILES))
    assert "Not comparable: the checkpoint has seen them" in text


def test_only_files_that_are_there_are_told_of(made: Made) -> None:
    present = {"model.onnx", "labels.json", "golden", "classifier.py"}
    text = model_card(FACTS, made.dataset.manifest, present)
    files = text.partition("## Files")[2].partition("## Licence")[0]
    assert re.findall(r"^\| `(.+?)`", files, re.MULTILINE) == ["model.onnx", "labels.json", "golden/", "manifest.json"]
    assert "dense.onnx" not in text
    assert "| the network before pruning | 90.00% +- 5.48% | 4,000 |" in text


def test_of_many_classes_the_worst_are_listed(made: Made) -> None:
    names = tuple(f"class {number}" for number in range(LISTED + 50))
    data = made.dataset.manifest.model_copy(update={"classes": names})
    right = [(number % 7, 7) for number in range(len(names))]
    text = model_card(replace(FACTS, right=right), data, ())
    rows = [line for line in text.splitlines() if line.startswith("| class ") and "%" in line]
    assert len(rows) == LISTED
    assert "| class 0 | 0.0% | 7 |" in rows
    assert "| class 6 | 85.7% | 7 |" not in rows


def test_of_pixels_it_tells_mean_iou_and_the_overlap_of_each_class(made: Made) -> None:
    files = {"model.onnx": {"accuracy": 0.9, "mean_iou": 0.75, "images": 30, "bytes": 2000}}
    text = model_card(
        replace(FACTS, files=files, right=[(900, 1000), (0, 0), (60, 100)]), made.dataset.manifest, tuple(FILES)
    )
    for told in (
        *(
            "classes each pixel of an image shows",
            "## Mean IoU",
            "On 30 test images:",
            "| `model.onnx` | 75.00% | 2,000 |",
        ),
        *("| class | IoU | pixels labelled or answered |", "| blue | 90.0% | 1000 |", "| green | - | 0 |"),
        *("masks/cat.png.png", "logits `(N, K, H, W)`", "masks that PyTorch gives", "whatever a pixel shows"),
    ):
        assert told in text, told
    assert "standard error" not in text
    assert "not known" not in text


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("builtin:digits", "builtin:digits"),
        ("s3://bucket/set", "s3://bucket/set"),
        ("/home/me/pets", "pets"),
        ("../pets.zip", "pets.zip"),
    ],
)
def test_addresses_are_shown_without_folders_of_this_machine(address: str, shown: str) -> None:
    assert public(address) == shown


def test_a_share_has_its_standard_error() -> None:
    assert share(0.5, 100) == "50.00% +- 5.00%"
