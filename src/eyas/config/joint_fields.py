"""Fields of a section that do not go together."""

from typing import TYPE_CHECKING

from eyas.errors import ParameterError

if TYPE_CHECKING:
    from eyas.config.stages import BaselineParams, FinetuneParams


def check_surgeries(params: "BaselineParams") -> None:
    """See that surgeries go with the checkpoint.

    Raises:
        ValueError: says what to change.
    """
    untrained = [surgery.kind for surgery in params.surgeries if surgery.needs_training]
    if params.surgeries and (params.checkpoint or "").startswith("models:/"):
        msg = f"surgeries with {params.checkpoint}: a registered version has what was done to it; leave surgeries out"
        raise ValueError(msg)
    if untrained and params.checkpoint is not None and not params.adapt_epochs:
        msg = f"surgeries: the checkpoint answers otherwise after {untrained[0]} until trained: give adapt_epochs"
        raise ValueError(msg)


def check_cuts(params: "FinetuneParams") -> None:
    """See that there are epochs for all cuts.

    Raises:
        ValueError: says what to change.
    """
    if params.gradual is not None and params.epochs is not None and params.epochs < params.gradual.cuts:
        msg = (
            f"gradual.cuts {params.gradual.cuts} with epochs {params.epochs}: at least one epoch follows each cut; "
            "lower gradual.cuts, raise epochs, or leave gradual out"
        )
        raise ValueError(msg)


def check_sparse(params: "FinetuneParams") -> None:
    """Refuse what does not go together.

    Raises:
        ValueError: says what to change.
    """
    sparsity, sparsifier = params.sparsity, params.sparsifier
    at_once = sparsifier.steps(1) == 0
    if sparsity is None:
        if not at_once:
            raise ValueError(f"sparsifier {sparsifier.kind} comes to zeros that sparsity asks for: give sparsity, too")
        return
    from eyas.pruning.sparsity.one_by_n import OneByN

    try:
        sparsifier.check(sparsity)
    except ParameterError as error:
        raise ValueError(str(error)) from error
    if not at_once and params.epochs == 0:
        raise ValueError(f"sparsifier {sparsifier.kind} trains, and epochs is 0: raise it, or take at_once")
    if not at_once and params.depth_scaling:
        msg = f"depth_scaling mixes weights of before and after, and sparsifier {sparsifier.kind} has other zeros then"
        raise ValueError(f"{msg}: take at_once, or leave depth_scaling out")
    if params.gradual is not None and params.gradual.cuts > 1 and params.depth_scaling:
        msg = "depth_scaling mixes weights of before and after, and each of gradual.cuts chooses the zeros anew"
        raise ValueError(f"{msg}: leave one of gradual, sparsity, depth_scaling out")
    guidance = getattr(params.recipe, "guidance", None)
    sorts = isinstance(sparsity, OneByN) and sparsity.rearrange
    if sorts and guidance is not None and guidance.measure == "kept_channels":
        msg = "guidance compares channels one by one, and sparsity one_by_n puts them into another order"
        raise ValueError(f"{msg}: set sparsity.rearrange to false, or guidance.measure to cka")
