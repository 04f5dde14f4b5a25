"""How far two networks that should compute the same (or nearly the same) agree on the same images."""

from dataclasses import asdict, dataclass

from torch import Tensor

from eyas.errors import ParityError
from eyas.pruning.mask_parity import gap, largest


@dataclass(frozen=True)
class LogitParity:
    """Two networks' logits on the same images, compared."""

    images: int
    max_difference: float
    """Largest absolute difference of a logit."""
    relative_difference: float
    """The same, as a share of the largest absolute logit."""
    agreement: float
    """Share of images with the same top-1 answer."""

    def as_dict(self) -> dict[str, float | int]:
        """The numbers by name."""
        return asdict(self)

    def require(self, file: str, *, max_difference: float | None, min_agreement: float) -> None:
        """Refuse a file that computes something else.

        Args:
            file: what was compared with PyTorch, for the message.
            max_difference: largest difference that is allowed; None allows any.
            min_agreement: smallest agreement that is allowed.

        Raises:
            ParityError: a limit is broken, or a difference is no number; names both and what to do.
        """
        small_enough = max_difference is None or self.max_difference <= max_difference
        if small_enough and self.agreement >= min_agreement:
            return
        limit = "" if max_difference is None else f", difference of at most {max_difference:g} (`max_difference`)"
        msg = (
            f"{file} computes something else than PyTorch on {self.images} test images: largest difference "
            f"{self.max_difference:.3g}, top-1 agreement {self.agreement:.4f}; allowed: agreement of at least "
            f"{min_agreement:g} (`min_agreement`){limit}. Raise a limit only if you know why they differ"
        )
        raise ParityError(msg)


@dataclass(frozen=True)
class OutputParity:
    """Another output of two networks than the logits, on the same images, compared."""

    relative_difference: float
    """Largest absolute difference, as a share of the largest absolute entry (of 1 at least)."""
    agreement: float
    """Share of equal entries; of whole numbers and truth values."""

    def require(self, name: str, file: str, *, max_difference: float | None, min_agreement: float) -> None:
        """Refuse a file whose output ``name`` is another one.

        Raises:
            ParityError: a limit is broken.
        """
        small_enough = max_difference is None or self.relative_difference <= max_difference
        if small_enough and (max_difference is None or self.agreement >= min_agreement):
            return
        msg = (
            f"{file} computes another output {name} than PyTorch: relative difference {self.relative_difference:.3g}, "
            f"agreement {self.agreement:.4f}; allowed: difference of at most {max_difference:g} (`max_difference`), "
            f"agreement of at least {min_agreement:g} (`min_agreement`)"
        )
        raise ParityError(msg)


def compare_output(expected: Tensor, actual: Tensor) -> OutputParity:
    """Compare an output with the one that was expected: floats by their difference, other numbers by being equal.

    Raises:
        ParityError: they have other shapes.
    """
    if expected.shape != actual.shape:
        msg = f"an output has shape {tuple(actual.shape)}, PyTorch's {tuple(expected.shape)}"
        raise ParityError(msg)
    if not expected.is_floating_point():
        return OutputParity(0.0, float((expected == actual).double().mean()) if expected.numel() else 1.0)
    return OutputParity(gap(actual, expected) / max(largest(expected), 1.0), 1.0)


def compare_logits(expected_NK: Tensor, actual_NK: Tensor) -> LogitParity:
    """Compare logits ``(N, K)`` of N images with those that were expected."""
    difference = float((expected_NK - actual_NK).abs().max())
    largest = float(expected_NK.abs().max())
    same = (expected_NK.argmax(1) == actual_NK.argmax(1)).double().mean()
    return LogitParity(
        images=len(expected_NK),
        max_difference=difference,
        relative_difference=difference / largest if largest else difference,
        agreement=float(same),
    )
