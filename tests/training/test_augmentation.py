"""Random changes of images, against loops over single pixels and closed forms."""

import torch

from eyas.training.augmentation import resized_crop_and_flip, shift_and_flip


def test_each_image_is_one_of_the_possible_shifts():
    images = torch.randn(6, 2, 5, 4)
    changed = shift_and_flip(images, 1, flip=True, generator=torch.Generator().manual_seed(0))
    for before, after in zip(images, changed, strict=True):
        rows = [[min(max(y + dy, 0), 4) for y in range(5)] for dy in (-1, 0, 1)]
        columns = [[min(max(x + dx, 0), 3) for x in range(4)] for dx in (-1, 0, 1)]
        columns += [c[::-1] for c in columns]
        possible = [before[:, r][:, :, c] for r in rows for c in columns]
        assert any(torch.equal(after, candidate) for candidate in possible)


def test_all_shifts_and_both_sides_occur():
    ramp = torch.arange(16.0).view(1, 1, 4, 4).expand(500, 1, 4, 4)
    changed = shift_and_flip(ramp, 1, flip=True, generator=torch.Generator().manual_seed(0))
    assert len({tuple(image.flatten().tolist()) for image in changed}) == 3 * 3 * 2


def test_no_flip_without_asking():
    images = torch.arange(5.0).view(1, 1, 1, 5).expand(64, 1, 5, 5)
    changed = shift_and_flip(images, 1, flip=False, generator=torch.Generator().manual_seed(0))
    assert (changed.diff(dim=3) >= 0).all()


def test_zero_shift_changes_nothing():
    images = torch.randn(3, 1, 4, 4)
    assert torch.equal(shift_and_flip(images, 0, flip=False, generator=torch.Generator()), images)


def test_bytes_stay_bytes():
    images = torch.randint(0, 255, (3, 1, 4, 4), dtype=torch.uint8)
    assert shift_and_flip(images, 0, flip=True, generator=torch.Generator()).dtype == torch.uint8


def test_a_crop_of_a_constant_image_is_that_constant():
    images = torch.randn(4, 3, 1, 1).expand(4, 3, 12, 10)
    changed = resized_crop_and_flip(images, 0.1, flip=True, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(changed, images, atol=1e-5)


def test_crops_of_a_ramp_are_ramps_inside_the_image():
    # on an image that holds its own x coordinate, a crop is linear, and its span is the crop's width
    size = 64
    ramp = torch.linspace(-1 + 1 / size, 1 - 1 / size, size).expand(400, 1, size, size)
    changed = resized_crop_and_flip(ramp, 0.25, flip=False, generator=torch.Generator().manual_seed(0))
    inner = changed[:, 0, 32, 2:-2]
    steps = inner.diff(dim=1)
    assert torch.allclose(steps, steps[:, :1].expand_as(steps), atol=1e-4)
    widths = steps.mean(1) * size / 2
    assert float(widths.square().min()) >= 0.25 * 3 / 4
    assert float(widths.min()) < 0.5  # a quarter of the area at the narrowest ratio: sqrt(1/4 * 3/4) = 0.433
    assert float(widths.max()) <= 1 + 1e-4
    assert float(changed.abs().max()) <= 1


def test_flipped_crops_run_backwards_half_of_the_time():
    ramp = torch.linspace(-1, 1, 16).expand(1000, 1, 16, 16)
    changed = resized_crop_and_flip(ramp, 0.5, flip=True, generator=torch.Generator().manual_seed(0))
    backwards = (changed[:, 0, 8, 12] < changed[:, 0, 8, 4]).float().mean()
    assert abs(float(backwards) - 0.5) < 4 * (0.25 / 1000) ** 0.5  # four standard deviations of fair coins
