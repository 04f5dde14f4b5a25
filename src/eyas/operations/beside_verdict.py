"""How the verdict on a run, which asks something else, goes with what the gates of a promotion said."""

_PASSED = {
    "undecided": "its verdict is undecided: the test images are too few to tell a small loss from none; the gates ask "
    "for the loss as it was measured, and allow it",
    "lost": "its verdict is no success: some loss against the dense network is sure; the gates allow as much "
    "(promote.max_drop)",
    "held": "its verdict is that accuracy held, with remarks, which no gate asks about: see its report",
}
_REFUSED = {"success": "its verdict is a success, which is about the dense network alone; the gates ask for more"}


def beside_verdict(*, passed: bool, verdict: str) -> str:
    """How the verdict on the run, which asks something else, goes with what the gates said; mostly nothing to say.

    Args:
        passed: whether every gate held.
        verdict: in a word, as a version's tag has it.
    """
    return (_PASSED if passed else _REFUSED).get(verdict, "")
