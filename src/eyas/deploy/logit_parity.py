"""How far two networks that should compute the same (or nearly the same) agree on the same images."""

from dataclasses import asdict, dataclass

from torch import Tensor

from eyas.errors import ParityError


@dataclass(frozen=True)
class Agreement:
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


def compare(expected_NK: Tensor, found_NK: Tensor) -> Agreement:
    """Compare logits ``(N, K)`` of N images with those that were expected."""
    difference = float((expected_NK - found_NK).abs().max())
    largest = float(expected_NK.abs().max())
    same = (expected_NK.argmax(1) == found_NK.argmax(1)).double().mean()
    return Agreement(
        images=len(expected_NK),
        max_difference=difference,
        relative_difference=difference / largest if largest else difference,
        agreement=float(same),
    )


def require(found: Agreement, what: str, *, max_difference: float | None, min_agreement: float) -> None:
    """Refuse a file that computes something else.

    Raises:
        ParityError: a limit is broken, or a difference is no number; names both and what to do.
    """
    small_enough = max_difference is None or found.max_difference <= max_difference
    if small_enough and found.agreement >= min_agreement:
        return
    allowed = "" if max_difference is None else f", difference of at most {max_difference:g}"
    msg = (
        f"{what} computes something else than PyTorch on {found.images} test images: largest difference "
        f"{found.max_difference:.3g}, top-1 agreement {found.agreement:.4f}; allowed: agreement of at least "
        f"{min_agreement:g}{allowed} (export.min_agreement, export.max_difference). Raise a limit only if you know "
        "why they differ"
    )
    raise ParityError(msg)
