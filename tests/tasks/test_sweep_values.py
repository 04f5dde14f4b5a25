"""What ``--sweep`` makes of its values: overrides of each profile, or one line that says what is wrong."""

import pytest

from eyas.errors import ParameterError
from tasks.sweep_values import MOST_PROFILES, budget_sweep, swept_overrides


def test_a_value_is_a_profile_and_several_sweeps_are_multiplied() -> None:
    assert swept_overrides(["sample.budget.macs=0.75,0.5,0.25"]) == [
        *(["sample.budget.macs=0.75"], ["sample.budget.macs=0.5"], ["sample.budget.macs=0.25"]),
    ]
    grid = swept_overrides(["sample.budget.macs=0.5,0.25", "finetune.seed=1,2"], ["score.seed=3"])
    assert grid == [
        ["sample.budget.macs=0.5", "finetune.seed=1"],
        ["sample.budget.macs=0.5", "finetune.seed=2"],
        ["sample.budget.macs=0.25", "finetune.seed=1"],
        ["sample.budget.macs=0.25", "finetune.seed=2"],
    ]


@pytest.mark.parametrize(
    ("sweep", "items"),
    [
        ("score.scorer=top1,cross_entropy", ["score.scorer=top1", "score.scorer=cross_entropy"]),
        ("sample.budget={macs: 0.5, params: 0.4}, {macs: 0.2}", [
            'sample.budget={"macs": 0.5, "params": 0.4}', 'sample.budget={"macs": 0.2}',
        ]),
        ("fetch.train='1','2'", ['fetch.train="1"', 'fetch.train="2"']),
        ("finetune.compare_uniform=true,false", ["finetune.compare_uniform=true", "finetune.compare_uniform=false"]),
        ("sample.budget.macs=.5", ["sample.budget.macs=0.5"]),
    ],
)  # fmt: skip
def test_values_are_yaml(sweep: str, items: list[str]) -> None:
    assert swept_overrides([sweep]) == [[item] for item in items]


@pytest.mark.parametrize(
    ("sweeps", "overrides", "why"),
    [
        (["sample.budget.macs"], [], "--sweep sample.budget.macs: expected section.field=value,value, for instance"),
        (["sample.budget.macs="], [], "expected section.field=value,value"),
        (["macs=0.5,0.25"], [], "expected section.field=value,value"),
        (["sample.budget.macs=0.5,,0.25"], [], "--sweep sample.budget.macs=0.5,,0.25: the values is not YAML"),
        (["promote.margin=0.1,0.2"], [], "--sweep promote.margin: no stage reads it"),
        (["score.seed=1,2,1"], [], "score.seed=1 stands there twice"),
        (["score.seed=1,2", "score.seed=3"], [], "--sweep score.seed: is swept twice"),
        (["score.seed=1,2"], ["score.seed=3"], "--sweep score.seed: is set, too: say it once"),
        ([f"score.seed={','.join(map(str, range(MOST_PROFILES + 1)))}"], [], "33 profiles, at most 32 are run"),
    ],
)
def test_what_makes_no_sweep_is_refused(sweeps: list[str], overrides: list[str], why: str) -> None:
    with pytest.raises(ParameterError) as refused:
        swept_overrides(sweeps, overrides)
    assert why in str(refused.value)


@pytest.mark.parametrize(
    ("section", "overrides", "field"),
    [
        ({}, [], "macs"),
        ({"sample": {"budget": {"params": 0.4}}}, [], "params"),
        ({"sample": {"budget": {"params": 0.4}}}, ["sample.budget={latency_ms: 4}"], "latency_ms"),
        ({"sample": {"budget": {"params": 0.4, "macs": 0.5}}}, ["sample.budget.params=null"], "macs"),
        ({"sample": {"candidates": 9}}, ["sample.budget={file_bytes: 0.5}"], "file_bytes"),
        ({"sample": ["no section"]}, [], "macs"),
    ],
)
def test_budgets_are_a_sweep_of_the_cost_that_is_limited(
    section: dict[str, object], overrides: list[str], field: str
) -> None:
    assert budget_sweep("0.75,0.5,0.25", section, overrides) == f"sample.budget.{field}=0.75,0.5,0.25"


def test_budgets_in_percent_are_told_as_shares() -> None:
    with pytest.raises(ParameterError, match="--budgets 50%,25%: no numbers: for 50 % give 0.5, for 25 % give 0.25$"):
        budget_sweep("50%,25%", {})


@pytest.mark.parametrize("budgets", ["", "half", "0.5,true", "0.5,-1", "0.5,,0.25", "0.5,"])
def test_budgets_that_are_no_numbers_are_refused(budgets: str) -> None:
    with pytest.raises(ParameterError, match=f"--budgets {budgets}: "):
        budget_sweep(budgets, {})


@pytest.mark.parametrize(
    ("budgets", "override", "why"),
    [
        ("0.5,0.25", "sample.budget.macs=0.3", "--budgets 0.5,0.25: --set sample.budget.macs gives a budget, too"),
        ("0.5,0.50", "score.seed=1", "--budgets 0.5,0.50: a budget stands there twice"),
    ],
)
def test_a_budget_is_said_once(budgets: str, override: str, why: str) -> None:
    with pytest.raises(ParameterError, match=why):
        budget_sweep(budgets, {}, [override])


def test_of_several_limits_one_must_be_named() -> None:
    both = {"sample": {"budget": {"macs": 0.5, "latency_ms": 4}}}
    with pytest.raises(ParameterError) as refused:
        budget_sweep("0.5,0.25", both)
    assert str(refused.value) == (
        "--budgets 0.5,0.25: sample.budget limits macs and latency_ms; say which one changes, as in "
        "--sweep sample.budget.macs=0.5,0.25"
    )
