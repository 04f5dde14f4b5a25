"""The root of the samplers: what a sampler promises."""

import inspect
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, SerializeAsAny

from eyas.component import Component
from eyas.errors import ParameterError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from eyas.pruning.planner import Planner
    from eyas.pruning.space import SearchSpace
    from eyas.sampling.budget import Budget
    from eyas.sampling.measured import Measured
    from eyas.sampling.search_history import SearchHistory


class Sampler(Component):
    """Proposes candidates: widths per group, each one legal and inside the budget."""

    learns: ClassVar[bool] = False
    """Whether proposals depend on the scores of those before: such a sampler is asked again while the race runs."""
    drops_blocks: ClassVar[bool] = False
    """Whether candidates may leave out residual blocks, where the search space has such."""
    trains: ClassVar[bool] = False
    """Whether :meth:`measure` trains something on its images, which may score no candidates then."""
    why_few: ClassVar[str] = "`round_to`, `min_width` and `tolerance` leave no more"
    """What is said where there are fewer candidates than were asked for."""

    @property
    def needs_table(self) -> bool:
        """Whether :meth:`ask` takes a ``table``, which :meth:`measure` makes once before it is asked first."""
        return False

    @property
    def reads_labels(self) -> bool:
        """Whether :meth:`measure` reads the labels of its images."""
        return False

    def check_space(self, space: "SearchSpace") -> None:
        """Refuse a search space with residual blocks to leave out, where candidates leave none out.

        Raises:
            ParameterError: names the samplers that do.
        """
        if space.blocks and not self.drops_blocks:
            able = ", ".join(kind for kind, member in Sampler.members().items() if member.drops_blocks)
            msg = f"`sampler` {self.kind!r} leaves no residual block out: give no `depth`, or one of {able}"
            raise ParameterError(msg)

    def measure(
        self,
        model: "nn.Module",
        space: "SearchSpace",
        planner: "Planner",
        images: "Tensor",
        *,
        labels: "Tensor | None" = None,
        budget: "Budget | None" = None,
        output: int | str | None = None,
    ) -> "Measured | None":
        """What proposals need to know of the dense network beside its search space: of most samplers nothing.

        Args:
            model: the dense network.
            space: its search space.
            planner: which channels stay at a width.
            images: normalised calibration images ``(N, C, H, W)``.
            labels: of these, for a sampler that reads them.
            budget: that candidates have to keep, for a sampler that learns for one budget.
            output: which output is judged where there are several.
        """
        return None

    def measure_with(
        self, model: "nn.Module", space: "SearchSpace", planner: "Planner", images: "Tensor", **known: Any
    ) -> "Measured | None":
        """:meth:`measure` with what it takes of ``labels``, ``budget`` and ``output``: an override may name fewer."""
        takes = inspect.signature(self.measure).parameters
        if all(parameter.kind is not inspect.Parameter.VAR_KEYWORD for parameter in takes.values()):
            known = {name: value for name, value in known.items() if name in takes}
        return self.measure(model, space, planner, images, **known)

    def read_measured(self, content: object) -> "Measured":
        """What :meth:`measure` gave, from its ``to_json()`` or the text of it.

        Raises:
            DataError: it is nothing of the kind.
        """
        from eyas.sampling.error_table import ErrorTable

        return ErrorTable.from_json(content)

    def ask(
        self, space: "SearchSpace", budget: "Budget", count: int, *, seed: int, history: "SearchHistory | None" = None
    ) -> NDArray[np.int64]:
        """Up to ``count`` distinct width vectors, shape ``(n, len(space.groups))``, ``n <= count``.

        The same arguments give the same widths. ``history`` holds what has been scored so far; none of it comes again.

        Raises:
            BudgetError: no legal widths meet the budget; states the reachable range.
        """
        raise NotImplementedError(f"{type(self).__name__} does not say how it samples")


AnySampler = Annotated[SerializeAsAny[Sampler], BeforeValidator(Sampler.validated)]
