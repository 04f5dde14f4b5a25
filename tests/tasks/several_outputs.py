"""Small networks that answer with several tensors, in every structure that people use."""

from collections import namedtuple
from dataclasses import dataclass

from torch import Tensor, nn

Answer = namedtuple("Answer", ["features", "classes", "aux"])


@dataclass
class Record:
    """As detection and language libraries answer."""

    classes: Tensor
    features: Tensor
    loss: None = None


class Several(nn.Module):
    """Two convolutions, a head, an auxiliary head, and features, answered with as ``kind`` says."""

    def __init__(self, num_classes: int, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.stem = nn.Sequential(nn.Conv2d(1, 12, 3, padding=1), nn.BatchNorm2d(12), nn.ReLU(), nn.MaxPool2d(2))
        self.body = nn.Sequential(nn.Conv2d(12, 24, 3, padding=1), nn.BatchNorm2d(24), nn.ReLU())
        self.head, self.aux = nn.Linear(24, num_classes), nn.Linear(12, num_classes)

    def forward(self, x: Tensor) -> object:
        stem = self.stem(x)
        features, aux = self.body(stem).mean((2, 3)), self.aux(stem.mean((2, 3)))
        classes = self.head(features)
        return {
            "tuple": (features, classes),
            "dict": {"aux": aux, "logits": classes, "answer": classes.argmax(1)},
            "list": [features, {"heads": (aux, classes)}],
            "namedtuple": Answer(features, classes, aux),
            "dataclass": Record(classes, features),
            "training": (classes, aux) if self.training else classes,
        }[self.kind]


def build(num_classes: int, kind: str = "tuple") -> nn.Module:
    """The network."""
    return Several(num_classes, kind)
