"""A promotion's decision for a person: what the gates saw, each gate in a line, and how the verdict goes with it."""

from collections.abc import Iterator

from eyas.data.tasks import Task
from eyas.operations.gate import percent
from eyas.operations.gates import PromotionDecision
from eyas.operations.report.result_table import count

_PASSED = {
    "undecided": "its verdict is undecided: the test images are too few to tell a small loss from none; the gates ask "
    "for the loss as it was measured, and allow it",
    "lost": "its verdict is no success: some loss against the dense network is sure; the gates allow as much "
    "(promote.max_drop)",
    "held": "its verdict is that accuracy held, with remarks, which no gate asks about: see its report",
}
_REFUSED = {"success": "its verdict is a success, which is about the dense network alone; the gates ask for more"}


def decision_lines(decision: PromotionDecision) -> list[str]:
    """The message, numbers as the gates saw them, and the gates; only the message where nothing was judged."""
    gates = [f"{'ok  ' if gate.passed else 'FAIL'} {gate.name}: {gate.reason}" for gate in decision.gates]
    return [decision.message, *_numbers(decision), *gates, *_beside_verdict(decision)]


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


def _beside_verdict(decision: PromotionDecision) -> Iterator[str]:
    """How the verdict on the run, which asks something else, goes with what the gates said."""
    told = (_PASSED if decision.passed else _REFUSED).get(decision.verdict, "") if decision.gates else ""
    if told:
        yield told
