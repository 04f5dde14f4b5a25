"""Networks in their published shape (widths, depths, operators), written for these tests."""

import torch
from torch import Tensor, nn
from torch.nn import functional


def conv_bn(i: int, o: int, k: int = 1, s: int = 1, g: int = 1, act: type[nn.Module] | None = nn.ReLU) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Conv2d(i, o, k, s, k // 2, groups=g, bias=False), nn.BatchNorm2d(o)]
    return nn.Sequential(*layers, *([act()] if act else []))


class SqueezeExcite(nn.Module):
    def __init__(self, channels: int, hidden: int, gate: type[nn.Module] = nn.Sigmoid) -> None:
        super().__init__()
        self.reduce, self.expand = nn.Conv2d(channels, hidden, 1), nn.Conv2d(hidden, channels, 1)
        self.gate = gate()

    def forward(self, x: Tensor) -> Tensor:
        s = functional.adaptive_avg_pool2d(x, 1)
        return x * self.gate(self.expand(functional.relu(self.reduce(s))))


class Bottleneck(nn.Module):
    def __init__(self, i: int, mid: int, o: int, s: int = 1, g: int = 1, se: int = 0) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(i, mid, 1, bias=False), nn.BatchNorm2d(mid)
        self.conv2, self.bn2 = nn.Conv2d(mid, mid, 3, s, 1, groups=g, bias=False), nn.BatchNorm2d(mid)
        self.se = SqueezeExcite(mid, se) if se else nn.Identity()
        self.conv3, self.bn3 = nn.Conv2d(mid, o, 1, bias=False), nn.BatchNorm2d(o)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = conv_bn(i, o, 1, s, act=None) if s > 1 or i != o else None

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn3(self.conv3(self.se(self.relu(self.bn2(self.conv2(y))))))
        y += x if self.downsample is None else self.downsample(x)
        return self.relu(y)


class ResNet50(nn.Module):
    """He et al. 2015; with ``groups=32, width=4`` ResNeXt-50 (Xie et al. 2017)."""

    def __init__(self, groups: int = 1, width: int = 64, blocks: tuple[int, ...] = (3, 4, 6, 3)) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64)
        i, stages = 64, []
        for stage, count in enumerate(blocks):
            mid, o = groups * width * 2**stage, 256 * 2**stage
            for b in range(count):
                stages.append(Bottleneck(i, mid, o, 2 if b == 0 and stage else 1, groups))
                i = o
        self.layers, self.fc = nn.Sequential(*stages), nn.Linear(i, 1000)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.max_pool2d(functional.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        return self.fc(torch.flatten(functional.adaptive_avg_pool2d(self.layers(x), 1), 1))


def regnet_y_400mf() -> nn.Module:
    """Radosavovic et al. 2020: widths 48, 104, 208, 440, depths 1, 3, 6, 6, group width 8, squeeze-excite."""
    i, layers = 32, [conv_bn(3, 32, 3, 2)]
    for width, depth in ((48, 1), (104, 3), (208, 6), (440, 6)):
        for b in range(depth):
            layers.append(Bottleneck(i, width, width, 2 if b == 0 else 1, width // 8, se=round(i / 4)))
            i = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(440, 1000))


class ChannelPad(nn.Module):
    zero_channels = ("before", "after")

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.before, self.after = before, after

    def forward(self, x: Tensor) -> Tensor:
        return functional.pad(x, (0, 0, 0, 0, self.before, self.after))


class PaddedBlock(nn.Module):
    def __init__(self, i: int, o: int, s: int, pad: bool = True) -> None:
        super().__init__()
        self.a, self.b = conv_bn(i, o, 3, s), conv_bn(o, o, 3, act=None)
        self.pad = ChannelPad((o - i) // 2, (o - i) // 2) if pad else None
        self.s, self.grow = s, (o - i) // 2

    def forward(self, x: Tensor) -> Tensor:
        y = self.b(self.a(x))
        if self.s > 1:
            x = x[:, :, ::2, ::2]
            x = self.pad(x) if self.pad else functional.pad(x, (0, 0, 0, 0, self.grow, self.grow))
        return functional.relu(x + y)


class CifarResNet(nn.Module):
    """He et al. 2015, section 4.2, with option-A shortcuts: ``depth = 6 n + 2``."""

    def __init__(self, n: int = 9, pad: bool = True) -> None:
        super().__init__()
        layers, i = [conv_bn(3, 16, 3)], 16
        for o in (16, 32, 64):
            for _ in range(n):
                layers.append(PaddedBlock(i, o, 2 if o != i else 1, pad))
                i = o
        self.layers, self.fc = nn.Sequential(*layers), nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.layers(x).mean((2, 3)))


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


class DenseLayer(nn.Module):
    def __init__(self, i: int, growth: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = nn.BatchNorm2d(i), nn.Conv2d(i, 4 * growth, 1, bias=False)
        self.norm2, self.conv2 = nn.BatchNorm2d(4 * growth), nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False)

    def forward(self, features: list[Tensor]) -> Tensor:
        y = self.conv1(functional.relu(self.norm1(torch.cat(features, 1))))
        return self.conv2(functional.relu(self.norm2(y)))


class DenseNet121(nn.Module):
    """Huang et al. 2017, table 1."""

    def __init__(self, blocks: tuple[int, ...] = (6, 12, 24, 16), growth: int = 32) -> None:
        super().__init__()
        self.stem, i = nn.Sequential(conv_bn(3, 64, 7, 2), nn.MaxPool2d(3, 2, 1)), 64
        self.blocks, self.transitions = nn.ModuleList(), nn.ModuleList()
        for index, count in enumerate(blocks):
            self.blocks.append(nn.ModuleList([DenseLayer(i + k * growth, growth) for k in range(count)]))
            i += count * growth
            last = index == len(blocks) - 1
            half = [nn.BatchNorm2d(i), nn.ReLU()] + (
                [] if last else [nn.Conv2d(i, i // 2, 1, bias=False), nn.AvgPool2d(2)]
            )
            self.transitions.append(nn.Sequential(*half))
            i = i if last else i // 2
        self.fc = nn.Linear(i, 1000)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block, transition in zip(self.blocks, self.transitions, strict=True):
            features = [x]
            for layer in block:
                features.append(layer(features))
            x = transition(torch.cat(features, 1))
        return self.fc(functional.adaptive_avg_pool2d(x, 1).flatten(1))


class InceptionModule(nn.Module):
    def __init__(self, i: int, a: int, b: tuple[int, int], c: tuple[int, int], d: int) -> None:
        super().__init__()
        self.a, self.b = conv_bn(i, a), nn.Sequential(conv_bn(i, b[0]), conv_bn(b[0], b[1], 3))
        self.c = nn.Sequential(conv_bn(i, c[0]), conv_bn(c[0], c[1], 5))
        self.d = nn.Sequential(nn.MaxPool2d(3, 1, 1), conv_bn(i, d))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.a(x), self.b(x), self.c(x), self.d(x)], 1)


class GoogLeNet(nn.Module):
    """Szegedy et al. 2015, table 1, with batch-norm and an auxiliary head that only training uses."""

    ROWS = (
        (192, 64, (96, 128), (16, 32), 32), (256, 128, (128, 192), (32, 96), 64), "pool",
        (480, 192, (96, 208), (16, 48), 64), (512, 160, (112, 224), (24, 64), 64), (512, 128, (128, 256), (24, 64), 64),
        (512, 112, (144, 288), (32, 64), 64), (528, 256, (160, 320), (32, 128), 128), "pool",
        (832, 256, (160, 320), (32, 128), 128), (832, 384, (192, 384), (48, 128), 128),
    )  # fmt: skip

    def __init__(self, aux: bool = False) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            conv_bn(3, 64, 7, 2), nn.MaxPool2d(3, 2, 1), conv_bn(64, 64), conv_bn(64, 192, 3), nn.MaxPool2d(3, 2, 1)
        )
        self.blocks = nn.ModuleList([nn.MaxPool2d(3, 2, 1) if r == "pool" else InceptionModule(*r) for r in self.ROWS])
        self.aux = (
            nn.Sequential(nn.AdaptiveAvgPool2d(4), conv_bn(512, 128), nn.Flatten(), nn.Linear(2048, 1000))
            if aux
            else None
        )
        self.fc = nn.Linear(1024, 1000)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        x, extra = self.stem(x), None
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index == 3 and self.training and self.aux is not None:
                extra = self.aux(x)
        logits = self.fc(functional.adaptive_avg_pool2d(x, 1).flatten(1))
        return logits if extra is None else (logits, extra)


def shuffle(x: Tensor, groups: int) -> Tensor:
    n, c, h, w = x.shape
    return x.view(n, groups, c // groups, h, w).transpose(1, 2).contiguous().view(n, c, h, w)


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


class Basic(nn.Module):
    def __init__(self, c: int) -> None:
        super().__init__()
        self.a, self.b = conv_bn(c, c, 3), conv_bn(c, c, 3, act=None)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(x + self.b(self.a(x)))


class HRNet(nn.Module):
    """Sun et al. 2019: parallel resolutions of 18, 36, 72 channels that exchange by sums."""

    def __init__(self, widths: tuple[int, ...] = (18, 36, 72)) -> None:
        super().__init__()
        self.stem = nn.Sequential(conv_bn(3, 64, 3, 2), conv_bn(64, 64, 3, 2))
        self.enter = nn.ModuleList(
            [
                nn.Sequential(*[conv_bn(64 if k == 0 else w, w, 3, 2 if k else 1) for k in range(i + 1)])
                for i, w in enumerate(widths)
            ]
        )
        self.branches = nn.ModuleList([nn.ModuleList([Basic(w) for w in widths]) for _ in range(2)])
        self.fuse = nn.ModuleList(
            [
                nn.ModuleList(
                    [nn.ModuleList([self._path(widths, a, b) for a in range(len(widths))]) for b in range(len(widths))]
                )
                for _ in range(2)
            ]
        )
        self.head = nn.Conv2d(sum(widths), 19, 1)

    @staticmethod
    def _path(widths: tuple[int, ...], a: int, b: int) -> nn.Module:
        if a == b:
            return nn.Identity()
        if a > b:
            return conv_bn(widths[a], widths[b], act=None)
        return nn.Sequential(
            *[conv_bn(widths[a], widths[b] if k == b - a - 1 else widths[a], 3, 2, act=None) for k in range(b - a)]
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        xs = [enter(x) for enter in self.enter]
        for branches, fuse in zip(self.branches, self.fuse, strict=True):
            xs = [branch(x) for branch, x in zip(branches, xs, strict=True)]
            fused = []
            for b, paths in enumerate(fuse):
                terms = [
                    functional.interpolate(path(x), size=xs[b].shape[2:], mode="nearest") if a > b else path(x)
                    for a, (path, x) in enumerate(zip(paths, xs, strict=True))
                ]
                fused.append(functional.relu(sum(terms)))
            xs = fused
        size = xs[0].shape[-2:]
        return self.head(
            torch.cat([functional.interpolate(x, size=size, mode="bilinear", align_corners=False) for x in xs], 1)
        )


class RepBlock(nn.Module):
    def __init__(self, i: int, o: int, s: int) -> None:
        super().__init__()
        self.three, self.one = conv_bn(i, o, 3, s, act=None), conv_bn(i, o, 1, s, act=None)
        self.identity = nn.BatchNorm2d(i) if i == o and s == 1 else None

    def forward(self, x: Tensor) -> Tensor:
        y = self.three(x) + self.one(x)
        return functional.relu(y if self.identity is None else y + self.identity(x))


def repvgg_a0() -> nn.Module:
    """Ding et al. 2021, table 2, in the form it is trained in."""
    layers, i = [RepBlock(3, 48, 2)], 48
    for o, n in ((48, 2), (96, 4), (192, 14), (1280, 1)):
        for b in range(n):
            layers.append(RepBlock(i, o, 2 if b == 0 else 1))
            i = o
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1280, 1000))


class ConvNeXtBlock(nn.Module):
    def __init__(self, c: int) -> None:
        super().__init__()
        self.dwconv, self.norm = nn.Conv2d(c, c, 7, padding=3, groups=c), nn.LayerNorm(c)
        self.pw1, self.pw2 = nn.Linear(c, 4 * c), nn.Linear(4 * c, c)
        self.gamma = nn.Parameter(torch.full((c,), 0.5))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.dwconv(x).permute(0, 2, 3, 1))
        y = self.gamma * self.pw2(functional.gelu(self.pw1(y)))
        return x + y.permute(0, 3, 1, 2)


