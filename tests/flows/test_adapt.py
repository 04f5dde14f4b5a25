"""The flow around an adaptation: one at a time, and people are told what was taken back."""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest

from eyas.errors import BusyError, RefusedError
from flows import adapt as module
from tasks.adaptation_case import AdaptDecision
from tasks.workspace import Workspace

Notices = list[dict[str, str]]
REVERTED = AdaptDecision("reverted", "net: version 1 is champion again", "net", "1", "no drift", 100, "run")


@pytest.fixture
def run(make_workspace: Callable[..., Workspace], monkeypatch: pytest.MonkeyPatch) -> Callable[..., AdaptDecision]:
    """The flow without Prefect, on a small checkout; what its task does is given."""
    workspace = make_workspace(notify={"events": ["rolled_back", "refused"]})
    monkeypatch.setattr(module, "ROOT", workspace.root)
    monkeypatch.setattr(module, "scheduled_run", lambda: None)

    def make(task: Callable[..., AdaptDecision], *, held: bool = False) -> AdaptDecision:
        monkeypatch.setattr(module, "adapt_version", task)
        with workspace.locked() if held else nullcontext():
            decision: AdaptDecision = module.adapt.fn(reason="test")
        return decision

    return make


def test_who_is_taken_back_is_told(run: Callable[..., AdaptDecision], notices: Notices) -> None:
    asked: list[dict[str, Any]] = []

    def task(*_: Any, **options: Any) -> AdaptDecision:
        asked.append(options)
        return REVERTED

    assert run(task) is REVERTED
    assert asked == [{"labelled": False, "force": False, "reason": "test"}]
    (notice,) = notices
    assert (notice["event"], notice["flow"], notice["message"]) == ("rolled_back", "adapt", REVERTED.message)


def test_two_at_once_are_refused(run: Callable[..., AdaptDecision], notices: Notices) -> None:
    def task(*_: Any, **__: Any) -> AdaptDecision:
        raise AssertionError("it must not begin")

    with pytest.raises(BusyError, match="another run .* holds 'default'"):
        run(task, held=True)


def test_what_is_refused_is_an_error_with_its_reason(run: Callable[..., AdaptDecision], notices: Notices) -> None:
    def task(*_: Any, **__: Any) -> AdaptDecision:
        raise RefusedError("one class eats all")

    with pytest.raises(RefusedError, match="one class eats all"):
        run(task)
    assert notices == []  # Prefect's hook tells of it
