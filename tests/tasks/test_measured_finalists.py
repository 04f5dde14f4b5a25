"""The best finalist that keeps the limit when measured is the winner; times leave no trace but the choice."""

import numpy as np
import pytest
import torch

import eyas
import models
from eyas.config import BudgetParams
from eyas.deploy.latency import LatencyModel
from eyas.deploy.latency.eyas_profile import header, onnx_version
from eyas.sampling.budget import Budget
from eyas.sampling.samplers import Sampler
from eyas.scoring import ScoreTable
from tasks import measured_finalists
from tasks.measured_finalists import keep_latency
from tests.deploy.latency_tables import table_of

RANK = np.array([3, 1, 4, 2, 5, 6])
RUNG = np.array([1, 1, 1, 1, 0, 0])


@pytest.fixture(scope="module")
def space():
    return eyas.trace(models.build("resnet8", 10, width=4).eval(), (torch.zeros(1, 3, 8, 8),))


def score_table():
    score, none = np.linspace(1, 0, 6), np.full(6, np.nan)
    images = np.full(6, 100)
    return ScoreTable(score, none, none, none, images, RUNG, RANK)


def model_of(space, **fields):
    here = header("onnx", onnx_version(), 1, 1)
    return LatencyModel(space, table_of(space, **(here | fields)))


def choose(space, monkeypatch, times, limit=None, **fields):
    """``times``: of the dense network, then of candidates by number; the limit is 1 ms."""
    model = model_of(space, **fields)
    asked = BudgetParams(**(limit or {"latency_ms": 1.0}))
    budget = Budget.parse(space, {"latency": 0.8}, latency=model)
    widths = Sampler.parse("budget").ask(space, budget, 6, seed=0)
    dense = [group.channels for group in space.groups]
    number_of = {tuple(row): number for number, row in enumerate(widths.tolist())}
    asked_for = []

    def measured(_, rows, __):
        assert rows[0].tolist() == dense
        asked_for.extend(number_of[tuple(row)] for row in rows[1:].tolist())
        return np.array([times[0], *(times[1 + number] for number in asked_for)])

    monkeypatch.setattr(measured_finalists, "time_networks", measured)
    table, passed_over = keep_latency(score_table(), widths, budget, asked)
    return table, passed_over, asked_for


def test_a_winner_within_ten_percent_stays(space, monkeypatch):
    table, passed_over, measured = choose(space, monkeypatch, [2, 1, 1.09, 1, 1, 1, 1])
    assert table.rank.tolist() == RANK.tolist()
    assert passed_over == ()
    assert measured == [1, 3, 0, 2]


def test_the_next_finalist_is_taken_that_keeps_the_limit(space, monkeypatch):
    table, passed_over, _ = choose(space, monkeypatch, [2, 1.05, 1.11, 1, 1.2, 1, 1])
    assert table.winner == 0
    assert passed_over == (1, 3)
    assert table.rank.tolist() == [1, 2, 4, 3, 5, 6]


def test_where_none_keeps_the_limit_the_best_stays_and_the_log_says_so(space, monkeypatch, caplog):
    table, passed_over, _ = choose(space, monkeypatch, [2, 1.3, 1.4, 1.25, 1.5, 1, 1])
    assert table.rank.tolist() == RANK.tolist()
    assert passed_over == ()
    assert "none of 4 finalists keeps the limit of 1 ms within 10 % here; the fastest takes 1.25 ms" in caplog.text


def test_a_share_is_held_against_the_dense_network_measured_beside(space, monkeypatch):
    table, _, _ = choose(space, monkeypatch, [3, 1, 1.6, 1, 1.7, 1, 1], {"latency": 0.5})
    assert table.winner == 1
    table, _, _ = choose(space, monkeypatch, [2, 1, 1.6, 1, 1.7, 1, 1], {"latency": 0.5})
    assert table.winner == 0


def test_a_profile_of_another_device_is_not_measured_here(space, monkeypatch, caplog):
    caplog.set_level("INFO")
    other = {"cpu": "Cortex-A76", "cores": 4, "machine": "aarch64", "system": "Linux"}
    table, _, measured = choose(space, monkeypatch, [2, 9, 9, 9, 9, 9, 9], device=other)
    assert table.winner == 1
    assert measured == []
    assert "not measured here: the latency profile is of" in caplog.text
    assert "Cortex-A76" in caplog.text


def test_without_a_limit_of_milliseconds_nothing_is_measured(space):
    budget = Budget.of(space, "macs", 0.5)
    table, passed_over = keep_latency(score_table(), np.empty((6, 0), int), budget, BudgetParams(macs=0.5))
    assert (table.winner, passed_over) == (1, ())