class ChannelsFirstNorm(nn.Module):
    def __init__(self, c: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(c)), nn.Parameter(torch.zeros(c))

    def forward(self, x: Tensor) -> Tensor:
        u = x.mean(1, keepdim=True)
        s = (x - u).pow(2).mean(1, keepdim=True)
        return self.weight[:, None, None] * ((x - u) / torch.sqrt(s + 1e-6)) + self.bias[:, None, None]


def convnext_tiny() -> nn.Module:
    """Liu et al. 2022: depths 3, 3, 9, 3, widths 96 to 768."""
    layers: list[nn.Module] = [nn.Conv2d(3, 96, 4, 4), ChannelsFirstNorm(96)]
    for index, (c, n) in enumerate(((96, 3), (192, 3), (384, 9), (768, 3))):
        if index:
            layers += [ChannelsFirstNorm(c // 2), nn.Conv2d(c // 2, c, 2, 2)]
        layers += [ConvNeXtBlock(c) for _ in range(n)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LayerNorm(768), nn.Linear(768, 1000))


class UNet(nn.Module):
    """Ronneberger et al. 2015 (same padding, batch-norm), with transposed convolutions."""

    def __init__(self, widths: tuple[int, ...] = (64, 128, 256, 512, 1024)) -> None:
        super().__init__()
        ins = (3, *widths[:-1])
        self.down = nn.ModuleList(
            [nn.Sequential(conv_bn(i, o, 3), conv_bn(o, o, 3)) for i, o in zip(ins, widths, strict=True)]
        )
        pairs = list(zip(widths[:0:-1], widths[-2::-1], strict=True))
        self.up = nn.ModuleList([nn.ConvTranspose2d(i, o, 2, 2) for i, o in pairs])
        self.merge = nn.ModuleList([nn.Sequential(conv_bn(2 * o, o, 3), conv_bn(o, o, 3)) for _, o in pairs])
        self.head = nn.Conv2d(widths[0], 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        skips = []
        for level, block in enumerate(self.down):
            x = block(functional.max_pool2d(x, 2) if level else x)
            skips.append(x)
        for up, merge, skip in zip(self.up, self.merge, skips[-2::-1], strict=True):
            x = merge(torch.cat([skip, up(x)], 1))
        return self.head(x)


class FPN(nn.Module):
    """Lin et al. 2017 on a small backbone; one head is used on every level (RetinaNet)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv_bn(3, 64, 3, 2)
        self.stages = nn.ModuleList(
            [nn.Sequential(conv_bn(i, o, 3, 2), Basic(o)) for i, o in ((64, 128), (128, 256), (256, 512))]
        )
        self.lateral = nn.ModuleList([nn.Conv2d(c, 256, 1) for c in (128, 256, 512)])
        self.smooth = nn.ModuleList([nn.Conv2d(256, 256, 3, padding=1) for _ in range(3)])
        self.head = nn.Sequential(
            nn.Conv2d(256, 256, 3, padding=1), nn.GroupNorm(32, 256), nn.ReLU(), nn.Conv2d(256, 36, 3, padding=1)
        )

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        x, features = self.stem(x), []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        top, outputs = None, {}
        for level in (2, 1, 0):
            y = self.lateral[level](features[level])
            top = y if top is None else y + functional.interpolate(top, scale_factor=2.0, mode="nearest")
            outputs[f"p{level}"] = self.head(self.smooth[level](top))
        return outputs


class Siamese(nn.Module):
    """Two inputs through one tower, compared by their difference and product."""

    def __init__(self) -> None:
        super().__init__()
        self.tower = nn.Sequential(conv_bn(3, 32, 3, 2), conv_bn(32, 64, 3, 2), Basic(64), conv_bn(64, 128, 3, 2))
        self.fc1, self.fc2 = nn.Linear(256, 64), nn.Linear(64, 1)

    def forward(self, left: Tensor, *, right: Tensor) -> Tensor:
        a, b = (self.tower(x).mean((2, 3)) for x in (left, right))
        return self.fc2(functional.relu(self.fc1(torch.cat([(a - b).abs(), a * b], 1))))
