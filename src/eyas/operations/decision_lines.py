"""A promotion's decision for a person: what the gates saw, each gate in a line, and how the verdict goes with it."""

from collections.abc import Iterator

from eyas.data.tasks import Task
from eyas.operations.beside_verdict import beside_verdict
from eyas.operations.gate import percent
from eyas.operations.gates import PromotionDecision
from eyas.operations.report.result_table import count

ADAPTATION = "adaptation"
"""The gate that adapted versions alone have."""
MENTIONED_LOSS = 0.02
"""A share of accuracy on clean images that an adapted version does not lose without a word."""


def decision_lines(decision: PromotionDecision) -> list[str]:
    """The message, numbers as the gates saw them, and the gates; only the message where nothing was judged."""
    gates = [f"{'ok  ' if gate.passed else 'FAIL'} {gate.name}: {gate.reason}" for gate in decision.gates]
    beside = beside_verdict(passed=decision.passed, verdict=decision.verdict) if decision.gates else ""
    return [*_caution(decision), decision.message, *_numbers(decision), *gates, *([beside] if beside else [])]


def _caution(decision: PromotionDecision) -> Iterator[str]:
    """What an adapted version loses on clean test images, which its gates allow: they are not of the field."""
    if all(gate.name != ADAPTATION for gate in decision.gates):
        return
    numbers = decision.numbers
    for task in Task.members().values():
        known = {"champion": f"champion_{task.measure}", "dense network": f"dense_{task.measure}"}
        before = next((name for name, number in known.items() if number in numbers), None)
        if before is None or task.measure not in numbers:
            continue
        was, now = numbers[known[before]], numbers[task.measure]
        if was - now > MENTIONED_LOSS:
            yield (
                f"caution: on test images, which are not of the field, {task.words} is {percent(now)}, that of the "
                f"{before} {percent(was)}: so much is lost where images become as before"
            )


def _numbers(decision: PromotionDecision) -> Iterator[str]:
    """What decides, beside dense network and champion, and what the network costs."""
    numbers = decision.numbers
    for task in Task.members().values():
        if task.measure in numbers:
            known = {"dense network": f"dense_{task.measure}", "champion": f"champion_{task.measure}"}
            others = [f"{name} {percent(numbers[number])}" for name, number in known.items() if number in numbers]
            beside = f" ({', '.join(others)})" if others else ""
            shown = [f"test {task.words} {percent(numbers[task.measure])}{beside} on {numbers['images']:,.0f} images"]
            shown += [f"{count(numbers['macs'])} MACs"] if "macs" in numbers else []
            yield ", ".join([*shown, f"{count(numbers['bytes'])}B", f"{numbers['latency']:.3g} ms"])
