"""Networks for phones: MobileNet, EfficientNet, ShuffleNet, SqueezeNet, GhostNet."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.pruning.networks.blocks import SqueezeExcite, conv_bn, shuffle


def mobilenet_v1() -> nn.Module:
    layers, i = [conv_bn(3, 32, 3, 2)], 32
    for o, s in ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1)):
        layers += [conv_bn(i, i, 3, s, i), conv_bn(i, o)]
        i = o
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1024, 1000))


class Inverted(nn.Module):
    def __init__(
        self, i: int, mid: int, o: int, k: int, s: int, se: int, act: type[nn.Module], gate: type[nn.Module]
    ) -> None:
        super().__init__()
        self.expand = conv_bn(i, mid, act=act) if mid != i else nn.Identity()
        self.depthwise = conv_bn(mid, mid, k, s, mid, act=act)
        self.se = SqueezeExcite(mid, se, gate) if se else nn.Identity()
        self.project = conv_bn(mid, o, act=None)
        self.residual = s == 1 and i == o

    def forward(self, x: Tensor) -> Tensor:
        y = self.project(self.se(self.depthwise(self.expand(x))))
        return x + y if self.residual else y


def mobilenet_v3_large() -> nn.Module:
    """Howard et al. 2019, table 1."""
    rows = [
        (3, 16, 16, 0, 0, 1), (3, 64, 24, 0, 0, 2), (3, 72, 24, 0, 0, 1), (5, 72, 40, 24, 0, 2), (5, 120, 40, 32, 0, 1),
        (5, 120, 40, 32, 0, 1), (3, 240, 80, 0, 1, 2), (3, 200, 80, 0, 1, 1), (3, 184, 80, 0, 1, 1),
        (3, 184, 80, 0, 1, 1),
        (3, 480, 112, 120, 1, 1), (3, 672, 112, 168, 1, 1), (5, 672, 160, 168, 1, 2), (5, 960, 160, 240, 1, 1),
        (5, 960, 160, 240, 1, 1),
    ]  # fmt: skip
    layers, i = [conv_bn(3, 16, 3, 2, act=nn.Hardswish)], 16
    for k, mid, o, se, hs, s in rows:
        layers.append(Inverted(i, mid, o, k, s, se, nn.Hardswish if hs else nn.ReLU, nn.Hardsigmoid))
        i = o
    tail = [conv_bn(i, 960, act=nn.Hardswish), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers, *tail, nn.Linear(960, 1280), nn.Hardswish(), nn.Dropout(0.2), nn.Linear(1280, 1000))


def efficientnet_b0() -> nn.Module:
    """Tan and Le 2019, table 1."""
    rows = [
        (1, 16, 1, 3, 1),
        (6, 24, 2, 3, 2),
        (6, 40, 2, 5, 2),
        (6, 80, 3, 3, 2),
        (6, 112, 3, 5, 1),
        (6, 192, 4, 5, 2),
        (6, 320, 1, 3, 1),
    ]
    layers, i = [conv_bn(3, 32, 3, 2, act=nn.SiLU)], 32
    for t, o, n, k, s in rows:
        for b in range(n):
            layers.append(Inverted(i, i * t, o, k, s if b == 0 else 1, i // 4, nn.SiLU, nn.Sigmoid))
            i = o
    return nn.Sequential(
        *layers, conv_bn(320, 1280, act=nn.SiLU), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1280, 1000)
    )


class ShuffleUnit(nn.Module):
    def __init__(self, i: int, o: int, s: int) -> None:
        super().__init__()
        half = o // 2
        self.s = s
        inner = i if s == 2 else half
        self.left = nn.Sequential(conv_bn(i, i, 3, 2, i, None), conv_bn(i, half)) if s == 2 else None
        self.right = nn.Sequential(conv_bn(inner, half), conv_bn(half, half, 3, s, half, None), conv_bn(half, half))

    def forward(self, x: Tensor) -> Tensor:
        if self.left is None:
            a, b = x.chunk(2, dim=1)
            return shuffle(torch.cat([a, self.right(b)], 1), 2)
        return shuffle(torch.cat([self.left(x), self.right(x)], 1), 2)


def shufflenet_v2() -> nn.Module:
    """Ma et al. 2018, table 5, 1x."""
    layers, i = [conv_bn(3, 24, 3, 2), nn.MaxPool2d(3, 2, 1)], 24
    for o, n in ((116, 4), (232, 8), (464, 4)):
        for b in range(n):
            layers.append(ShuffleUnit(i, o, 2 if b == 0 else 1))
            i = o
    return nn.Sequential(*layers, conv_bn(464, 1024), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1024, 1000))


class Fire(nn.Module):
    def __init__(self, i: int, s: int, e: int) -> None:
        super().__init__()
        self.squeeze, self.one, self.three = nn.Conv2d(i, s, 1), nn.Conv2d(s, e, 1), nn.Conv2d(s, e, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.squeeze(x), inplace=True)
        return torch.cat([functional.relu(self.one(x)), functional.relu(self.three(x))], 1)


def squeezenet() -> nn.Module:
    """Iandola et al. 2016, version 1.1."""
    pool = lambda: nn.MaxPool2d(3, 2, ceil_mode=True)  # noqa: E731
    fires = [Fire(64, 16, 64), Fire(128, 16, 64), pool(), Fire(128, 32, 128), Fire(256, 32, 128), pool(),
             Fire(256, 48, 192), Fire(384, 48, 192), Fire(384, 64, 256), Fire(512, 64, 256)]  # fmt: skip
    head = [nn.Dropout(), nn.Conv2d(512, 1000, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(nn.Conv2d(3, 64, 3, 2), nn.ReLU(), pool(), *fires, *head)


class Ghost(nn.Module):
    """Han et al. 2020: half the channels by a convolution, half from those by a depthwise one."""

    def __init__(self, i: int, o: int, relu: bool = True) -> None:
        super().__init__()
        self.o, half = o, (o + 1) // 2
        act = nn.ReLU if relu else None
        self.primary, self.cheap = conv_bn(i, half, act=act), conv_bn(half, half, 3, g=half, act=act)

    def forward(self, x: Tensor) -> Tensor:
        a = self.primary(x)
        return torch.cat([a, self.cheap(a)], 1)[:, : self.o]


class GhostBottleneck(nn.Module):
    def __init__(self, i: int, mid: int, o: int, k: int, s: int, se: bool) -> None:
        super().__init__()
        self.ghost1, self.ghost2 = Ghost(i, mid), Ghost(mid, o, False)
        self.down = conv_bn(mid, mid, k, s, mid, None) if s > 1 else nn.Identity()
        self.se = SqueezeExcite(mid, max(mid // 4, 4), nn.Hardsigmoid) if se else nn.Identity()
        self.shortcut = (
            nn.Sequential(conv_bn(i, i, k, s, i, None), conv_bn(i, o, act=None)) if s > 1 or i != o else nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.ghost2(self.se(self.down(self.ghost1(x)))) + self.shortcut(x)


def ghostnet() -> nn.Module:
    rows = [(16, 16, 3, 1, 0), (48, 24, 3, 2, 0), (72, 24, 3, 1, 0), (72, 40, 5, 2, 1), (120, 40, 5, 1, 1),
            (240, 80, 3, 2, 0), (200, 80, 3, 1, 0), (480, 112, 3, 1, 1), (672, 160, 5, 2, 1),
            (960, 160, 5, 1, 1)]  # fmt: skip
    layers, i = [conv_bn(3, 16, 3, 2)], 16
    for mid, o, k, s, se in rows:
        layers.append(GhostBottleneck(i, mid, o, k, s, bool(se)))
        i = o
    return nn.Sequential(*layers, conv_bn(160, 960), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(960, 1000))
