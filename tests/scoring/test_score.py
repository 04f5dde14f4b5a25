"""eyas.score as users call it: what a score is, and how candidates are ranked."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

import eyas
from eyas.errors import EyasError
from eyas.scoring import Rung
from eyas.scoring.engine import Engine
from tests.scoring.conftest import FUSED, HELD_OUT, RACE


def by_hand(scene, plan, order):
    """Held-out cross-entropy per image, by eyas.prune, a loop over batches and numpy."""
    small = eyas.prune(scene.model, scene.space, plan)
    calibration = scene.calibration[torch.randperm(160, generator=order)]
    scoring_order = torch.randperm(240, generator=order)
    seen = {}
    norms = [m for m in small.modules() if isinstance(m, nn.BatchNorm2d)]
    handles = [n.register_forward_pre_hook(lambda m, x: seen.setdefault(m, []).append(x[0].detach())) for n in norms]
    for layer in norms:
        layer.train()
    with torch.no_grad():
        for batch in calibration.tensor_split(2):
            small(batch)
    for handle in handles:
        handle.remove()
    for layer in norms:
        values = torch.cat([x.transpose(0, 1).flatten(1) for x in seen[layer]], 1).double()
        layer.running_mean, layer.running_var = values.mean(1).float(), values.var(1, unbiased=False).float()
    with torch.no_grad():
        logits = small.eval()(scene.scoring[scoring_order]).double().numpy()
    labels = scene.labels[scoring_order].numpy()
    logp = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    return logp[np.arange(240), labels], logits.argmax(1) == labels


def test_held_out_score_is_what_the_definition_says(scene):
    table = scene.score(rungs=HELD_OUT, seed=5)
    for number in (0, 7, 23):
        image_scores, right = by_hand(scene, scene.plans[number], torch.Generator().manual_seed(5))
        assert table.score[number] == pytest.approx(image_scores.mean(), abs=2e-5)
        assert table.cross_entropy[number] == pytest.approx(-image_scores.mean(), abs=2e-5)
        assert table.standard_error[number] == pytest.approx(image_scores.std(ddof=1) / 240**0.5, rel=1e-3)
        assert table.accuracy[number] == pytest.approx(right.mean())


def test_fused_score_normalises_each_batch_by_itself(scene):
    table = scene.score(rungs=FUSED, batch_size=80)
    small = eyas.prune(scene.model, scene.space, scene.plans[3]).train()
    small.drop.eval()
    order = torch.Generator().manual_seed(0)
    torch.randperm(160, generator=order)
    shuffled = torch.randperm(240, generator=order)
    logits = torch.cat([small(x) for x in scene.scoring[shuffled].split(80)]).detach()
    expected = nn.functional.cross_entropy(logits, scene.labels[shuffled])
    assert table.cross_entropy[3] == pytest.approx(float(expected), abs=1e-5)


def test_rank_counts_the_rung_first_then_the_score(scene):
    table = scene.score(rungs=RACE)
    assert sorted(table.rank) == list(range(1, 25))
    order = np.argsort(table.rank)
    keys = [(-table.rung[c], -table.score[c]) for c in order]
    assert keys == sorted(keys)
    assert table.winner == order[0]
    assert np.bincount(table.rung).tolist() == [12, 8, 4]
    assert set(zip(table.rung.tolist(), table.images.tolist(), strict=True)) == {(0, 60), (1, 120), (2, 240)}


def test_survivors_are_the_best_of_their_rung(scene):
    alone = scene.score(rungs=[RACE[0]])
    table = scene.score(rungs=RACE)
    assert set(np.flatnonzero(table.rung > 0)) == set(np.argsort(-alone.score)[:12])


def test_same_seed_same_table_other_seed_other_images(scene):
    one, same, other = (scene.score(rungs=RACE, seed=seed) for seed in (1, 1, 2))
    for name, column in one.columns().items():
        assert np.array_equal(column, same.columns()[name])
    assert not np.array_equal(one.score, other.score)


def test_the_network_is_left_as_it_was(scene):
    before, flags = copy.deepcopy(scene.model.state_dict()), [m.training for m in scene.model.modules()]
    scene.score(rungs=RACE)
    assert all(torch.equal(value, before[name]) for name, value in scene.model.state_dict().items())
    assert [m.training for m in scene.model.modules()] == flags


def test_equal_candidates_are_measured_once(scene, monkeypatch):
    launched = []
    launch = Engine.launch
    monkeypatch.setattr(Engine, "launch", lambda self, *a: launched.append(1) or launch(self, *a))
    plans = [scene.plans[n] for n in (4, 5, 4, 6, 5, 4)]
    table = scene.score(plans, rungs=FUSED)
    assert len(launched) == 3
    assert table.score[0] == table.score[2] == table.score[5]
    assert sorted(table.rank) == [1, 2, 3, 4, 5, 6]


def test_a_list_of_plans_scores_as_the_width_matrix_does(scene):
    lazy = scene.score(rungs=FUSED)
    eager = scene.score(list(scene.plans), rungs=FUSED)
    assert np.array_equal(lazy.score, eager.score)


def test_without_labels_the_dense_network_is_the_measure(scene):
    dense = np.array([[g.channels for g in scene.space.groups]])
    plans = [*scene.plans, scene.space.plan(dense[0])]
    table = eyas.score(scene.model, scene.space, plans, scene.calibration, scene.scoring, rungs=HELD_OUT)
    assert table.settings["scorer"]["kind"] == "dense_kl"
    assert np.isnan(table.accuracy).all()
    assert np.isnan(table.cross_entropy).all()
    assert table.rank[24] <= 3
    assert (table.score <= 0).all()


def test_more_images_than_there_are_is_all_of_them(scene):
    table = scene.score(rungs=[Rung(images=256), Rung(images=4096), Rung(images=4096, mode="held_out")])
    assert table.images.max() == 240
    assert len(table.settings["rungs"]) == 2


def test_what_the_scores_depend_on_is_on_record(scene):
    table = scene.score(rungs=FUSED, batch_size=60, seed=3)
    assert table.settings["batch_size"] == 60
    assert table.settings["seed"] == 3
    assert table.settings["calibrator"] == {"kind": "pooled"}


def test_a_cluster_may_have_the_gpus_that_this_machine_lacks(scene, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    pools = []

    def pool(*_, **how):
        pools.append(how)
        raise EyasError("stop")

    monkeypatch.setattr("eyas.scoring.workers.start.RayPool", pool)
    with pytest.raises(EyasError, match="stop"):
        scene.score(rungs=FUSED, device="cuda", cluster="ray://there:10001")
    assert pools[0]["device"] == "cuda"
