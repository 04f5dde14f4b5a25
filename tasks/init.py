"""``eyas init``: from images, a checkpoint and a budget to a parameter file that ``eyas run --check`` accepts."""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import models
from eyas.config import FetchParams, expand
from eyas.data.comparability import INCLUDED, WORDS
from eyas.data.partitions import left_out_untold
from eyas.data.sources import BUILTIN
from eyas.errors import BadInputError, DataError, EyasError
from eyas.networks.architectures import Architecture
from eyas.operations.few_images import Setting, enough_to_compare, settings_for_few, too_few_to_compare
from eyas.storage.addresses import parse
from tasks.defined_networks import python_path
from tasks.fetch import FIELDS
from tasks.first_parameters import FirstParameters
from tasks.fitting_architecture import require_known, spelt_out
from tasks.given_places import naming_places
from tasks.images_look import ImagesLook, look_at_images, read_images
from tasks.init_answers import Ask, InitAnswers, ask_for_test, budget_limits, image_side
from tasks.init_places import new_file
from tasks.network_look import (
    KNOWN,
    Normalisation,
    Reading,
    Weights,
    best_reading,
    build,
    describe,
    own_normalisation,
    read_weights,
)
from tasks.preflight import look_closely
from tasks.stage import name_fields

Value = TypeVar("Value")
SMALL = 64
"""Images up to this side get a network that is made for small ones."""


