"""What an adapted version must hold in place of what is asked of others."""

import json

from eyas.config import parse_params
from eyas.operations.gate import at_most
from eyas.operations.tracking import Version
from eyas.operations.tracking.adaptation_run import ADAPTED_FROM, parent_of
from tasks.adapted_gates import ADAPTATION, adaptation_gates, limits_for, named_for

PLAIN = Version("net", "1")
RECORD = {"keep": True, "images": 300, "verdict": "keep: all is well"}
ADAPTED = Version("net", "2", {ADAPTED_FROM: "net/1", ADAPTATION: json.dumps(RECORD)})


def test_any_other_version_is_judged_by_promote_alone() -> None:
    params = parse_params({"promote": {"max_drop": 0.02, "preset": "better"}})
    assert limits_for(PLAIN, params) == params.promote
    assert adaptation_gates(PLAIN) == ()
    assert parent_of(PLAIN) is None


def test_an_adapted_one_may_lose_on_test_images_what_its_canary_may_and_keeps_the_other_limits() -> None:
    params = parse_params(
        {"promote": {"preset": "better", "max_bytes": 7}, "adapt": {"rule": {"max_canary_loss": 0.3}}}
    )
    limits = limits_for(ADAPTED, params)
    assert (limits.max_drop, limits.min_gain, limits.rule) == (0.3, -0.3, None)
    assert (limits.min_agreement, limits.max_bytes) == (0.7, 7)
    assert parent_of(ADAPTED) == ("net", "1")


def test_a_limit_that_promote_leaves_out_stays_out() -> None:
    limits = limits_for(ADAPTED, parse_params({"promote": {"max_drop": None, "min_agreement": None}}))
    assert (limits.max_drop, limits.min_agreement) == (None, None)


def test_a_refusal_names_the_field_that_limits() -> None:
    gates = tuple(at_most(field, 9, 7, "it is", field=field, shown=str) for field in ("max_drop", "max_bytes"))
    assert named_for(PLAIN, gates) == gates
    assert [gate.reason for gate in named_for(ADAPTED, gates)] == [
        "it is 9: allowed at most 7 (adapt.rule.max_canary_loss, since test images are not of the field)",
        "it is 9: allowed at most 7 (promote.max_bytes)",
    ]


def test_what_the_rule_said_is_a_gate() -> None:
    (gate,) = adaptation_gates(ADAPTED)
    assert gate.passed
    assert gate.reason == "on 300 images of the field the rule said keep: all is well"
    refused = {**ADAPTED.tags, ADAPTATION: json.dumps({**RECORD, "keep": False})}
    assert not adaptation_gates(Version("net", "2", refused))[0].passed
