"""What to type after a promotion, or after one that was refused."""

from collections.abc import Iterator
from contextlib import contextmanager

from eyas.cli.terminal import terminal_width
from eyas.errors import RefusedError
from eyas.operations.decision_lines import decision_lines
from eyas.operations.gates import PromotionDecision
from eyas.operations.tracking.model_registry import CHAMPION
from tasks.next_command import complete, next_command, next_lines, text_with_steps
from tasks.report import next_steps, try_it
from tasks.tracking_store import candidate_alias, open_store
from tasks.workspace import Workspace


def promotion_text(workspace: Workspace, decision: PromotionDecision, width: int | None = None) -> str:
    """The decision, its numbers and gates, and what to type next; in lines of at most ``width``, if it is given."""
    lines = [complete(line, workspace) for line in decision_lines(decision)]
    return text_with_steps(lines, after_promotion(workspace, decision), width)


def rollback_text(workspace: Workspace, message: str, reason: str = "", width: int | None = None) -> str:
    """What was rolled back, what that means for later promotions, and what to type next."""
    why = f"the reason is recorded: {reason}" if reason else "no reason was given: --reason TEXT records one next time"
    later = f"promoting it again takes --force with a written reason; {why}"
    return text_with_steps([message, later], [*try_it(workspace), next_command(workspace, "status")], width)


def result_text(workspace: Workspace, message: str, version: str | None, width: int | None = None) -> str:
    """What came of a run, and what to type next about the version that it made or found."""
    return text_with_steps([message], next_steps(workspace, version), width)


def after_promotion(workspace: Workspace, decision: PromotionDecision) -> list[str]:
    """Commands that make sense once the gates have decided.

    Args:
        workspace: the profile that judged.
        decision: what came of it; of a dry run, what would.
    """
    if decision.dry_run and decision.gates:
        promote = [next_command(workspace, "promote", "--version", decision.candidate)]
        return promote if decision.promoted else ways_on(workspace, decision.candidate)
    steps = try_it(workspace)
    if decision.champion not in (None, decision.candidate):
        steps.append(f"{next_command(workspace, 'rollback')}   (version {decision.champion} is champion again)")
    return [*steps, next_command(workspace, "status")]


def ways_on(workspace: Workspace, version: str) -> list[str]:
    """What is left for a version that a gate refused: to look at it, and to overrule the gates."""
    force = next_command(workspace, "promote", "--version", version, "--force", "why it is good enough")
    return [
        next_command(workspace, "compare", version, CHAMPION) + "   (where there is a champion)",
        f"{force}   (overrules the gates; the reason is recorded)",
    ]


@contextmanager
def refused_with_ways(workspace: Workspace, version: str | None) -> Iterator[None]:
    """Let a refusal end with the commands that are left."""
    try:
        yield
    except RefusedError as error:
        name = version or candidate_alias(workspace).name_in(open_store(workspace), workspace.params.register_.model)
        raise RefusedError(
            "\n".join([str(error), *next_lines(ways_on(workspace, name), terminal_width(err=True))])
        ) from error
