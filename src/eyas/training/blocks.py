"""The blocks of a network: what is frozen, or scaled, as one."""

from collections import Counter

from torch import nn

_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
_FEWEST = 2

Block = tuple[str, ...]
"""Names of the modules that make one."""


def middle_blocks(model: nn.Module) -> list[Block]:
    """What lies between the first layers and the last: the outermost modules of a class that occurs several times.

    Those are the residual blocks, or whole stages, of most networks. What holds the first or the last layer is none.
    Where there are none, every convolution or linear layer with what is
    registered after it is one, but for the first and the last.
    """
    layers = [module for module in model.modules() if isinstance(module, _LAYERS)]
    ends = set(map(id, (*layers[:1], *layers[-1:])))
    modules = {
        name: module
        for name, module in model.named_modules()
        if name and _holds_layers(module) and not any(id(part) in ends for part in module.modules())
    }
    times = Counter(type(module) for module in modules.values())
    repeated: list[str] = []
    for name, module in modules.items():
        inside = any(name.startswith(f"{outer}.") for outer in repeated)
        if times[type(module)] >= _FEWEST and not inside:
            repeated.append(name)
    return [(name,) for name in repeated] if len(repeated) >= _FEWEST else _layers(model)[1:-1]


def _holds_layers(module: nn.Module) -> bool:
    inner = (part for part in module.modules() if part is not module)
    return not isinstance(module, _CONTAINERS) and any(isinstance(part, _LAYERS) for part in inner)


def _layers(model: nn.Module) -> list[Block]:
    """Each layer with the parameters that follow it."""
    blocks: list[Block] = []
    for name, module in model.named_modules():
        if isinstance(module, _LAYERS):
            blocks.append((name,))
        elif blocks and any(True for _ in module.parameters(recurse=False)):
            blocks[-1] += (name,)
    return blocks
