"""A reference comes back from its file as it was; a damaged or impossible one does not."""

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from eyas.adaptation.drift import DriftReference, detect_drift
from eyas.errors import DataError, ParameterError


def test_what_was_saved_reports_the_same(spots: nn.Module, reference: DriftReference, draw, tmp_path: Path) -> None:
    first, again = reference.save(tmp_path / "a"), reference.save(tmp_path / "b")
    assert first.read_bytes() == again.read_bytes()
    loaded, images = DriftReference.load(first), draw(64, 50)[0]
    assert detect_drift(spots, images, loaded) == detect_drift(spots, images, reference)


def test_labels_make_the_confusion_matrix(spots: nn.Module, reference: DriftReference, draw) -> None:
    images, labels = draw(1024, 2)
    with torch.inference_mode():
        right = (spots(images).argmax(1) == labels).sum()
    assert reference.confusion is not None
    assert int(np.trace(reference.confusion)) == int(right)
    assert int(reference.confusion.sum()) == 1024


@pytest.mark.parametrize("damage", ["cut", "text", "missing", "nan", "negative", "counts", "version", "other"])
def test_a_damaged_file_is_refused(reference: DriftReference, tmp_path: Path, damage: str) -> None:
    path = reference.save(tmp_path / "reference.safetensors")
    tensors = load_file(path)
    facts = json.loads(safe_open(path, "pt").metadata()["eyas.drift_reference"])
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-100])
    elif damage == "text":
        path.write_text("no reference")
    elif damage == "missing":
        path.unlink()
    else:
        if damage == "nan":
            tensors["numbers.noise"][3] = torch.nan
        elif damage == "negative":
            tensors["layers.0.var"][0] = -1
        elif damage == "counts":
            tensors["counts"][0] += 1
        elif damage == "version":
            facts["version"] = 2
        save_file(tensors, path, {} if damage == "other" else {"eyas.drift_reference": json.dumps(facts)})
    with pytest.raises(DataError, match="is no drift reference"):
        DriftReference.load(path)


def test_no_tensor_of_a_file_may_hold_what_is_not_finite(reference: DriftReference, tmp_path: Path) -> None:
    path = reference.save(tmp_path / "reference")
    with safe_open(path, "pt") as file:
        facts = file.metadata()
    whole = load_file(path)
    floats = [name for name, tensor in whole.items() if tensor.is_floating_point()]
    assert {"codes.centre", "codes.similarities", "layers.0.mean", "layers.0.var"} < set(floats)
    for name in floats:
        for value in (torch.nan, torch.inf):
            tensors = {**whole, name: torch.full_like(whole[name], value)}
            save_file(tensors, path, facts)
            with pytest.raises(DataError, match="not finite"):
                DriftReference.load(path)


def test_what_cannot_be_a_reference_is_refused(spots: nn.Module, draw) -> None:
    images, labels = draw(128, 51)
    with pytest.raises(DataError, match="`images` holds 99: give at least 100"):
        DriftReference.of(spots, images[:99])
    with pytest.raises(DataError, match=r"`labels` have shape \(100,\) for 128 images"):
        DriftReference.of(spots, images, labels[:100])
    with pytest.raises(DataError, match=r"`labels` are torch.float32: give whole numbers"):
        DriftReference.of(spots, images, labels.float())
    with pytest.raises(ParameterError, match="`window` is 4"):
        DriftReference.of(spots, images, window=4)
    with pytest.raises(DataError, match=r"Spots does not take images of shape \(1, 20, 20\)"):
        DriftReference.of(spots, images[:, :1])


def test_a_reference_of_one_class_estimates_no_balance(spots: nn.Module, draw) -> None:
    images, labels = draw(128, 52, classes=(1,))
    report = detect_drift(spots, draw(64, 53, classes=(1,))[0], DriftReference.of(spots, images, labels))
    assert not report.drift
    assert report.balance.estimated is None
    assert report.balance.reason == "class 0 has 0 labelled images, 10 are needed"


def test_a_reference_fits_the_network_that_it_was_made_of(
    spots: nn.Module, reference: DriftReference, draw, tmp_path: Path
) -> None:
    images, loaded = draw(64, 54)[0], DriftReference.load(reference.save(tmp_path / "reference"))
    report = detect_drift(copy.deepcopy(spots), images, loaded)
    for name in ("head.bias", "features.0.weight", "features.1.running_mean"):
        other = copy.deepcopy(spots)
        with torch.no_grad():
            other.state_dict()[name].view(-1)[0] += 0.5
        with pytest.raises(DataError, match="`model` holds other weights or statistics than the network of the refere"):
            detect_drift(other, images, loaded)
    older = DriftReference(**{**reference.__dict__, "network": ""})
    assert detect_drift(other, images, DriftReference.load(older.save(tmp_path / "older"))).images == 64
    assert detect_drift(spots, images, older) == report


def test_a_flipped_bit_is_told(reference: DriftReference, tmp_path: Path) -> None:
    path = reference.save(tmp_path / "reference")
    whole = path.read_bytes()
    for at in np.random.default_rng(0).integers(0, 8 * len(whole), 60):
        flipped = bytearray(whole)
        flipped[at // 8] ^= 1 << (at % 8)
        path.write_bytes(flipped)
        with pytest.raises(DataError, match="is no drift reference"):
            DriftReference.load(path)


def test_a_file_without_a_digest_as_older_versions_wrote_it_is_read(
    spots: nn.Module, reference: DriftReference, draw, tmp_path: Path
) -> None:
    path = reference.save(tmp_path / "reference")
    facts = json.loads(safe_open(path, "pt").metadata()["eyas.drift_reference"])
    del facts["sha256"], facts["network"]
    save_file(load_file(path), path, {"eyas.drift_reference": json.dumps(facts)})
    images = draw(64, 50)[0]
    assert detect_drift(spots, images, DriftReference.load(path)) == detect_drift(spots, images, reference)
