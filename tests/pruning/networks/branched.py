"""Networks of many branches: DenseNet, GoogLeNet, HRNet, U-Net, FPN, Siamese."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.pruning.networks.blocks import conv_bn


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