class Init:
    """One dialogue.

    Args:
        root: the checkout.
        start: the folder that the person stands in; relative paths start there.
        answers: what was said already.
        ask: asks for the rest; None where there is nobody, and what is needed must be among ``answers``.
        say: tells what was seen, a line at a time.
    """

    def __init__(
        self, root: Path, start: Path, answers: InitAnswers, ask: Ask | None, say: Callable[[str], None]
    ) -> None:
        self.root, self.start, self.answers, self.ask, self.say = root, start, answers, ask, say

    def write(self) -> Path:
        """Look, ask, write and check; returns the file.

        Raises:
            BadInputError: an answer is missing or wrong; nothing is written.
        """
        out = self._answer("out", "Write the parameters to", self._new_file, "mine.yaml")
        if self.answers.budget:  # what is wrong with it is told before the images are read
            self._profile(self._answer("budget", "", budget_limits))
        images = self._answer("images", "Images to train on (a folder, file or address)", self._images)
        self.say(f"images    {images.line()}")
        self._tell_left_out(images)
        weights = self._answer("checkpoint", "Weights of the trained network (empty: train it here)", self._weights, "")
        architectures, why = self._architectures(images, weights)
        test, unseen = self._test(images, weights)
        parameters = self._look_at_network(images, weights, architectures, why, model=_model_name(out))
        limits = self._answer("budget", "Budget, such as macs=0.5 or params=200000", budget_limits, "macs=0.5")
        few = self._settings_for_few(images)
        content = FirstParameters(
            **parameters, budget=limits, test=test, unseen=unseen, latency_profile=self._profile(limits), few=few
        ).text(self._relative(out))
        self._write(out, content)
        return out

    def _answer(self, name: str, question: str, check: Callable[[Any], Value], default: str | None = None) -> Value:
        option = getattr(self.answers, name)
        if option:
            try:
                return check(option)
            except EyasError as error:
                msg = f"--{name.replace('_', '-')}: {error}"
                raise BadInputError(msg) from error
        if self.ask is not None:
            return self.ask(question, check, default)
        if default is None:
            msg = f"--{name} is needed where nobody can be asked: {question[0].lower()}{question[1:]}"
            raise BadInputError(msg)
        return check(default)

    def _new_file(self, text: str) -> Path:
        return new_file(self.start, text, force=self.answers.force)

    def _images(self, text: str) -> ImagesLook:
        try:
            with naming_places({"train": text}):
                return look_at_images(self._address(text), self.root)
        except DataError as error:
            raise DataError(name_fields(str(error), FIELDS)) from error

    def _weights(self, text: str) -> tuple[str, Weights | None] | None:
        if not text:
            return None
        address = self._address(text)
        if not _is_local(address):
            return address, None
        return address, read_weights((self.root / expand(address)).resolve())

    def _address(self, text: str) -> str:
        """As ``params.yaml`` has it: a path from the checkout where it lies inside, else a whole one."""
        if not _is_local(text) or text.startswith("$"):
            return text
        return self._relative((self.start / Path(text).expanduser()).resolve())

    def _relative(self, path: Path) -> str:
        root = self.root.resolve()
        return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)

    def _architectures(
        self, images: ImagesLook, weights: tuple[str, Weights | None] | None
    ) -> tuple[list[Architecture], str]:
        """What the network may be, and how that is known."""
        look, arguments = (weights[1] if weights else None), self.answers.arguments

        def check(name: str) -> list[Architecture]:
            require_known(name, [*([look.path.parent] if look else []), self.start, *python_path()])
            own = {"in_channels": look.channels} if look and look.channels != 3 and name in models.names() else {}
            chosen = spelt_out(name, {**own, **arguments})
            build(chosen, self._classes(images, look), look.path if look else None, images.classes)
            return [chosen]

        if not self.answers.architecture and look and look.fitting:
            names = ", ".join(one.factory for one in look.fitting)
            self.say(f"network   the weights fit {names} exactly, {look.num_classes} classes")
            self._classes(images, look)
            return [*look.fitting], "fits the checkpoint exactly, tensor by tensor"
        question = "Architecture (a name in models/, package.module:factory, torchvision/NAME, timm/NAME)"
        if weights:
            if look and not self.answers.architecture:
                self.say(
                    "network   no network of models/ fits the weights: name the class or function that builds theirs"
                )
                question = "Architecture, such as my_net:MyNet for class MyNet of my_net.py"
            return self._answer("architecture", question, check), ""
        small = images.is_here and images.image_size <= SMALL
        return self._answer("architecture", question, check, "resnet20" if small else "resnet18"), ""

    def _classes(self, images: ImagesLook, look: Weights | None) -> int:
        """How many classes; the checkpoint and the images must say the same."""
        here = len(images.classes)
        if look and images.is_here and look.fitting and look.num_classes != here:
            msg = (
                f"--checkpoint: {look.path.name} tells {look.num_classes} classes apart, the images have {here} "
                f"({', '.join(images.classes[:5])}{', ...' if here > 5 else ''}): give the images it was trained for"
            )
            raise BadInputError(msg)
        return here or (look.num_classes if look else 10)

    def _test(self, images: ImagesLook, weights: object) -> tuple[str | None, bool]:
        """Where the test images come from, and whether the checkpoint has seen none of train."""
        test = self.answers.test
        if test:
            address = test if test in WORDS else self._address(test)
            if test not in WORDS and _is_local(address):
                self._tell_left_out(self._answer("test", "", self._images))
            return address, self.answers.unseen
        if images.brings_test:
            return INCLUDED, self.answers.unseen
        if weights is None or self.answers.unseen:
            return None, self.answers.unseen and weights is not None
        if self.ask is None:
            msg = (
                "--test: the weights may have seen all of --images, so nothing is left to compare by: give --test "
                "IMAGES that they have not seen, --unseen if they have seen none, or --test from_train to go on"
            )
            raise BadInputError(msg)
        return ask_for_test(self.ask, self.say, lambda text: self._images(text).address)

    def _tell_left_out(self, images: ImagesLook) -> None:
        if images.left_out:
            self.say(f"{'':9} {images.left_out}")

    def _look_at_network(
        self,
        images: ImagesLook,
        weights: tuple[str, Weights | None] | None,
        architectures: Sequence[Architecture],
        why: str,
        *,
        model: str,
    ) -> dict[str, Any]:
        """Architecture and how it reads images, by trying what can be tried here."""
        look = weights[1] if weights else None
        size = self._side(images)
        channels = look.channels if look else 1 if images.grey else 3
        classes, comments = self._classes(images, look), {"architecture": why} if why else {}
        architecture, way = architectures[0], next(one for one in KNOWN if len(one.mean) == channels)
        if images.is_here and look:
            pixels = read_images(images.address, self.root, size, channels)
            reading = best_reading(architectures, classes, look.path, pixels)
            architecture, way = reading.architecture, reading.normalisation
            close = f"; {reading.next_best} is too close to tell: see the training code" if reading.is_close else ""
            comments["mean"] = f"{way.name}: the best of {reading.tried} that were tried"
            comments["std"] = reading.right + close
            self._tell_reading(reading, size, classes)
        elif images.is_here:
            own = own_normalisation(read_images(images.address, self.root, size, channels))
            way = Normalisation(own.name, own.mean, own.std)
        elif look:
            comments["mean"] = f"{way.name}; must be what the weights were trained with"
        if not architecture.arguments.get("in_channels") and channels != 3 and ":" not in architecture.factory:
            architecture = Architecture(architecture.factory, {**architecture.arguments, "in_channels": channels})
        network = build(architecture, classes, look.path if look else None)
        pruned = describe(architecture, network, (channels, size, size), classes)
        self.say(f"network   {architecture.factory}: {pruned}")
        comments.setdefault("architecture", pruned)
        return {
            "images": images, "architecture": architecture, "image_size": size, "normalisation": way, "model": model,
            "checkpoint": weights[0] if weights else None, "comments": comments,
        }  # fmt: skip

    def _tell_reading(self, reading: Reading, size: int, classes: int) -> None:
        chosen = f"mean and std {reading.normalisation.name}, the best of {reading.tried}"
        second = f"{reading.next_best} {100 * reading.next_accuracy:.1f} %, {reading.margin:.1f} points behind"
        self.say(f"reading   {size} x {size}, {chosen}: {reading.right}; then {second}")
        if reading.is_close:
            advice = "take mean and std from the code that trained the weights"
            self.say(f"caution   {reading.images} images do not tell the two apart: {advice}")
        if reading.accuracy < 2 / classes:
            self.say("caution   that is little: is --image-size another, or the order of classes, than in training?")

    def _side(self, images: ImagesLook) -> int:
        """Of the images that the network sees; asked where those that are here are not of one size."""
        if images.one_size and not self.answers.image_size:
            return images.image_size
        question = "Side of the images that the network sees"
        return self._answer("image_size", question, image_side, str(images.image_size))

    def _settings_for_few(self, images: ImagesLook) -> list[Setting]:
        """What the file sets because there are few images; said, too."""
        if not images.is_here:
            return []
        fetch = FetchParams()
        shares = {"calibration_fraction": fetch.calibration_fraction, "score_fraction": fetch.score_fraction}
        count = sum(images.counts)
        wider = enough_to_compare(count, fetch.score_fraction)
        if wider is not None:
            shares["score_fraction"] = float(wider.value)
        few = settings_for_few(count, **shares, scorer=None) + ([wider] if wider else [])
        lines = [f"{one.section}.{one.field}: {one.value}, for {one.why}" for one in few]
        lines += filter(None, [too_few_to_compare(count, shares["score_fraction"])])
        if few:
            lines.append("about, because each image's own hash says which split it is in: fetch tells how many")
        for number, line in enumerate(lines):
            self.say(f"{'' if number else 'few':9} {line}")
        return few

    def _profile(self, limits: Mapping[str, float]) -> str | None:
        profile = self.answers.latency_profile
        if not profile and any(name.startswith("latency") for name in limits):
            msg = (
                "--budget in milliseconds needs --latency-profile FILE: times of the layers on the device, which "
                "`eyas profile --out device.json` measures"
            )
            raise BadInputError(msg)
        return self._address(profile) if profile else None

    def _write(self, out: Path, content: str) -> None:
        """Leave the file only if a run would start with it."""
        before = out.read_bytes() if out.exists() else None
        out.write_text(content)
        with left_out_untold():  # told already
            faults = look_closely(self.root, out, ()).faults
        if not faults:
            return
        if before is None:
            out.unlink()
        else:
            out.write_bytes(before)
        msg = "\n".join([f"{out.name} was not written, for a run would stop:", *(f"  {fault}" for fault in faults)])
        raise BadInputError(msg)


def _is_local(address: str) -> bool:
    return not address.startswith((BUILTIN, "models:/")) and parse(address).scheme == "file"


def _model_name(out: Path) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", out.stem).strip("-.") or "mine"
