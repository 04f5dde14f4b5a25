"""Images that an adaptation is judged by: by chance, whatever they are called, and none that was followed."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from eyas.adaptation.paired_betting import compare_paired
from eyas.config import AdaptParams
from tasks import adaptation_case
from tasks.adaptation_case import Case
from tasks.field_copies import drawn_order
from tasks.field_images import FieldImages


def numbered(count: int) -> Tensor:
    """Images that tell their number by two pixels, ``(N, 1, 1, 2)``."""
    numbers = torch.arange(count)
    return torch.stack([numbers // 256, numbers % 256], 1).byte().view(count, 1, 1, 2)


def case_of(digests: list[str], labels: Tensor | None = None, seed: int = 0) -> Case:
    field = FieldImages(numbered(len(digests)), tuple(digests), labels)
    workspace: Any = SimpleNamespace(params=SimpleNamespace(adapt=AdaptParams(seed=seed)))
    dataset: Any = SimpleNamespace(normalise=lambda pixels: pixels, task_of=lambda _: SimpleNamespace(labelled=False))
    store: Any = None
    return Case(workspace, store, dataset, field, Path())


def numbers_of(images: Tensor) -> set[int]:
    return {int(high) * 256 + int(low) for high, low in images.flatten(1)}


@pytest.mark.parametrize("count", [256, 257, 400])
def test_what_is_judged_is_never_followed_and_both_are_all(count: int) -> None:
    case = case_of([f"image {number}" for number in range(count)])
    judged, followed = set(case.judged), numbers_of(case.followed)
    assert len(judged) == (count + 3) // 4, "a fourth"
    assert judged.isdisjoint(followed)
    assert judged | followed == set(range(count))


@pytest.mark.parametrize("period", [2, 4, 8, 10])
def test_images_of_all_kinds_of_a_periodic_stream_are_judged(period: int) -> None:
    case = case_of([f"image {number}" for number in range(400)])
    for positions in (case.judged, numbers_of(case.followed)):
        assert {position % period for position in positions} == set(range(period))


def test_the_same_images_are_held_out_in_whatever_order_they_come() -> None:
    digests = [f"image {number}" for number in range(300)]
    turned = digests[100:] + digests[:100]
    held_out = [{one.field.sha256[at] for at in one.held_out} for one in map(case_of, (digests, turned))]
    assert held_out[0] == held_out[1]
    assert {digests[at] for at in case_of(digests, seed=1).held_out} != held_out[0]
    assert sorted(drawn_order(digests, 0)) == list(range(300))


def test_of_few_images_or_labelled_ones_all_are_judged_and_followed() -> None:
    for case in (case_of([str(at) for at in range(255)]), case_of([str(at) for at in range(300)], torch.zeros(300))):
        assert (case.held_out, case.judged) == ([], case.everything)
        assert numbers_of(case.followed) == set(case.everything)


def test_labels_of_folders_class_by_class_come_in_a_drawn_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network that wins the first class and loses all others is worse, though it wins the first ten labels."""
    labels = torch.arange(100) // 10
    handed: dict[str, Any] = {}

    def keep(_: nn.Module, __: nn.Module, images: Tensor, ___: None, labels: Tensor, **____: object) -> None:
        handed.update(images=images, labels=labels)

    monkeypatch.setattr(adaptation_case, "judge", keep)
    case = case_of([f"image {number}" for number in range(100)], labels)
    case.verdict(nn.Identity(), nn.Identity(), case.judged)
    assert handed["labels"].tolist() != labels.tolist()
    numbers = handed["images"].flatten(1)[:, 1].long()
    assert sorted(numbers.tolist()) == list(range(100))
    assert torch.equal(handed["labels"], labels[numbers]), "each image keeps its label"
    assert compare_paired(labels != 0, labels == 0).finding == "better"
    assert compare_paired(handed["labels"] != 0, handed["labels"] == 0).finding == "worse"
