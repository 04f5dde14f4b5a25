"""Folding: the same answers without batch-norm, against torch's own fusion and against ONNX Runtime."""

import pytest
import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

import models
from eyas.deploy.exporters import Exporter
from eyas.errors import ParameterError
from eyas.networks.batch_norm_folding import fold_batch_norm
from tests.networks.normalised_networks import Hard, Kinds, WithoutNorm, vary

IMAGES = torch.randn(4, 3, 12, 12, generator=torch.Generator().manual_seed(1))


def test_all_kinds_are_folded_and_answer_the_same() -> None:
    model = vary(Kinds()).double()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    folded = fold_batch_norm(model, IMAGES.double())
    assert not [module for module in folded.modules() if isinstance(module, nn.BatchNorm2d)]
    assert torch.allclose(folded(IMAGES.double()), model(IMAGES.double()), rtol=0, atol=1e-12)
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


def test_weights_are_those_of_torchs_own_fusion() -> None:
    model = vary(Kinds())
    folded = fold_batch_norm(model, IMAGES)
    for name in ("plain", "depthwise"):
        expected = fuse_conv_bn_eval(getattr(model, name), getattr(model, f"{name}_norm"))
        assert torch.allclose(getattr(folded, name).weight, expected.weight, atol=1e-6)
        assert torch.allclose(getattr(folded, name).bias, expected.bias, atol=1e-6)


def test_what_cannot_be_folded_stays_and_is_refused_alone() -> None:
    model = vary(Hard())
    with pytest.raises(ParameterError, match="no batch-norm with running statistics right behind a convolution"):
        fold_batch_norm(model, torch.randn(2, 4, 6, 6))
    with pytest.raises(ParameterError, match="right behind a convolution"):
        fold_batch_norm(WithoutNorm(), IMAGES)


def test_a_hard_part_stays_while_the_rest_is_folded() -> None:
    model = vary(nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), Hard()))
    folded = fold_batch_norm(model, IMAGES)
    assert isinstance(folded[1], nn.Identity)
    assert isinstance(folded[2].shared, nn.BatchNorm2d)
    assert torch.allclose(folded(IMAGES), model(IMAGES), atol=1e-5)


def test_a_folded_network_answers_the_same_in_onnx_runtime(tmp_path) -> None:
    runtime = pytest.importorskip("onnxruntime")
    model = vary(models.build("resnet8", 10, width=4))
    folded = fold_batch_norm(model, IMAGES)
    Exporter.parse("onnx")(folded, IMAGES[:2], tmp_path / "folded.onnx")
    session = runtime.InferenceSession(tmp_path / "folded.onnx")
    (logits,) = session.run(None, {session.get_inputs()[0].name: IMAGES.numpy()})
    with torch.no_grad():
        expected = model(IMAGES)
    assert float((torch.from_numpy(logits) - expected).abs().max()) < 1e-4 * max(1, float(expected.abs().max()))
