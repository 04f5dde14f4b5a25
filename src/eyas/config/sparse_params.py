"""``finetune.sparsity`` and ``finetune.sparsifier`` beside the other fields of fine-tuning."""

from typing import TYPE_CHECKING

from eyas.errors import ParameterError
from eyas.pruning.sparsity.one_by_n import OneByN

if TYPE_CHECKING:
    from eyas.config.stages import FinetuneParams


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
    try:
        sparsifier.check(sparsity)
    except ParameterError as error:
        raise ValueError(str(error)) from error
    if not at_once and params.epochs == 0:
        raise ValueError(f"sparsifier {sparsifier.kind} trains, and epochs is 0: raise it, or take at_once")
    if not at_once and params.depth_scaling:
        msg = f"depth_scaling mixes weights of before and after, and sparsifier {sparsifier.kind} has other zeros then"
        raise ValueError(f"{msg}: take at_once, or leave depth_scaling out")
    guidance = getattr(params.recipe, "guidance", None)
    sorts = isinstance(sparsity, OneByN) and sparsity.rearrange
    if sorts and guidance is not None and guidance.measure == "kept_channels":
        msg = "guidance compares channels one by one, and sparsity one_by_n puts them into another order"
        raise ValueError(f"{msg}: set sparsity.rearrange to false, or guidance.measure to cka")
