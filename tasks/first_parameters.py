"""A parameter file to start from, with a comment at each line that says why it is so."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from eyas.networks.architectures import Architecture
from eyas.operations.few_images import Setting
from tasks.images_look import ImagesLook
from tasks.network_look import Normalisation

COMMENT_COLUMN = 44
TESTS = {
    "from_train": "the checkpoint may have seen what is set aside of train: no accuracy compares",
    "included": "the test set that train brings",
}


@dataclass(frozen=True)
class FirstParameters:
    """What a person chose, or what was made of a look at images and network."""

    images: ImagesLook
    architecture: Architecture
    image_size: int
    normalisation: Normalisation
    budget: Mapping[str, float]
    model: str
    """Name in the registry."""
    test: str | None = None
    checkpoint: str | None = None
    unseen: bool = False
    """The checkpoint has seen no image of train."""
    latency_profile: str | None = None
    few: Sequence[Setting] = ()
    """What is worth setting because there are few images."""
    comments: Mapping[str, str] = field(default_factory=dict)
    """By field: why it is so."""

    def text(self, name: str) -> str:
        """The file's content."""
        head = f"# Written by eyas init. To run it: eyas run --params {name}. Every field: docs/reference.md"
        return "\n".join([head, *self._lines()]) + "\n"

    def _lines(self) -> Iterator[str]:
        yield "fetch:"
        yield self._line("train", self.images.address, self.images.line())
        if self.test:
            yield self._line("test", self.test, TESTS.get(self.test, "images that the checkpoint has not seen"))
        yield self._line("image_size", self.image_size, "height and width that the network sees")
        yield self._line("mean", list(self.normalisation.mean), self.normalisation.name)
        yield self._line("std", list(self.normalisation.std))
        yield from self._settings("fetch")
        yield "baseline:"
        yield self._line("architecture", self.architecture.factory)
        if self.architecture.arguments:
            yield self._line("arguments", self.architecture.arguments)
        if self.checkpoint:
            yield self._line("checkpoint", self.checkpoint)
        else:
            yield "  # checkpoint: weights.pt   (without one the network is trained here)"
        if self.unseen:
            yield self._line("seen_by_checkpoint", False, "so the test images are set aside of train")
        yield "sample:"
        yield self._line("budget", dict(self.budget), "shares of the dense network's; above 1 absolute")
        if self.latency_profile:
            yield self._line("latency_profile", self.latency_profile)
        yield "  # round_to: 1              (any width; without it multiples of 8 or 4, which runtimes compute faster)"
        if any(one.section == "score" for one in self.few):
            yield "score:"
            yield from self._settings("score")
        yield "# finetune: {epochs: 30}     (epochs and batch size go by the number of images where they are left out)"
        yield "register:"
        yield self._line("model", self.model, "its name in the model registry")

    def _settings(self, section: str) -> Iterator[str]:
        for one in self.few:
            if one.section == section:
                yield self._line(one.field, yaml.safe_load(one.value), one.why)

    def _line(self, name: str, value: Any, why: str = "") -> str:
        dumped = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=10_000, allow_unicode=True)
        written = f"{name}: " + dumped.removesuffix("...\n").strip()
        why = self.comments.get(name, why)
        return f"  {written:{COMMENT_COLUMN}} # {why}" if why else f"  {written}"
