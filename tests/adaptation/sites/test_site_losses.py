"""Candidates ranked over sites against the same in one place."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from eyas.adaptation.sites.collection import collect
from eyas.adaptation.sites.merging import merge
from eyas.adaptation.sites.network_digest import network_digest
from eyas.adaptation.sites.site_losses import SiteLosses, judge, rank
from eyas.calibration import Calibrator
from eyas.errors import DataError
from tests.adaptation.sites.conftest import network

CANDIDATES = [(6, 0), (3, 1), (12, 2)]


def over_sites(net: nn.Module, images: Tensor, labels: Tensor, parts: list[Tensor]) -> list[SiteLosses]:
    """Statistics merged, losses of each site."""
    merged = merge([collect(net, images[part], f"s{n}", batch_size=60) for n, part in enumerate(parts)])
    told = [judge(net, images[part], labels[part], f"s{n}", merged) for n, part in enumerate(parts)]
    return [SiteLosses.decode(one.encode(), one.network, one.merged) for one in told]


def central_loss(net: nn.Module, images: Tensor, labels: Tensor, batches: tuple[Tensor, ...]) -> float:
    """In one place: ``pooled``, then the mean cross-entropy."""
    net = copy.deepcopy(net)
    Calibrator.parse("pooled")(net, batches)
    with torch.inference_mode():
        return float(functional.cross_entropy(net(images), labels))


@pytest.mark.parametrize("spread", ["alike", "one class each", "one image alone"])
def test_losses_and_winner_are_those_of_one_place(images, labels, spread):
    order = torch.randperm(60, generator=torch.Generator().manual_seed(3))
    parts = {
        "alike": list(order.split(15)),
        "one class each": [torch.nonzero(labels == k)[:, 0] for k in range(4)],
        "one image alone": [order[:1], order[1:]],
    }[spread]
    nets = [network(*candidate) for candidate in CANDIDATES]
    ranked = rank([over_sites(net, images, labels, parts) for net in nets])
    central = [central_loss(net, images, labels, tuple(images[part] for part in parts)) for net in nets]
    assert [one.cross_entropy for one in ranked] == pytest.approx(sorted(central), rel=1e-9)
    assert ranked[0].network == network_digest(nets[central.index(min(central))])
    assert {one.images for one in ranked} == {60}


def test_sites_with_one_class_each_disagree_by_their_own_statistics_alone(images, labels):
    """Each alone normalises its class away; with merged statistics each sees the same network."""
    net, parts = network(), [torch.nonzero(labels == k)[:, 0] for k in range(4)]
    alone = [collect(net, images[part], "s").layers["1"].mean for part in parts]
    assert max(float((one - alone[0]).abs().max()) for one in alone) > 1
    answers = []
    merged = merge([collect(net, images[part], f"s{n}") for n, part in enumerate(parts)])
    for part in parts:
        own = merge([collect(net, images[part], "s")])
        losses = [judge(net, images[part], labels[part], "s", statistics) for statistics in (own, merged)]
        answers.append([one.cross_entropy / one.images for one in losses])
    own, joint = torch.tensor(answers).mean(0).tolist()
    assert joint == pytest.approx(central_loss(net, images, labels, tuple(images[part] for part in parts)), rel=1e-6)
    assert abs(own - joint) > 1e-3


def test_a_site_counts_by_its_images():
    def told(site: str, images: int, loss: float) -> SiteLosses:
        return SiteLosses("a" * 64, site, images, loss, images // 2, "b" * 64)

    (ranked,) = rank([[told("large", 98, 98.0), told("small", 2, 20.0)]])
    assert (ranked.cross_entropy, ranked.accuracy, ranked.images) == (1.18, 0.5, 100)
    assert ranked.by_site == {"large": 1.0, "small": 10.0}


def test_candidates_are_only_ranked_on_the_same_images():
    def told(site: str, images: int) -> SiteLosses:
        return SiteLosses("a" * 64, site, images, 1.0, 0, "b" * 64)

    with pytest.raises(DataError, match="on other images .north 5; north 5, south 3.: let each site judge all"):
        rank([[told("north", 5)], [told("north", 5), told("south", 3)]])
    with pytest.raises(DataError, match=r"on other images .none; none."):
        rank([[]])
    with pytest.raises(DataError, match="a site stands twice"):
        rank([[told("north", 5), told("north", 5)]])


def test_nothing_is_judged_by_half_of_the_statistics_or_with_labels_that_do_not_fit(net, images, labels):
    half = merge([collect(net, images, "s", exact=True)])
    with pytest.raises(DataError, match="the merged statistics lack 1 layers, 4 first"):
        judge(net, images, labels, "s", half)
    merged = merge([collect(net, images, "s")])
    with pytest.raises(DataError, match="a class number for each of 60 `images`"):
        judge(net, images, labels[:-1], "s", merged)
    with pytest.raises(DataError, match="`labels` go to 4, the network answers with"):
        judge(net, images, labels + 1, "s", merged)
    with pytest.raises(DataError, match="those of another network"):
        judge(network(seed=5), images, labels, "s", merged)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda images: images.byte(), "`images` are torch.uint8: give normalised floats"),
        (lambda images: images[:, 0], r"`images` have shape \(60, 8, 8\): give \(N, C, H, W\)"),
        (lambda images: images[:, :2], r"`images` of shape \(60, 2, 8, 8\) do not go through the network: "),
        (lambda images: images[..., :6], r"`images` of shape \(60, 3, 8, 6\) do not go through the network: "),
        (lambda images: images.float(), r"`images` of shape \(60, 3, 8, 8\) do not go through the network: "),
        (lambda images: images / 0, "`images` hold values that are not finite"),
    ],
)
@pytest.mark.parametrize("exact", [False, True])
def test_images_that_the_network_does_not_take_are_told_in_a_line(images, labels, spoil, message, exact):
    model = nn.Sequential(*network()[:6], nn.Flatten(), nn.Linear(72, 4).double())  # takes images of one size
    merged = merge([collect(model, images, "north")])
    calls = [lambda: collect(model, spoil(images), "north", exact=exact)]
    calls.append(lambda: judge(model, spoil(images), labels, "north", merged))
    for call in calls:
        with pytest.raises(DataError, match=message) as refused:
            call()
        assert "\n" not in str(refused.value)
