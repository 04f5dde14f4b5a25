"""How many units each layer keeps where small layers are to keep a larger share.

U units (single weights, blocks) of a layer.
"""

from collections.abc import Mapping

from torch import Tensor


def erk_kept(weights: Mapping[str, Tensor], units: Mapping[str, int], kept: int) -> dict[str, int]:
    r"""Units that each layer keeps, ``kept`` in all, by the Erdos-Renyi kernel (GraNet, arXiv:2106.10404).

    .. math:: d_l = \min(1, \epsilon (C_{out} + C_{in} + K_h + K_w) / (C_{out} C_{in} K_h K_w))

    is a layer's density: those that would pass 1 stay dense, and the others share what is left (Evci et al. 2020,
    arXiv:1911.11134). Rounded by largest remainder, so that the sum is exact; a layer keeps one unit at least.

    Args:
        weights: of each layer; only their shapes count.
        units: how many each layer has.
        kept: of all layers, at least one each and at most all.
    """
    raw = {name: sum(weight.shape) / weight.numel() for name, weight in weights.items()}
    dense: set[str] = set()
    while True:
        free = [name for name in weights if name not in dense]
        asked = sum(raw[name] * units[name] for name in free)
        scale = (kept - sum(units[name] for name in dense)) / asked if free else 0.0
        full = {name for name in free if scale * raw[name] >= 1}
        if not full:
            break
        dense |= full
    exact = {name: float(units[name]) if name in dense else scale * raw[name] * units[name] for name in weights}
    return _rounded(exact, units, kept)


def _rounded(exact: Mapping[str, float], units: Mapping[str, int], total: int) -> dict[str, int]:
    """Whole numbers from 1 to ``units`` that sum to ``total``, next to the exact ones."""
    whole = {name: min(units[name], max(1, int(number))) for name, number in exact.items()}
    while (lacking := total - sum(whole.values())) != 0:
        step = 1 if lacking > 0 else -1
        open_layers = [name for name in whole if 1 <= whole[name] + step <= units[name]]
        name = max(open_layers, key=lambda name: step * (exact[name] - whole[name]))
        whole[name] += step
    return whole
