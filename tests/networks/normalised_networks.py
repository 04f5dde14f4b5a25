"""Small networks of every way in which convolutions meet normalisation."""

import torch
from torch import Tensor, nn
from torch.nn import functional


class Kinds(nn.Module):
    """Convolutions with and without bias, in groups and transposed; batch-norm with and without its own weights."""

    def __init__(self, num_classes: int = 5) -> None:
        super().__init__()
        self.plain = nn.Conv2d(3, 8, 3, bias=False)
        self.plain_norm = nn.BatchNorm2d(8)
        self.grouped = nn.Conv2d(8, 12, 3, groups=4)
        self.grouped_norm = nn.BatchNorm2d(12, affine=False)
        self.depthwise = nn.Conv2d(12, 12, 3, groups=12, bias=False)
        self.depthwise_norm = nn.BatchNorm2d(12, eps=1e-3)
        self.up = nn.ConvTranspose2d(12, 6, 2, stride=2)
        self.up_norm = nn.BatchNorm2d(6)
        self.head = nn.Linear(6, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.plain_norm(self.plain(x)))
        x = functional.relu(self.grouped_norm(self.grouped(x)))
        x = functional.relu(self.depthwise_norm(self.depthwise(x)))
        x = functional.relu(self.up_norm(self.up(x)))
        return self.head(x.mean((2, 3)))


class Hard(nn.Module):
    """Batch-norm that cannot be folded: shared, behind a sum, behind a tensor with two readers, without statistics."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third, self.fourth = (nn.Conv2d(4, 4, 3, padding=1) for _ in range(4))
        self.fifth = nn.ConvTranspose2d(4, 4, 1, groups=2)
        self.shared, self.behind, self.read_twice, self.of_groups = (nn.BatchNorm2d(4) for _ in range(4))
        self.of_batch = nn.BatchNorm2d(4, track_running_stats=False)
        self.head = nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        one = self.shared(self.first(x))
        two = self.shared(self.second(one))
        x = self.behind(one + two)
        y = self.third(x)
        x = self.read_twice(y) + y
        x = self.of_batch(self.fourth(x))
        return self.head(self.of_groups(self.fifth(x)))


class WithoutNorm(nn.Module):
    """As it is delivered: a stem, a residual block, a branch that is called twice, a convolution that answers."""

    def __init__(self, num_classes: int = 5, in_channels: int = 3, width: int = 8) -> None:
        super().__init__()
        self.stem = nn.Conv2d(in_channels, width, 3, padding=1)
        self.left = nn.Conv2d(width, width, 3, padding=1)
        self.right = nn.Conv2d(width, width, 3, padding=1)
        self.twice = nn.Conv2d(width, width, 3, padding=1)
        self.bare = nn.Conv2d(width, width, 1, bias=False)
        self.head = nn.Conv2d(width, num_classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.stem(x))
        x = functional.relu(x + self.right(functional.relu(self.left(x))))
        x = functional.relu(self.twice(functional.relu(self.twice(x))))
        return self.head(self.bare(x)).mean((2, 3))


class ReadsItsWeight(nn.Module):
    """Forward code that goes past a layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.head = nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.conv(x) * self.conv.stride[0])


def vary(model: nn.Module, seed: int = 0) -> nn.Module:
    """Batch-norm that does something, in eval mode."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            if tensor.is_floating_point() and ("norm" in name or "bn" in name or "shared" in name):
                tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
    return model.eval()


class Everything(nn.Module):
    """Something to change for every surgery: convolutions with batch-norm and without, layer norm, a residual block."""

    def __init__(self, num_classes: int = 5) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.stem_norm = nn.BatchNorm2d(8)
        self.conv1 = nn.Conv2d(8, 8, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 8, 3, padding=1)
        self.wide = nn.Conv2d(8, 16, 1)
        self.layer_norm = nn.LayerNorm(16)
        self.mlp = nn.Linear(16, 24)
        self.head = nn.Linear(24, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.stem_norm(self.stem(x)))
        x = functional.relu(x + self.conv2(functional.relu(self.bn1(self.conv1(x)))))
        x = functional.relu(self.wide(x)).permute(0, 2, 3, 1)
        return self.head(functional.gelu(self.mlp(self.layer_norm(x))).mean((1, 2)))
