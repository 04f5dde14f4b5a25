"""The schedule of AdaB2N in an adaptation, against the calibrator and its closed form."""

import pytest
import torch

from eyas.adaptation.adapters.ada_b2n import AdaB2n
from eyas.calibration.kappa_schedule import KappaSchedule


def follow(adapter, model, images, size):
    adaptation = adapter.prepare(model)
    for batch in images.split(size):
        adaptation.observe(batch)
    return adaptation


@pytest.mark.parametrize("kappa", [0.0, 0.4, 1.0])
def test_the_first_layer_ends_where_the_calibrator_does(kappa, model, field):
    adaptation = follow(AdaB2n(kappa=kappa), model, field[0], 32)
    KappaSchedule(kappa=kappa)(model, field[0].split(32))
    adapted = adaptation.finalise()
    torch.testing.assert_close(adapted.norm1.running_mean, model.norm1.running_mean)
    torch.testing.assert_close(adapted.norm1.running_var, model.norm1.running_var)


def test_weights_of_batches_have_the_closed_form():
    batches, ratio = 6, 0.9**0.4
    source, weights = KappaSchedule().weights(batches)
    expected = torch.tensor([weights[-1] * ratio ** (batches - 1 - batch) for batch in range(batches)])
    assert torch.allclose(weights, expected.double(), rtol=0, atol=1e-12)
    assert source + weights.sum() == pytest.approx(1, abs=1e-12)


def test_the_step_ends_at_its_limit_and_starts_anew_in_each_adaptation(model, field):
    model.norm1.num_batches_tracked.fill_(10_000)  # the checkpoint's own counter says nothing
    adaptation = AdaB2n().prepare(model)
    assert float(adaptation.memory["norm1.step"]) == pytest.approx(0.1**0.4)
    for _ in range(120):
        adaptation.observe(field[0][:4])
    assert float(adaptation.memory["norm1.step"]) == pytest.approx(1 - 0.9**0.4, abs=1e-3)
