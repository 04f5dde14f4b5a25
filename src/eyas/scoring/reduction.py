"""Per-image numbers of one candidate to its measurement, without making a GPU wait."""

from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor

from eyas.scoring.race.measurement import Measurement


def reduce_images(image_scores_N: Tensor, right_N: Tensor, likelihood_N: Tensor) -> Callable[[], Measurement]:
    """Means over the images, on their way to the CPU when this returns."""
    images = len(image_scores_N)
    means = torch.stack([image_scores_N.mean(), image_scores_N.std(), right_N.mean(), -likelihood_N.mean()])
    wait_for_copies = to_host(means, image_scores_N.float())

    def wait() -> Measurement:
        means, image_scores = wait_for_copies()
        score, deviation, accuracy, cross_entropy = means.tolist()
        error = deviation / images**0.5
        return Measurement(score, error, accuracy, cross_entropy, images, image_scores.numpy())

    return wait


def to_host(*tensors: Tensor) -> Callable[[], list[Tensor]]:
    """Begin to copy to the CPU, and return what waits for these copies alone, not for work queued since."""
    copies = [tensor.to("cpu", non_blocking=True) for tensor in tensors]  # from a GPU into pinned memory
    if not tensors[0].is_cuda:
        return lambda: copies
    arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
    arrived.record(torch.cuda.current_stream(tensors[0].device))

    def wait() -> list[Tensor]:
        arrived.synchronize()
        return copies

    return wait


def in_pieces(parts: Iterable[Tensor], most: float) -> Iterator[Tensor]:
    """Neighbours joined until they hold ``most`` values or more."""
    joined: list[Tensor] = []
    for part in parts:
        joined.append(part)
        if sum(tensor.numel() for tensor in joined) >= most:
            yield torch.cat(joined)
            joined.clear()
    if joined:
        yield torch.cat(joined)
