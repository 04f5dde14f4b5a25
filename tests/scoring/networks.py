"""Small networks and images for scoring tests; made here, so that other processes can build them too."""

import torch
from torch import nn


class Net(nn.Module):
    """Two convolutions with batch-norm and dropout, then a classifier."""

    def __init__(self, norm=nn.BatchNorm2d):
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(3, 10, 3, padding=1), norm(10)
        self.conv2, self.norm2 = nn.Conv2d(10, 14, 3, padding=1), norm(14)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(14, 5)

    def forward(self, x):
        x = self.norm1(self.conv1(x)).relu()
        x = self.norm2(self.conv2(x)).relu()
        return self.head(self.drop(x.mean((2, 3))))


class Deep(Net):
    """A third convolution: more widths to choose from."""

    def __init__(self):
        super().__init__()
        self.conv3, self.norm3 = nn.Conv2d(14, 12, 3, padding=1), nn.BatchNorm2d(12)
        self.head = nn.Linear(12, 5)

    def forward(self, x):
        x = self.norm1(self.conv1(x)).relu()
        x = self.norm2(self.conv2(x)).relu()
        x = self.norm3(self.conv3(x)).relu()
        return self.head(self.drop(x.mean((2, 3))))


def images(count, seed):
    return torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(seed))


def trained(norm=nn.BatchNorm2d, factory=Net):
    """A network that has learnt which of five patterns an image holds, and such images."""
    torch.manual_seed(0)
    model = factory(norm) if factory is Net else factory()
    patterns = images(5, 1)
    labels = torch.randint(0, 5, (700,), generator=torch.Generator().manual_seed(2))
    data = patterns[labels] + 1.5 * images(700, 3)
    optimiser = torch.optim.Adam(model.parameters(), 0.01)
    for step in range(120):
        part = slice(step * 50 % 300, step * 50 % 300 + 50)
        nn.functional.cross_entropy(model(data[part]), labels[part]).backward()
        optimiser.step()
        optimiser.zero_grad()
    return model.eval(), data[300:], labels[300:]


class Several(nn.Module):
    """A network with several outputs, as a tuple or by name."""

    def __init__(self, inner, kind):
        super().__init__()
        self.inner, self.kind = inner, kind

    def forward(self, x):
        logits = self.inner(x)
        return {"tuple": (logits, logits * 2), "dict": {"aux": -logits, "logits": logits}}[self.kind]
