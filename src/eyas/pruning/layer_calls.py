"""Every call of a convolution or linear layer in a forward pass, told by the parameter that is its weight.

Watched at torch's functions and not at modules, so that shared layers, layers written out as functions and reflecting
paddings are seen as they compute.
"""

import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

_CONVOLUTION = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
_TRANSPOSED = ("input", "weight", "bias", "stride", "padding", "output_padding", "groups", "dilation")
_ARGUMENTS = (
    {f"conv{n}d": _CONVOLUTION for n in (1, 2, 3)}
    | {f"conv_transpose{n}d": _TRANSPOSED for n in (1, 2, 3)}
    | {"linear": _CONVOLUTION[:3], "matmul": ("input", "other"), "mm": ("input", "mat2")}
)
"""Arguments in order, by the name of the function; a method of a tensor is called as its function is."""


@dataclass(frozen=True)
class LayerCall:
    """One call; ``call()`` computes what it was asked for."""

    name: str
    """Of the weight, as the network names its parameters."""
    function: Callable[..., Tensor]
    arguments: Mapping[str, Any]
    """All but input, weight and bias, by name."""
    input: Tensor
    weight: Tensor
    bias: Tensor | None

    def __call__(self) -> Tensor:
        """The layer's output."""
        bias = {} if self.bias is None else {"bias": self.bias}
        return self.function(self.input, self.weight, **bias, **self.arguments)

    @property
    def is_convolution(self) -> bool:
        """Whether the weight has a kernel."""
        return self.function.__name__.startswith("conv")

    @property
    def is_transposed(self) -> bool:
        """Whether the weight holds its inputs first."""
        return self.function.__name__.startswith(("conv_transpose", "matmul", "mm"))

    def channel_dim(self, tensor: Tensor) -> int:
        """The dimension of the input or output that holds channels."""
        return tensor.ndim - self.weight.ndim + 1 if self.is_convolution else tensor.ndim - 1


class WatchedCalls(TorchFunctionMode):
    """While entered, ``answer(call)`` takes the place of every layer call whose weight is a parameter of ``model``.

    Args:
        model: whose forward pass is watched; buffers count as its parameters.
        answer: gives the output, as ``call()`` does.
    """

    def __init__(self, model: nn.Module, answer: Callable[[LayerCall], Tensor]) -> None:
        super().__init__()
        self._answer = answer
        self.used_otherwise: set[str] = set()
        """Names of parameters that something else than a layer call was computed from."""
        self._normalised: set[str] = set()
        self._read_otherwise: set[str] = set()
        self._outputs: dict[int, tuple[weakref.ref[Tensor], str]] = {}
        self._names: dict[int, str] = {}
        for name, tensor in (*model.named_parameters(), *model.named_buffers()):
            self._names.setdefault(id(tensor), name)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Answer a layer call; compute anything else."""
        order = _ARGUMENTS.get(getattr(func, "__name__", ""), ())
        arguments = dict(zip(order, args, strict=False)) | (kwargs or {})
        if order and id(arguments.get(order[1])) in self._names:
            source, weight, bias = (arguments.pop(key, None) for key in (*order[:2], "bias"))
            output = self._answer(LayerCall(self._names[id(weight)], func, arguments, source, weight, bias))
            self._outputs[id(output)] = (weakref.ref(output), self._names[id(weight)])
            return output
        used = (*args, *(kwargs or {}).values())
        made_by = [(value, *self._outputs[id(value)]) for value in used if id(value) in self._outputs]
        read = {name for value, output, name in made_by if output() is value}  # an id may be taken by another tensor
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor):
            self.used_otherwise |= {self._names[id(value)] for value in used if id(value) in self._names}
            (self._normalised if func is nn.functional.batch_norm else self._read_otherwise).update(read)
        return result

    @property
    def normalised(self) -> set[str]:
        """Names of weights whose layers' outputs went into batch-norm and nowhere else."""
        return self._normalised - self._read_otherwise
