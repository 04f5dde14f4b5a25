"""What images of the field are compared with: made once from images of the training's kind, kept beside the network.

Shapes: M images, C channels, K classes.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from eyas.adaptation.drift.class_balance import confusion_matrix
from eyas.adaptation.drift.distinct_images import DistinctImages
from eyas.adaptation.drift.hyperdimensional_codes import BITS, HyperdimensionalCodes
from eyas.adaptation.drift.labels import whole_labels
from eyas.adaptation.drift.layer_moments import LayerMoments, held_moments, require_moments
from eyas.adaptation.drift.observation import Observation, observe, require_images
from eyas.adaptation.fewest_images import FEWEST_IMAGES, FEWEST_IN_WINDOW
from eyas.errors import DataError, ParameterError
from eyas.networks.named_tensors import state, tensors_sha256
from eyas.storage.digests import json_sha256

_KEY = "eyas.drift_reference"


@dataclass(frozen=True)
class DriftReference:
    """How clean images look and are answered, and what the batch-norm layers hold."""

    image_shape: tuple[int, int, int]
    """(C, H, W)."""
    window: int
    """Images behind each of the distances in ``clean``."""
    numbers: dict[str, NDArray[np.float64]]
    """Per image, ``(M,)``, by name: see :class:`eyas.adaptation.drift.observation.Observation`."""
    predicted: NDArray[np.int64]
    layers: dict[str, LayerMoments]
    """What the batch-norm layers hold, in the order of the network; empty without batch-norm."""
    clean: dict[str, float]
    """By layer, the largest symmetric KL divergence of a window of clean images."""
    counts: NDArray[np.int64]
    """How often each class was predicted."""
    confusion: NDArray[np.int64] | None = None
    """True classes in rows, predicted ones in columns; None without labels."""
    codes: HyperdimensionalCodes | None = None
    """Of the features; None where no linear layer answers, and in files that were written before there were any."""
    network: str = ""
    """sha256 of the network's weights and statistics; empty in files that were written before it was kept."""

    @classmethod
    def of(
        cls,
        model: nn.Module,
        images: Tensor,
        labels: Tensor | None = None,
        *,
        statistics: dict[str, Tensor] | None = None,
        window: int = 128,
        batch_size: int = 256,
        output: int | str | None = None,
    ) -> "DriftReference":
        """Look at clean images; best are some thousand that the network was not trained on.

        Those it was trained on are answered too surely, and every clean image of the field seems strange beside them.

        Args:
            model: the network; it is left as it was.
            images: normalised floats ``(M, C, H, W)``, at least 100 that differ; of copies the first counts.
            labels: ``(M,)``, for estimates of the class balance.
            statistics: what the batch-norm layers held when the network was exported; without them the model's own.
            window: as many images as a window of the field will have.
            batch_size: images per forward pass.
            output: which of several outputs are the logits; without it ``logits``, ``out`` or the first.

        Raises:
            DataError: images, labels or statistics do not fit.
            ParameterError: the window is too small.
        """
        images = require_images(images, FEWEST_IMAGES)
        distinct = DistinctImages.of(images, FEWEST_IMAGES)
        if window < FEWEST_IN_WINDOW:
            msg = f"`window` is {window}: give at least {FEWEST_IN_WINDOW} images"
            raise ParameterError(msg)
        held = held_moments(model, statistics)
        count = len(distinct.positions)
        windows = distinct.images.tensor_split(max(1, count // window))
        seen = [observe(model, part, held, batch_size, output=output) for part in windows]
        clean = {name: max(held[name].symmetric_kl(one.layers[name]) for one in seen) for name in seen[0].layers}
        predicted = torch.cat([one.predicted for one in seen]).numpy()
        counts = torch.stack([one.counts for one in seen]).sum(0).numpy()
        confusion = None
        if labels is not None:
            known = whole_labels(labels, len(images), len(counts))[distinct.positions]
            confusion = confusion_matrix(known.numpy(), predicted, len(counts))
        return cls(
            image_shape=(images.shape[1], images.shape[2], images.shape[3]),
            window=min(window, count),
            numbers={name: values.numpy() for name, values in Observation.merge_numbers(seen).items()},
            predicted=predicted,
            layers={name: held[name] for name in seen[0].layers},
            clean=clean,
            counts=counts,
            confusion=confusion,
            codes=_codes_of(seen, predicted),
            network=tensors_sha256(state(model)),
        )

    def require_network(self, model: nn.Module) -> None:
        """See that it is the network that the reference was made of; an older file says nothing of it.

        Raises:
            DataError: it holds other weights or statistics.
        """
        if self.network and self.network != tensors_sha256(state(model)):
            msg = (
                "`model` holds other weights or statistics than the network of the reference: give the network as it "
                "was then, or make a reference of this one"
            )
            raise DataError(msg)

    def save(self, path: Path | str) -> Path:
        """Write one safetensors file; the same reference gives the same bytes."""
        tensors = {f"numbers.{name}": torch.from_numpy(values) for name, values in self.numbers.items()}
        tensors |= {"predicted": torch.from_numpy(self.predicted), "counts": torch.from_numpy(self.counts)}
        if self.confusion is not None:
            tensors["confusion"] = torch.from_numpy(self.confusion)
        if self.codes is not None:
            codes = self.codes
            tensors |= {
                "codes.centre": torch.from_numpy(codes.centre),
                "codes.predicted": torch.from_numpy(codes.predicted),
            }
            tensors |= {"codes.bundles": torch.from_numpy(np.packbits(codes.bundles, axis=1))}
            tensors |= {"codes.similarities": torch.from_numpy(codes.similarities)}
        for at, layer in enumerate(self.layers.values()):
            tensors |= {f"layers.{at}.mean": layer.mean, f"layers.{at}.var": layer.variance}
        facts = _Facts(
            image_shape=self.image_shape,
            window=self.window,
            numbers=tuple(self.numbers),
            layers=tuple((name, layer.eps, self.clean[name]) for name, layer in self.layers.items()),
            network=self.network,
        )
        path, whole = Path(path), {name: tensor.contiguous() for name, tensor in tensors.items()}
        path.write_bytes(save(whole, {_KEY: facts.sealed(whole).model_dump_json()}))
        return path

    @classmethod
    def load(cls, path: Path | str) -> "DriftReference":
        """Read what :meth:`save` wrote.

        Raises:
            DataError: there is no such file, it is damaged, or no images could have made what it says.
        """
        try:
            with safe_open(path, "pt") as file:
                facts = _Facts.model_validate_json((file.metadata() or {})[_KEY])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            reference = cls._of_file(facts, tensors)
        except (OSError, SafetensorError, KeyError, ValueError, TypeError) as error:
            reason = str(error) if isinstance(error, DataError) else f"{type(error).__name__}: {error}"
            msg = f"{path} is no drift reference ({reason}): make it again with DriftReference.of and save"
            raise DataError(msg) from error
        return reference

    @classmethod
    def _of_file(cls, facts: "_Facts", tensors: dict[str, Tensor]) -> "DriftReference":
        for name, tensor in tensors.items():
            if tensor.is_floating_point() and not bool(tensor.double().isfinite().all()):
                msg = f"{name} holds values that are not finite"
                raise DataError(msg)
        if facts.sha256 and facts != facts.sealed(tensors):
            raise DataError("it is not what was written: its sha256 is another")
        layers = {}
        for at, (name, eps, _) in enumerate(facts.layers):
            layers[name] = LayerMoments(tensors[f"layers.{at}.mean"], tensors[f"layers.{at}.var"], eps)
            require_moments(name, layers[name])
        numbers = {name: tensors[f"numbers.{name}"].numpy() for name in facts.numbers}
        predicted, counts = tensors["predicted"].numpy(), tensors["counts"].numpy()
        if any(values.shape != predicted.shape or not np.isfinite(values).all() for values in numbers.values()):
            raise DataError("numbers are missing or not finite")
        classes = len(counts)
        if predicted.max() >= classes or not np.array_equal(np.bincount(predicted, minlength=classes), counts):
            raise DataError("predictions and their counts do not agree")
        return cls(
            image_shape=facts.image_shape,
            window=facts.window,
            numbers=numbers,
            predicted=predicted,
            layers=layers,
            clean={name: distance for name, _, distance in facts.layers},
            counts=counts,
            confusion=tensors["confusion"].numpy() if "confusion" in tensors else None,
            codes=_codes_in(tensors) if "codes.bundles" in tensors else None,
            network=facts.network,
        )


def _codes_of(seen: list[Observation], predicted_M: NDArray[np.int64]) -> HyperdimensionalCodes | None:
    features = [one.features for one in seen if one.features is not None]
    return HyperdimensionalCodes.of(torch.cat(features).numpy(), predicted_M) if features else None


def _codes_in(tensors: dict[str, Tensor]) -> HyperdimensionalCodes:
    """The codes in a file.

    Raises:
        DataError: no features could have made them.
    """
    own = {name: tensors[f"codes.{name}"].numpy() for name in ("centre", "bundles", "similarities", "predicted")}
    bundles, similarities = np.unpackbits(own.pop("bundles"), axis=1).astype(bool), own["similarities"]
    shares = np.isfinite(similarities).all() and similarities.min() >= 0 and similarities.max() <= 1
    if not shares or similarities.shape != own["predicted"].shape or bundles.shape[1] != BITS:
        raise DataError("codes of features are none")
    return HyperdimensionalCodes(bundles=bundles, **own)


class _Facts(BaseModel):
    """What stands beside the tensors in the file."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    version: Literal[1] = 1
    image_shape: tuple[int, int, int]
    window: int
    numbers: tuple[str, ...]
    layers: tuple[tuple[str, float, float], ...]
    """Name, ``eps`` and ``clean`` of each."""
    network: str = ""
    sha256: str = ""
    """Of all else in the file; empty in older ones."""

    def sealed(self, tensors: dict[str, Tensor]) -> "_Facts":
        """With the sha256 of these tensors and of the facts themselves."""
        content = [self.model_dump(mode="json", exclude={"sha256"}), tensors_sha256(tensors)]
        return self.model_copy(update={"sha256": json_sha256(content)})
