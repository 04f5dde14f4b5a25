import pytest
import torch

from eyas.deploy.logit_parity import LogitParity, compare_logits
from eyas.errors import ParityError


def test_numbers_by_hand() -> None:
    expected = torch.tensor([[1.0, 4.0], [3.0, 2.0], [0.0, 1.0], [5.0, -8.0]])
    actual = torch.tensor([[1.0, 3.5], [1.0, 2.0], [0.0, 1.0], [5.0, -8.0]])
    result = compare_logits(expected, actual)
    assert result == LogitParity(4, max_difference=2.0, relative_difference=0.25, agreement=0.75)


@pytest.mark.parametrize(("difference", "share"), [(1.0, 1.0), (None, 0.9)])
def test_broken_limit_is_named(difference: float | None, share: float) -> None:
    parity = LogitParity(1000, max_difference=2.0, relative_difference=0.1, agreement=0.75)
    with pytest.raises(ParityError, match=r"model\.onnx .* difference 2, top-1 agreement 0\.7500"):
        parity.require("model.onnx", max_difference=difference, min_agreement=share)
    parity.require("model.onnx", max_difference=2.0, min_agreement=0.75)


def test_a_difference_that_is_no_number_is_refused() -> None:
    logits = torch.zeros(2, 3)
    parity = compare_logits(logits, torch.full((2, 3), torch.nan))
    with pytest.raises(ParityError):
        parity.require("model.onnx", max_difference=1e9, min_agreement=0.0)
