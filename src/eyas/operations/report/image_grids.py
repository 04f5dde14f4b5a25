"""Test images that only one of two networks is right on, as small pictures inside the page."""

import base64
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from eyas.data import open_dataset
from eyas.errors import BadInputError
from eyas.operations.report.result_table import percent
from eyas.operations.report.results import Results
from eyas.training.recorded_answers import RecordedAnswers

MOST_IMAGES = 16
"""Per grid."""
LARGEST_SIDE = 96
"""Pixels of a picture; larger images are made smaller."""
_SURE = 1e-9
Indices = NDArray[np.int64]


@dataclass(frozen=True)
class ShownImage:
    """A picture and what was said of it."""

    uri: str
    label: str
    """Its true class; empty where each pixel has one, or none is known."""
    dense: str
    pruned: str


@dataclass(frozen=True)
class ImageGrid:
    """Some of the images that share a fate."""

    title: str
    total: int
    images: tuple[ShownImage, ...]


@dataclass(frozen=True)
class _Fate:
    title: str
    indices: Indices


def image_grids(results: Results, artifacts: Path) -> list[ImageGrid] | str:
    """Images that the dense network alone is right on, the pruned one alone, and neither; or why there are none."""
    if not results.comparability.comparable:
        return f"Answers of the two networks do not compare here: {results.comparability.reason}."
    if results.answers is None:
        return "Answers to single images were not kept: run finetune again."
    fates, captions = (_by_overlap if results.answers.overlaps else _by_answer)(results.answers, results)
    wanted = sorted({int(index) for fate in fates for index in fate.indices[:MOST_IMAGES]})
    try:
        pictures = _pictures(artifacts, wanted)
    except BadInputError as error:
        return f"The images themselves are not at hand: {error}"
    return [
        ImageGrid(
            fate.title,
            len(fate.indices),
            tuple(ShownImage(pictures[int(index)], *captions(int(index))) for index in fate.indices[:MOST_IMAGES]),
        )
        for fate in fates
    ]


Captions = Callable[[int], tuple[str, str, str]]


def _by_answer(answers: RecordedAnswers, results: Results) -> tuple[list[_Fate], Captions]:
    """A class per image: right or wrong; in the order of the split, which is random."""
    names, labels_N = results.manifest["classes"], answers.labels
    dense_N, pruned_N = answers.answers["dense"], answers.answers["pruned"]
    if not results.test_task.labelled:  # which are those that labels would be worth most of
        fate = _Fate("Answered otherwise after pruning", np.flatnonzero(dense_N != pruned_N))
        return [fate], lambda index: ("", names[dense_N[index]], names[pruned_N[index]])
    dense, pruned = dense_N == labels_N, pruned_N == labels_N
    fates = [
        _Fate("Right before, wrong after pruning", np.flatnonzero(dense & ~pruned)),
        _Fate("Wrong before, right after pruning", np.flatnonzero(~dense & pruned)),
        _Fate("Wrong before and after", np.flatnonzero(~dense & ~pruned)),
    ]
    return fates, lambda index: (names[labels_N[index]], names[dense_N[index]], names[pruned_N[index]])


def _by_overlap(answers: RecordedAnswers, results: Results) -> tuple[list[_Fate], Captions]:
    """A class per pixel: no image is right or wrong as a whole, so those that lost or gained most."""
    del results
    dense_N, pruned_N = (_image_iou(answers.overlaps[network]) for network in ("dense", "pruned"))
    change_N = pruned_N - dense_N
    order = np.argsort(change_N, kind="stable")
    fates = [
        _Fate("Mean IoU of the image fell most", order[change_N[order] < -_SURE]),
        _Fate("Mean IoU of the image rose most", order[change_N[order] > _SURE][::-1]),
    ]
    return fates, lambda index: ("", percent(dense_N[index]), percent(pruned_N[index]))


def _image_iou(overlap_2NK: Indices) -> NDArray[np.float64]:
    """Mean intersection over union of each image's own classes, ``(N,)``."""
    intersection_NK, union_NK = overlap_2NK.astype(np.float64)
    there_NK = union_NK > 0
    iou_NK = np.divide(intersection_NK, union_NK, out=np.zeros_like(union_NK), where=there_NK)
    mean_N: NDArray[np.float64] = iou_NK.sum(1) / np.maximum(there_NK.sum(1), 1)
    return mean_N


def _pictures(artifacts: Path, indices: Sequence[int]) -> dict[int, str]:
    """Data URIs by an image's place in the test split.

    Raises:
        BadInputError: the images are not here, or changed.
    """
    if not indices:
        return {}
    images_NCHW = open_dataset(artifacts / "fetch", hash_limit=0).split("test").images_at(indices)
    return {index: _data_uri(image) for index, image in zip(indices, images_NCHW, strict=True)}


def _data_uri(image_CHW: Tensor) -> str:
    """A small PNG."""
    pixels: Any = image_CHW.permute(1, 2, 0).numpy()
    picture = Image.fromarray(pixels if pixels.shape[2] == 3 else pixels[:, :, 0])
    picture.thumbnail((LARGEST_SIDE, LARGEST_SIDE))
    file = io.BytesIO()
    picture.save(file, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
