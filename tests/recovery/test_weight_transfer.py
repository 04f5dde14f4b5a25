"""Fused filters and merged channels: what they compute, their limits, and what they leave alone."""

import pytest
import torch
from torch import nn

import eyas
from eyas.pruning.criteria.random import Random
from eyas.recovery.base import Recovery
from eyas.recovery.fusion import Fusion, fusion_matrix
from eyas.recovery.neuron_merging import NeuronMerging, merging_matrix
from eyas.recovery.weight_transfer import transfer
from tests.recovery.test_refit import IMAGES, NETWORKS, Duplicated, calibrated, half

KEPT = (1, 3, 4, 6)


def filters(seed: int = 0) -> torch.Tensor:
    return torch.randn(6, 20, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def plain() -> nn.Sequential:
    """Two layers make the channels of the stream, and one those of the branch."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 5, 3), nn.Flatten(), nn.Linear(980, 4))


def transferred(recovery: Recovery, kept: tuple[int, ...] = KEPT) -> tuple[nn.Sequential, nn.Sequential]:
    """The dense network, and the pruned one with weights transferred and nothing else."""
    model = plain().double().eval()
    space = eyas.trace(model, (IMAGES[:2].double(),))
    plan = eyas.PruningPlan(space=space.fingerprint, channels={"0": 8, "2": 5}, kept={"0": kept, "2": (0, 1, 2, 3, 4)})
    small = eyas.prune(model, space, plan).eval()
    transfer(recovery, model, small, space, plan)
    return model, small


@pytest.mark.parametrize("temperature", [1e-6, 0.1, 1.0, 5.0, 100.0, 1e4])
def test_rows_of_the_fusion_sum_to_one(temperature: float) -> None:
    fuse_UU = fusion_matrix([filters(), filters(1)], temperature)
    assert fuse_UU.isfinite().all()
    assert (fuse_UU >= 0).all()
    torch.testing.assert_close(fuse_UU.sum(1), torch.ones(6, dtype=torch.float64))


def test_the_fusion_is_the_softmax_of_distances_over_their_median() -> None:
    """By plain loops."""
    own = filters()
    distances = [[float((a - b).square().sum().sqrt()) for b in own] for a in own]
    median = torch.tensor([d for i, row in enumerate(distances) for j, d in enumerate(row) if i != j]).double().median()
    for j, row in enumerate(distances):
        powers = [2.718281828459045 ** (-3.0 * d / float(median)) for d in row]
        expected = torch.tensor([power / sum(powers) for power in powers], dtype=torch.float64)
        torch.testing.assert_close(fusion_matrix([own], 3.0)[j], expected)


def test_duplicates_have_equal_entries_in_the_fusion() -> None:
    own = filters()
    own[4] = own[1]
    fuse_UU = fusion_matrix([own], 5.0)
    torch.testing.assert_close(fuse_UU[1], fuse_UU[4], rtol=0, atol=0)
    torch.testing.assert_close(fuse_UU[:, 1], fuse_UU[:, 4], rtol=0, atol=0)


def test_hot_fusion_is_slicing_and_cold_fusion_the_mean_filter() -> None:
    model, hot = transferred(Fusion(temperature=1e6))
    assert torch.equal(hot[0].weight, model[0].weight[list(KEPT)])
    assert torch.equal(hot[0].bias, model[0].bias[list(KEPT)])
    _, cold = transferred(Fusion(temperature=1e-9))
    mean = model[0].weight.mean(0, keepdim=True).expand(4, -1, -1, -1)
    torch.testing.assert_close(cold[0].weight, mean, rtol=0, atol=1e-8)
    torch.testing.assert_close(cold[0].bias, model[0].bias.mean().expand(4), rtol=0, atol=1e-8)


def test_a_fused_layer_makes_the_fusion_times_what_the_dense_one_made() -> None:
    model, small = transferred(Fusion())
    fuse_KU = fusion_matrix([model[0].weight.flatten(1).detach()], 5.0)[list(KEPT)]
    images = IMAGES.double()
    with torch.no_grad():
        expected = torch.einsum("ku,nuhw->nkhw", fuse_KU, model[0](images))
        torch.testing.assert_close(small[0](images), expected)
        assert not torch.allclose(small[0](images), model[0](images)[:, list(KEPT)])
    assert torch.equal(small[2].weight, model[2].weight[:, list(KEPT)])


def test_merged_duplicates_are_exact_also_behind_batch_norm() -> None:
    model = calibrated(Duplicated()).double().eval()
    for tensor in (model.bn.weight.data, model.bn.bias.data, model.bn.running_mean, model.bn.running_var):
        tensor[3] = tensor[0]
    space = eyas.trace(model, (IMAGES[:2].double(),))
    plan = eyas.PruningPlan(space=space.fingerprint, channels={"a": 4}, kept={"a": (0, 1, 2)})
    small = eyas.prune(model, space, plan).eval()
    transfer(NeuronMerging(), model, small, space, plan)
    with torch.no_grad():
        for dense, merged in zip(model(IMAGES.double()), small(IMAGES.double()), strict=True):
            torch.testing.assert_close(merged, dense)
    report = eyas.refit(model, eyas.prune(model, space, plan), space, plan, IMAGES.double(), recovery="neuron_merging")
    assert report.error_after < 1e-3 * report.error_before
    assert not report.undone


def test_a_multiple_of_a_filter_is_read_as_so_much_of_it() -> None:
    """Without batch-norm, behind a ReLU: ``relu(s w x) = s relu(w x)``."""
    model, _ = transferred(NeuronMerging())
    with torch.no_grad():
        for removed, factor in ((0, 2.5), (2, 0.5), (5, 1.0), (7, 3.0)):
            model[0].weight[removed], model[0].bias[removed] = factor * model[0].weight[4], factor * model[0].bias[4]
    space = eyas.trace(model, (IMAGES[:2].double(),))
    plan = eyas.PruningPlan(space=space.fingerprint, channels={"0": 8, "2": 5}, kept={"0": KEPT, "2": (0, 1, 2, 3, 4)})
    small = eyas.prune(model, space, plan).eval()
    transfer(NeuronMerging(), model, small, space, plan)
    with torch.no_grad():
        torch.testing.assert_close(small(IMAGES.double()), model(IMAGES.double()))


def test_channels_are_merged_into_the_kept_one_of_the_largest_cosine_or_lost() -> None:
    own = torch.tensor([[1.0, 0.0], [0.0, 1.0], [2.0, 0.2], [-1.0, 0.0], [0.6, 0.8]], dtype=torch.float64)
    kept = torch.tensor([True, True, False, False, False])
    merge_UU = merging_matrix(own, own.norm(dim=1), kept, 0.9)
    expected = torch.zeros(5, 5, dtype=torch.float64)
    expected[0, 2] = own[2].norm()
    torch.testing.assert_close(merge_UU, expected)
    expected[1, 4] = 1.0
    torch.testing.assert_close(merging_matrix(own, own.norm(dim=1), kept, 0.5), expected)
    negative = own.norm(dim=1) * torch.tensor([1, 1, -1, 1, 1])
    assert not merging_matrix(own, negative, kept, 0.9).any()


def test_groups_with_grouped_convolutions_stay_as_they_were_sliced() -> None:
    torch.manual_seed(1)
    model = calibrated(NETWORKS["depthwise"]())
    space, plan, small = half(model)
    before = {name: weight.clone() for name, weight in small.named_parameters()}
    transfer(Fusion(temperature=1.0), model, small, space, plan)
    changed = {name for name, weight in small.named_parameters() if not torch.equal(weight, before[name])}
    assert {"0.0.weight", "1.project.0.weight"} <= changed
    assert not any(".expand.0" in name or "depthwise" in name for name in changed)


def test_a_random_choice_is_nearer_the_dense_answers_after_merging_copies() -> None:
    """Every channel has a copy: whatever is kept, if one of each pair is, nothing is lost."""
    torch.manual_seed(0)
    model = plain().double().eval()
    with torch.no_grad():
        model[0].weight[4:], model[0].bias[4:] = model[0].weight[:4], model[0].bias[:4]
    space = eyas.trace(model, (IMAGES[:2].double(),))
    plan = space.plan({"0": 4, "2": 5}, Random(seed=0))
    pairs = {channel % 4 for channel in plan.kept["0"]}
    small = eyas.prune(model, space, plan).eval()
    report = eyas.refit(model, small, space, plan, IMAGES.double(), recovery="neuron_merging")
    lost = len(pairs) < 4
    assert (report.error_after < 1e-12) == (not lost)
    assert report.error_after < report.error_before
