"""Tune mode: answers and gradients of eval mode, fewer bytes kept for the backward pass, nothing left behind."""

import pytest
import torch
from torch import Tensor, nn

import models
from eyas.errors import ParameterError
from eyas.training.tune_mode import tune_mode
from tests.networks.normalised_networks import Hard, Kinds, vary

IMAGES = torch.randn(4, 3, 12, 12, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def gradients(model: nn.Module) -> tuple[Tensor, dict[str, Tensor]]:
    images = IMAGES.clone().requires_grad_()
    model.zero_grad()
    answers = model(images)
    answers.square().sum().backward()
    own = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
    return answers.detach(), {**own, "images": images.grad}


def test_answers_and_gradients_are_those_of_eval_mode() -> None:
    model = vary(Kinds()).double()
    expected, of_eval = gradients(model)
    with tune_mode(model, IMAGES) as pairs:
        actual, tuned = gradients(model)
        names = list(model.state_dict())
    assert pairs == 3  # not the transposed one
    assert torch.allclose(actual, expected, rtol=0, atol=1e-10)
    assert tuned.keys() == of_eval.keys()
    assert all(torch.allclose(tuned[name], of_eval[name], rtol=1e-10, atol=1e-10) for name in tuned)
    assert names == list(vary(Kinds()).state_dict())


def kept_bytes(model: nn.Module) -> int:
    """Bytes of activations that a forward keeps for the backward pass, each storage once."""
    own, kept = {tensor.untyped_storage().data_ptr() for tensor in model.state_dict().values()}, {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = (storage.nbytes(), tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        answers = model(torch.randn(16, 3, 32, 32))
    assert answers.requires_grad
    return sum(size for size, _ in kept.values())


def test_less_is_kept_for_the_backward_pass() -> None:
    model = vary(models.build("resnet20", 10))
    plain = kept_bytes(model)
    with tune_mode(model, IMAGES.float()):
        assert kept_bytes(model) < 0.8 * plain  # 0.55 of it, folded weights included


def test_train_mode_is_as_always_and_nothing_is_left_behind() -> None:
    model = vary(Kinds()).double().train()
    with pytest.raises(RuntimeError, match="stop"), tune_mode(model, IMAGES):
        raise RuntimeError("stop")
    with torch.no_grad():
        plain = Kinds().double().train()
        plain.load_state_dict(model.state_dict())
        of_batch = plain(IMAGES)
        with tune_mode(model, IMAGES):
            assert torch.equal(model(IMAGES), of_batch)
    assert not [name for name, module in model.named_modules() if "forward" in vars(module)]


def test_without_a_pair_it_is_refused() -> None:
    with pytest.raises(ParameterError, match="right behind a convolution"), tune_mode(Hard(), torch.randn(2, 4, 6, 6)):
        pass
