"""Whether a name says that it holds training, validation or test data, as people write it."""

import re
from pathlib import PurePosixPath
from typing import Literal, NamedTuple

Use = Literal["train", "validation", "test"]
_SPELLINGS: dict[Use, list[str]] = {
    "train": ["train", "training", "trn", "trainset", "trainingset", "traindata", "trainval"],
    "validation": ["val", "valid", "validation", "validate", "vali", "valset", "dev", "eval", "evaluation"],
    "test": ["test", "testing", "tst", "testset", "testdata", "holdout"],
}
_WORDS: dict[str, Use] = {word: use for use, words in _SPELLINGS.items() for word in words}
_NEUTRAL = frozenset({"set", "sets", "data", "dataset", "image", "images", "img", "imgs", "split", "part", "folder"})
_MNIST_TEST = "t10k"


class PartName(NamedTuple):
    """What a name says of the part of a data set it holds."""

    use: Use
    rest: tuple[str, ...]
    """Its other words, without numbers and without those that say nothing (``images``, ``set``)."""


def read_part_name(name: str) -> PartName | None:
    """The part that a name tells (``Training``, ``val2017``, ``test_images``); None where it tells none, or two."""
    words = re.findall(r"[^\W\d_]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).casefold())
    uses = {_WORDS[word] for word in words if word in _WORDS}
    if uses == {"train", "validation"}:  # train_val: what the test set is not
        uses = {"train"}
    if len(uses) != 1:
        return None
    return PartName(uses.pop(), tuple(word for word in words if word not in _WORDS and word not in _NEUTRAL))


def use_of_file(file: str) -> Use:
    """The part that a table or a batch belongs to: by its own name, else by that of the nearest folder above it."""
    path = PurePosixPath(file)
    if path.name.startswith(_MNIST_TEST):
        return "test"
    for name in (path.name.split(".", 1)[0], *reversed(path.parts[:-1])):
        part = read_part_name(name)
        if part is not None:
            return part.use
    return "train"
