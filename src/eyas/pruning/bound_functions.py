"""Functions that reach a network's layers, bound to its copy: closures, methods, compiled wrappers, weak references.

``copy.deepcopy`` takes functions as they are. A branch kept as ``lambda x: x + self.res(x)`` would go on computing with
the original's weights, so such functions are made anew: the same code over cells that hold the copy.
"""

import copy
import gc
import weakref
from collections.abc import Iterable
from types import CellType, FunctionType, MethodType, ModuleType
from typing import Any

from torch import Tensor

COMPILED = "_torchdynamo_orig_callable"
"""Where ``torch.compile`` keeps the function that it compiled; a copy has other shapes and takes that one."""

_LEAVES = (int, float, complex, str, bytes, bool, type(None), type, ModuleType, Tensor)


def bind_functions(value: Any, memo: dict[int, Any]) -> None:
    """Add to ``memo`` a copy of every function within ``value`` that reaches what ``memo`` replaces.

    Args:
        value: an attribute of a network.
        memo: of ``copy.deepcopy``: the copy of each object by the original's ``id``.
    """
    bound = [item for item in _reaching(value, memo) if isinstance(item, (FunctionType, MethodType, weakref.ref))]
    cells: dict[int, CellType] = {}
    for item in bound:
        if isinstance(item, FunctionType) and COMPILED not in vars(item):
            closure = tuple(cells.setdefault(id(cell), CellType()) for cell in item.__closure__ or ())
            memo[id(item)] = FunctionType(item.__code__, item.__globals__, item.__name__, closure=closure)
    for item in bound:
        if isinstance(item, weakref.ref):
            memo[id(item)] = weakref.ref(_copy(item(), memo))
        elif isinstance(item, MethodType):
            memo[id(item)] = MethodType(_copy(item.__func__, memo), _copy(item.__self__, memo))
        elif isinstance(item, FunctionType) and COMPILED in vars(item):
            memo[id(item)] = _copy(vars(item)[COMPILED], memo)
    for item in bound:
        if isinstance(item, FunctionType) and COMPILED not in vars(item):
            _fill(memo[id(item)], item, memo)


def _fill(new: FunctionType, old: FunctionType, memo: dict[int, Any]) -> None:
    """Give a new function what the old one holds."""
    for empty, cell in zip(new.__closure__ or (), old.__closure__ or (), strict=True):
        if _is_full(cell):
            empty.cell_contents = _copy(cell.cell_contents, memo)
    new.__defaults__ = _copy(old.__defaults__, memo)
    new.__kwdefaults__ = _copy(old.__kwdefaults__, memo)
    new.__qualname__, new.__module__, new.__doc__ = old.__qualname__, old.__module__, old.__doc__
    vars(new).update(_copy(vars(old), memo))


def _copy(value: Any, memo: dict[int, Any]) -> Any:
    """A deep copy; what cannot be copied is shared."""
    try:
        return memo[id(value)] if id(value) in memo else copy.deepcopy(value, memo)
    except (TypeError, ValueError, RuntimeError, NotImplementedError):
        return value


def _reaching(value: Any, memo: dict[int, Any]) -> list[Any]:
    """All objects within ``value`` from which something that ``memo`` replaces can be reached, inner ones first."""
    holders: dict[int, list[int]] = {}
    visited: dict[int, Any] = {}
    reached: list[int] = []
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if id(item) in visited:
            continue
        visited[id(item)] = item
        for part in _parts(item):
            holders.setdefault(id(part), []).append(id(item))
            if id(part) in memo:
                reached.append(id(part))
            elif not isinstance(part, _LEAVES):
                waiting.append(part)
    touched: dict[int, None] = {}
    while reached:
        for holder in holders.get(reached.pop(), ()):
            if holder not in touched:
                touched[holder] = None
                reached.append(holder)
    return [visited[number] for number in touched]


def _parts(item: Any) -> Iterable[Any]:
    """What an object holds; of a function not the globals, which are not its own."""
    if isinstance(item, FunctionType):
        if COMPILED in vars(item):
            return [vars(item)[COMPILED]]
        cells = [cell.cell_contents for cell in item.__closure__ or () if _is_full(cell)]
        return [*cells, item.__defaults__, item.__kwdefaults__, vars(item)]
    if isinstance(item, MethodType):
        return [item.__func__, item.__self__]
    if isinstance(item, weakref.ref):
        return [item()]
    return gc.get_referents(item)


def _is_full(cell: CellType) -> bool:
    """Whether a variable of a closure has a value."""
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return False
    return True
