"""Sites that cannot share images: merged statistics and the choice among candidates, against all images in one place.

    python -m benchmarks.sites --baseline artifacts/baseline --fetch artifacts/fetch

ResNet-20 candidates at half the MACs on CIFAR-10; ten sites, whose images are alike, of one class each, or few at some
and many at others. Beside it what each site would choose by its own statistics. Some three minutes on one idle core.
"""

import argparse
import copy
from collections.abc import Iterator
from pathlib import Path

import torch
from scipy.stats import kendalltau
from torch import Tensor, nn
from torch.nn import functional

import eyas
from benchmarks.candidates import draw
from benchmarks.common import publish, table
from eyas.adaptation.sites.collection import collect
from eyas.adaptation.sites.merging import merge
from eyas.adaptation.sites.site_losses import judge, rank
from eyas.adaptation.sites.site_statistics import SiteStatistics
from eyas.calibration import Calibrator
from eyas.calibration.batchnorm import named_batch_norms
from eyas.data import open_dataset
from eyas.networks.saved_network import load_network

IMAGES, SITES, CANDIDATES = 1000, 10, 6
Parts = tuple[Tensor, ...]


def spreads(labels: Tensor) -> dict[str, Parts]:
    """Which images lie at which site."""
    order = torch.randperm(IMAGES, generator=torch.Generator().manual_seed(0))
    sizes = [4, 8, 16, 24, 40, 64, 108, 136, 200]
    return {
        "alike, 100 each": order.split(IMAGES // SITES),
        "one class each": tuple(torch.nonzero(labels == k)[:, 0] for k in range(10)),
        "alike, 4 to 400 each": order.split([*sizes, IMAGES - sum(sizes)]),
    }


def merged_at(net: nn.Module, images: Tensor, parts: Parts, *, exact: bool = False) -> SiteStatistics:
    """Statistics of all sites; ``exact``: as many rounds as layers."""
    if not exact:
        return merge([collect(net, images[part], f"site{n}") for n, part in enumerate(parts)])
    merged = None
    for _ in named_batch_norms(net):
        told = [collect(net, images[part], f"site{n}", exact=True, merged=merged) for n, part in enumerate(parts)]
        merged = merge(told, merged)
    assert merged
    return merged


def central(net: nn.Module, images: Tensor, calibrator: str = "pooled") -> nn.Module:
    """The candidate with statistics of all images in one place, in mixed order."""
    net = copy.deepcopy(net)
    order = torch.randperm(IMAGES, generator=torch.Generator().manual_seed(1))
    Calibrator.parse(calibrator)(net, images[order].split(128))
    return net


@torch.inference_mode()
def loss_of(net: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Mean cross-entropy."""
    logits = torch.cat([net.eval()(part) for part in images.split(256)])
    return float(functional.cross_entropy(logits, labels))


def distance(merged: SiteStatistics, net: nn.Module) -> Iterator[float]:
    """By layer, the largest distance of a mean from the one of all images, in standard deviations."""
    for name, layer in named_batch_norms(net).items():
        off = merged.layers[name].mean - layer.running_mean.double()
        yield float((off.abs() / layer.running_var.double().sqrt()).max())


def main() -> None:
    """Measure and publish."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--baseline", type=Path, required=True)
    parser.add_argument("--fetch", type=Path, required=True)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    dataset, dense = open_dataset(asked.fetch), load_network(asked.baseline).model
    split = dataset.split("score")
    images, labels = dataset.normalise(split.images(IMAGES)), split.labels[:IMAGES].long()
    space = eyas.trace(dense, (images[:1],))
    plans = draw(space, 0.5, CANDIDATES, seed=0)
    nets = [eyas.prune(dense, space, plans[number]).eval() for number in range(CANDIDATES)]
    expected = [loss_of(central(net, images), images, labels) for net in nets]
    rows = []
    for name, parts in spreads(labels).items():
        joint, alone = [], [[] for _ in parts]
        for net in nets:
            merged = merged_at(net, images, parts)
            told = [judge(net, images[part], labels[part], f"site{n}", merged) for n, part in enumerate(parts)]
            joint.append(rank([told])[0].cross_entropy)
            for losses, part in zip(alone, parts, strict=True):
                own = merge([collect(net, images[part], "own")])
                one = judge(net, images[part], labels[part], "own", own)
                losses.append(one.cross_entropy / one.images)
        off = [*distance(merged_at(nets[0], images, parts), central(nets[0], images))]
        exactly = "-"
        if name == "one class each":
            rounds = merged_at(nets[0], images, parts, exact=True)
            exactly = f"{max(distance(rounds, central(nets[0], images, 'layer_by_layer'))):.1e}"
        taus = [kendalltau(losses, expected).statistic for losses in alone]
        winner = min(range(CANDIDATES), key=expected.__getitem__)
        chosen = sum(losses.index(min(losses)) == winner for losses in alone)
        row = (name, off[0], max(off), exactly, kendalltau(joint, expected).statistic)
        rows.append((*row, joint.index(min(joint)) == winner, sum(taus) / len(taus), min(taus), f"{chosen} of {SITES}"))
        print(*rows[-1], sep=" | ", flush=True)
    header = ("sites", "first layer", "any layer, one pass", "any layer, exact", "tau, merged", "same winner")
    header = (*header, "tau of a site alone", "worst site", "sites with the winner")
    notes = [
        f"{CANDIDATES} candidates of the adapted ResNet-20 at half the MACs, pruned and not trained; {IMAGES} images "
        f"of CIFAR-10 at {SITES} sites; in one place: `pooled` in mixed batches of 128.",
        "Layers: largest distance of a channel's mean from that in one place, in standard deviations, first candidate; "
        "exact against `layer_by_layer` in one place.",
        "tau: Kendall's, of cross-entropies over all candidates with those in one place.",
    ]
    publish("sites", "Statistics and choice of sites against one place", notes, table(header, rows))


if __name__ == "__main__":
    main()
