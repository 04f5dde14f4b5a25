"""How fresh weights are drawn, the same for every architecture here."""

from torch import nn


def initialise(model: nn.Module, *, linear_std: float = 0.01) -> None:
    """Draw convolutions by He et al. 2015 (arXiv:1502.01852, fan-out), linear layers from a narrow normal.

    Fan-out is divided by the number of groups, so that depthwise convolutions keep the variance too.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            fan_out = module.weight[0, 0].numel() * module.out_channels // module.groups
            nn.init.normal_(module.weight, std=(2.0 / fan_out) ** 0.5)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=linear_std)
            nn.init.zeros_(module.bias)
