"""Normal equations against residuals that are written out."""

import pytest
import torch
from torch import Tensor, nn

from eyas.recovery.normal_equations import LayerEquations, NormalEquations


def equations(rows: int, seed: int) -> tuple[Tensor, Tensor, NormalEquations]:
    """Features with a last one that is always 1, residuals, and what is summed of them in two pieces."""
    generator = torch.Generator().manual_seed(seed)
    features_RF = nn.functional.pad(torch.randn(rows, 5, generator=generator).double(), (0, 1), value=1.0)
    residual_RO = torch.randn(rows, 3, generator=generator).double() + 0.5
    summed = NormalEquations.empty(3, 6, torch.device("cpu"))
    for piece in (slice(0, rows // 3), slice(rows // 3, rows)):
        summed.add(features_RF[piece], residual_RO[piece])
    return features_RF, residual_RO, summed


def test_the_error_after_a_change_is_that_of_the_residuals() -> None:
    features_RF, residual_RO, summed = equations(40, 0)
    change_OF = torch.randn(3, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(9))
    expected = (residual_RO - features_RF @ change_OF.T).square().sum(0)
    torch.testing.assert_close(summed.error(change_OF), expected)
    assert summed.rows == 40


@pytest.mark.parametrize("is_normalised", [True, False])
def test_the_error_before_is_without_the_offset_that_batch_norm_takes_away(is_normalised: bool) -> None:
    (_, fitted_RO, fit), (_, judged_RO, held_out) = equations(40, 0), equations(20, 1)
    layer = LayerEquations(torch.zeros(3, 6, dtype=torch.float64), None, is_normalised, fit, held_out)
    expected = (judged_RO - (fitted_RO.mean(0) if is_normalised else 0)).square().sum()
    assert layer.error_before() == pytest.approx(float(expected))


def test_changes_are_tried_until_the_error_rises() -> None:
    features_RF, residual_RO, held_out = equations(40, 0)
    layer = LayerEquations(torch.zeros(3, 6, dtype=torch.float64), None, False, held_out, held_out)
    optimum_OF = torch.linalg.lstsq(features_RF, residual_RO).solution.T
    tried: list[float] = []

    def changes(shares: tuple[float, ...]) -> object:
        for share in shares:
            tried.append(share)
            yield share * optimum_OF

    assert layer.best(changes((0.5, 1.0, 1.5, 1.0))) == 1
    assert tried == [0.5, 1.0, 1.5]
    assert layer.best(changes((-0.5, 1.0))) is None
    assert layer.best(iter([torch.full_like(optimum_OF, torch.nan)])) is None
