"""A promotion's decision for a person: what the gates saw, each gate in a line, and how the verdict goes with it."""

from collections.abc import Iterator

from eyas.data.tasks import Task
from eyas.operations.adapted_decision import is_mentioned
from eyas.operations.beside_verdict import beside_verdict
from eyas.operations.gate import percent
from eyas.operations.gates import PromotionDecision
from eyas.operations.report.result_table import count


def decision_lines(decision: PromotionDecision) -> list[str]:
    """The message, numbers as the gates saw them, and the gates; only the message where nothing was judged.

    What an adapted version loses on images as in training comes first.
    """
    gates = [f"{'ok  ' if gate.passed else 'FAIL'} {gate.name}: {gate.reason}" for gate in decision.gates]
    beside = beside_verdict(passed=decision.passed, verdict=decision.verdict) if decision.gates else ""
    message = [decision.message]
    if decision.beside and is_mentioned(decision.numbers):
        message = [f"caution: {decision.beside}", decision.summary]
    return [*message, *_numbers(decision), *gates, *([beside] if beside else [])]


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
