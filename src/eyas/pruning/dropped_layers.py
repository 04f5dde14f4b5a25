"""A residual branch taken out of a module tree: its layers are replaced, the forward code stays as it is.

What stands in a layer's place answers with a symbolic zero, which no operator computes with: the addition gives back
its other operand, everything else hands the zero on. So nothing of the branch runs, and an exported graph holds none.
"""

from collections.abc import Collection
from typing import Any

from torch import Tensor, nn

_SIZES = ("shape", "ndim", "dtype", "device")
_ADDITIONS = {"add", "add_", "__add__", "__radd__", "__iadd__"}


class SymbolicZero:
    """The output of a branch that is gone: 0 in whatever shape, and not computed.

    Args:
        like: the tensor that entered; forward code may ask for its sizes.
    """

    def __init__(self, like: Tensor | None = None) -> None:
        self._like = like

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """The other operand of an addition; of any other function the zero."""
        operands = (*args, *(kwargs or {}).values())
        zero = next((item for item in operands if isinstance(item, cls)), None)
        if zero is None:
            msg = f"{getattr(func, '__name__', func)} of a branch that was left out, among other tensors"
            raise TypeError(msg)
        if getattr(func, "__name__", "") in _ADDITIONS:
            return next((zero + item for item in operands if isinstance(item, Tensor)), zero)
        return zero

    def __add__(self, other: Any) -> Any:
        # A tensor of its own, as a sum is: the forward code may change it in place.
        return other.clone() if isinstance(other, Tensor) else self

    __radd__ = __iadd__ = add = add_ = __add__

    def __mul__(self, other: Any) -> "SymbolicZero":
        return other if self._like is None and isinstance(other, SymbolicZero) else self  # a scale knows no sizes

    __rmul__ = __truediv__ = __mul__

    def __neg__(self) -> "SymbolicZero":
        return self

    def __getitem__(self, index: Any) -> "SymbolicZero":
        return self

    def size(self, dim: int | None = None) -> Any:
        """Of the tensor that entered."""
        return self.shape if dim is None else self.shape[dim]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._like, name) if name in _SIZES else lambda *args, **kwargs: self


class DroppedLayer(nn.Module):
    """Stands where a layer of a branch stood that was left out; has no parameters and computes nothing."""

    def forward(self, *args: Any, **kwargs: Any) -> SymbolicZero:
        """A symbolic zero, like the first tensor that enters."""
        entered = next((item for item in (*args, *kwargs.values()) if isinstance(item, (Tensor, SymbolicZero))), None)
        return entered if isinstance(entered, SymbolicZero) else SymbolicZero(entered)


class Branch:
    """The layers and bare tensors of one branch in a module tree, taken out and put back.

    Args:
        model: the whole tree.
        layers: modules of the branch.
        tensors: first names of its parameters and buffers; those outside ``layers`` are taken from their modules.
    """

    def __init__(self, model: nn.Module, layers: Collection[str], tensors: Collection[str]) -> None:
        gone = {id(model.get_submodule(path)) for path in layers}
        names = {**dict(model.named_parameters()), **dict(model.named_buffers())}
        bare = {id(names[name]) for name in tensors if name in names}
        inside = {id(module) for path in layers for module in model.get_submodule(path).modules()}
        outside = [module for module in model.modules() if id(module) not in inside]
        children = ((module._modules, key, held) for module in outside for key, held in module._modules.items())
        self._layers = [child for child in children if id(child[2]) in gone]
        self._tensors: list[tuple[dict[str, Any], nn.Module, str, Tensor]] = []
        for module in outside:
            tables: tuple[dict[str, Any], ...] = (module._parameters, module._buffers)
            self._tensors += [(t, module, key, held) for t in tables for key, held in t.items() if id(held) in bare]

    def take_out(self) -> None:
        """Nothing of the branch is left in the tree."""
        for table, key, _ in self._layers:
            table[key] = DroppedLayer()
        for tensors, module, key, _ in self._tensors:
            tensors.pop(key, None)
            module.__dict__[key] = SymbolicZero()

    def put_back(self) -> None:
        """The tree as it was."""
        for table, key, held in self._layers:
            table[key] = held
        for tensors, module, key, tensor in self._tensors:
            module.__dict__.pop(key, None)
            tensors[key] = tensor


def is_below(path: str, layers: Collection[str]) -> bool:
    """Whether a module, by its path, is one of ``layers`` or inside one."""
    return any(path == layer or path.startswith(f"{layer}.") for layer in layers)
