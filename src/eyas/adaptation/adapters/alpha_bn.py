"""The network's own statistics mixed with those of the field."""

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from eyas.adaptation.adapters.base import Adapter

if TYPE_CHECKING:
    from torch import Tensor, nn

    from eyas.adaptation.adapters.adaptation import Adaptation


class AlphaBn(Adapter):
    r"""Source and field mixed in every batch-norm layer (You et al. 2021, arXiv:2110.04065).

    :math:`\mu = s\mu_s + (1-s)\mu_t`, :math:`v = s v_s + (1-s) v_t`; s is ``source_weight``: a number from 0 (as
    ``ada_bn``) to 1 (as ``none``); ``by_size`` :math:`s = N_0 / (N_0 + N)` after N images, ``source_images`` being
    :math:`N_0` (Schneider et al. 2020, arXiv:2006.16971); or ``chosen`` without labels: of ``weights`` the one whose
    answers to all images so far tell most of them, :math:`H(\bar p) - \overline{H(p)}`, sure of each image and of many
    classes together (Bridle et al. 1991). ``exact`` adds :math:`s(1-s)(\mu_s - \mu_t)^2` to v: the variance of the
    mixture, which the published rule leaves out.

    Use it where images are fewer than 100 or come in runs of one class: no gradients, the result folds, and part of
    what the network knew stays in. ``chosen`` costs a pass for each
    weight, and takes a stream of one class for a change of the images.
    """

    kind: Literal["alpha_bn"] = "alpha_bn"
    min_batch: ClassVar[int] = 2
    source_weight: Annotated[float, Field(ge=0, le=1)] | Literal["by_size", "chosen"] = "by_size"
    """The s of the mixture, or the rule that makes it."""
    source_images: Annotated[int, Field(ge=1)] = 64
    """As many images as the network's own statistics count for (``by_size``)."""
    exact: bool = False
    """Add the spread between both means to the variance."""
    weights: Annotated[tuple[Annotated[float, Field(ge=0, le=1)], ...], Field(min_length=1)] = (
        0,
        0.25,
        0.5,
        0.75,
        0.9,
        1,
    )
    """What is chosen from (``chosen``)."""

    @property
    def reads_scores(self) -> bool:
        """Where the weight is chosen."""
        return self.source_weight == "chosen"

    def start(self, model: "nn.Module", source: "Tensor | None") -> "Adaptation":
        """See the base for the promise."""
        from eyas.adaptation.adapters.mixed_statistics import ChosenMixture, Mixture

        return ChosenMixture(self, model) if self.source_weight == "chosen" else Mixture(self, model)
