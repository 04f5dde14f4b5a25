"""Options of all members: what is refused where it is written, in one line that names the option."""

from typing import Any, get_args

import pytest

from eyas.component import Component, families
from eyas.errors import ParameterError

FAMILIES = families()
TOO_LARGE = 2**63


def number_types(annotation: Any) -> set[type]:
    if annotation in {int, float}:
        return {annotation}
    return {kind for inner in get_args(annotation) for kind in number_types(inner)}


def numeric_options() -> list[Any]:
    """A wrong number for every option that takes one: NaN, infinity, or what 64 bits do not hold."""
    wrong = {int: [TOO_LARGE, -TOO_LARGE], float: [float("nan"), float("inf")]}
    cases = []
    for name, family in FAMILIES.items():
        for kind, member in family.members().items():
            for option, field in member.model_fields.items():
                several = "tuple" in str(field.annotation)
                for number in sorted(number_types(field.annotation), key=str):
                    values = [(value,) if several else value for value in wrong[number]]
                    cases.append(pytest.param(name, kind, option, values, id=f"{kind}-{option}-{number.__name__}"))
    return cases


@pytest.mark.parametrize(("family", "kind", "option", "values"), numeric_options())
def test_no_number_is_taken_that_none_can_compute_with(family: str, kind: str, option: str, values: list[Any]) -> None:
    for value in values:
        with pytest.raises(ParameterError) as refused:
            FAMILIES[family].parse({"kind": kind, option: value})
        assert str(refused.value).startswith(f"`{family}` ")
        assert f": {option}" in str(refused.value)
        assert "\n" not in str(refused.value)


def kinds() -> list[Any]:
    return [
        pytest.param(family, kind, id=f"{name}-{kind}")
        for name, family in FAMILIES.items()
        for kind in family.members()
    ]


@pytest.mark.parametrize(("family", "kind"), kinds())
def test_an_unknown_option_is_told_with_the_nearest_name(family: type[Component], kind: str) -> None:
    known = [name for name in family.registry[kind].model_fields if name != "kind"][:1] or ["kind"]
    with pytest.raises(ParameterError) as refused:
        family.parse({"kind": kind, f"{known[0]}s": 1})
    message = str(refused.value)
    assert f"{known[0]}s: no such parameter (did you mean '{known[0]}'?); {kind} knows kind" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("family", "options"),
    [
        *(("criterion", {"kind": kind, "steps": 0}) for kind in ("gumbel_gates", "consensus_gates")),
        *(("criterion", {"kind": kind, "steps": 0}) for kind in ("class_votes", "lottery_jackpots")),
        *(("criterion", {"kind": kind, "learning_rate": 0}) for kind in ("gumbel_gates", "class_votes")),
        *(("adapter", {"kind": kind, "rate": 0}) for kind in ("tent", "osuda", "hebbian", "conv_lora", "dann")),
        *(("adapter", {"kind": kind, "rate": 0}) for kind in ("ema_teacher", "eco_tta", "key_value_bottleneck")),
        *(("adapter", {"kind": kind, "temperature": 1e-300}) for kind in ("tent", "ema_teacher", "hebbian")),
        ("adapter", {"kind": "eco_tta", "margin": 0}),
        ("adapter", {"kind": "conv_lora", "rank": 10**6}),
        ("adapter", {"kind": "dann", "hidden": 10**6}),
        *(("adapter", {"kind": "key_value_bottleneck", name: 10**6}) for name in ("codebooks", "keys", "size")),
        ("adapter", {"kind": "unmix_tns", "components": 10**6}),
        ("recipe", {"kind": "sgd", "learning_rate": 1e300}),
        ("recipe", {"kind": "sandwich", "smallest": 1}),
        ("recipe", {"kind": "cosub", "drop": 0}),
        *(("sampler", {"kind": kind, "levels": 10**6}) for kind in ("distortion_dp", "sensitivity", "evolution")),
        ("sampler", {"kind": "distortion_dp", "spread": 1e9}),
        ("sampler", {"kind": "conditional", "draws": 10**12}),
        ("sampler", {"kind": "learned_thresholds", "steps": 0}),
        ("sampler", {"kind": "learned_thresholds", "learning_rate": 0}),
        ("sampler", {"kind": "learned_thresholds", "annealed": 1}),
        ("sampler", {"kind": "surrogate", "drawn": 10**12}),
        ("sparsifier", {"kind": "soft_shrinkage", "factor": 1}),
        ("surgery", {"kind": "ibn", "share": 0}),
        ("surgery", {"kind": "prep_bn", "eta": 1e300}),
        *(("surgery", {"kind": kind, "eps": 1e300}) for kind in ("unfold_batch_norm", "weight_standardisation")),
    ],
)
def test_what_would_do_nothing_or_fail_later_is_refused(family: str, options: dict[str, Any]) -> None:
    (option,) = options.keys() - {"kind"}
    with pytest.raises(ParameterError, match=rf"^`{family}` .*: {option}: Input should be (greater|less) than"):
        FAMILIES[family].parse(options)
