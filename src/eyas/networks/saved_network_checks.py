"""What a saved network's record may say: checked against the dense network it is built from and the weights.

Digests tell accidents. They are not keyed, so a record may also be forged: nothing in it is taken on trust.
"""

from collections.abc import Container, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.nn.utils.parametrize import is_parametrized

from eyas.errors import CheckpointError, PlanError
from eyas.networks.named_tensors import state_names, unique_tensors
from eyas.pruning.dropped_layers import Branch, DroppedLayer
from eyas.pruning.plan import PruningPlan
from eyas.pruning.surgery import scratch_copy

if TYPE_CHECKING:
    from eyas.pruning.space import SearchSpace

Shapes = Mapping[str, Sequence[int]]


def set_attributes(small: nn.Module, attributes: Iterable[tuple[str, str, int]]) -> None:
    """Set the integers that surgery changed; ``small`` still has the dense ones.

    Raises:
        CheckpointError: a module is missing, an attribute is no plain integer of it, or the value is not
            between 0 and the dense one.
    """
    modules = dict(small.named_modules(remove_duplicate=False))
    for path, name, value in attributes:
        dense = vars(modules[path]).get(name) if path in modules else None
        if type(dense) is not int:
            what = f"no plain integer {name!r}" if path in modules else "no such module"
            msg = f"the record sets {path or 'the model'}.{name} = {value}, but the dense network has {what} there"
            raise CheckpointError(msg)
        if not 0 <= value <= dense:
            msg = f"the record sets {path}.{name} = {value}; pruned from {dense} it is between 0 and {dense}"
            raise CheckpointError(msg)
        setattr(modules[path], name, value)


def check_attributes(small: nn.Module, dense: nn.Module, attributes: Iterable[tuple[str, str, int]]) -> None:
    """Refuse attributes of torch's layers that are not what their weights' shapes say.

    A layer whose weight other code reads (``conv2d(x, self.conv.weight)``) keeps its dense attributes; such
    are listed with their dense values, see :func:`stale_attributes`.

    Raises:
        CheckpointError: an attribute was left out, or has another value.
    """
    listed = {(path, name): value for path, name, value in attributes}
    dense_modules = dict(dense.named_modules(remove_duplicate=False))
    for path, name, value in stale_attributes(small, dense):
        if listed.get((path, name)) == vars(dense_modules[path])[name] and name != "groups":
            continue
        expected = attributes_by_shapes(small.get_submodule(path))[name]
        msg = f"{path}.{name} is {value} by the record, but {expected} by the shapes of its weights"
        raise CheckpointError(msg)


def stale_attributes(small: nn.Module, dense: nn.Module) -> list[tuple[str, str, int]]:
    """Module, attribute and value where ``small`` differs from what its shapes tell, though ``dense`` does not."""
    stale = []
    modules = dict(small.named_modules(remove_duplicate=False))
    for path, module in dense.named_modules(remove_duplicate=False):
        if path not in modules or isinstance(modules[path], DroppedLayer):
            continue
        expected = attributes_by_shapes(modules[path])
        for name, value in attributes_by_shapes(module).items():
            now = getattr(modules[path], name)
            if value == getattr(module, name) and now != expected[name]:
                stale.append((path, name, int(now)))
    return stale


def attributes_by_shapes(module: nn.Module) -> dict[str, int]:
    """Integer attributes of torch's own layers as the shapes of their tensors give them."""
    weight = _weight(module)
    tensor = weight if isinstance(weight, Tensor) else getattr(module, "running_mean", None)
    if not isinstance(tensor, Tensor):
        return {}
    shape = tensor.shape
    attributes: dict[str, int] = {}
    if isinstance(module, _ConvTransposeNd):
        attributes = {"in_channels": shape[0], "out_channels": shape[1] * module.groups}
    elif isinstance(module, _ConvNd):
        attributes = {"in_channels": shape[1] * module.groups, "out_channels": shape[0]}
    elif isinstance(module, nn.Linear):
        attributes = {"in_features": shape[1], "out_features": shape[0]}
    elif isinstance(module, _NormBase):
        attributes = {"num_features": shape[0]}
    elif isinstance(module, (nn.GroupNorm, nn.PReLU)):
        attributes = {"num_channels" if isinstance(module, nn.GroupNorm) else "num_parameters": shape[0]}
    return attributes


def _weight(module: nn.Module) -> object:
    """A layer's weight, or a tensor of its shape where it is computed: reading it must not change the layer."""
    if is_parametrized(module, "weight"):
        return scratch_copy(module).eval().weight
    # Where a hook before each forward computes it, the attribute is that of the last forward, and of the dense network.
    computed_from = (module._parameters.get(name) for name in ("weight", "weight_orig", "weight_v"))
    return next((tensor for tensor in computed_from if tensor is not None), getattr(module, "weight", None))


def check_dense(dense: nn.Module, recorded: Shapes, factory: str) -> None:
    """Refuse a factory that builds another network than the one that was pruned.

    Raises:
        CheckpointError: names or shapes differ.
    """
    shapes = {name: tuple(tensor.shape) for name, tensor in unique_tensors(dense).items()}
    missing, unexpected = sorted(set(recorded) - set(shapes)), sorted(set(shapes) - set(recorded))
    differ = sorted(name for name in set(shapes) & set(recorded) if shapes[name] != tuple(recorded[name]))
    if missing or unexpected or differ:
        msg = (
            f"{factory} builds another network than the saved one: "
            f"missing {missing[:5]}, unexpected {unexpected[:5]}, other shape {differ[:5]}"
        )
        raise CheckpointError(msg)


def branches_of(model: nn.Module, dropped: Iterable[tuple[Sequence[str], Sequence[str]]]) -> list[Branch]:
    """The branches that a record leaves out of a network, by their layers and tensors.

    Raises:
        CheckpointError: the network has no such layer or tensor.
    """
    modules, tensors = dict(model.named_modules(remove_duplicate=False)), unique_tensors(model)
    branches = []
    for layers, names in dropped:
        unknown = [*(path for path in layers if not path or path not in modules), *(set(names) - tensors.keys())]
        if unknown:
            msg = f"the record leaves out {unknown[0]!r}, which the dense network does not have"
            raise CheckpointError(msg)
        branches.append(Branch(model, layers, names))
    return branches


def check_names(dense: nn.Module, state: Iterable[str], source: str, removed: Container[str] = ()) -> None:
    """Refuse weights of other names than the dense network's without those that were ``removed``.

    Raises:
        CheckpointError: some are missing or unexpected.
    """
    expected, names = {name for name in state_names(dense) if name not in removed}, set(state)
    if names != expected:
        wrong = f"missing {sorted(expected - names)[:5]}, unexpected {sorted(names - expected)[:5]}"
        msg = f"{source} does not fit {type(dense).__name__}: {wrong}"
        raise CheckpointError(msg)


def check_pruned(small: nn.Module, space: "SearchSpace", plan: PruningPlan) -> None:
    """Refuse to save a network beside a plan that does not lead to it.

    Raises:
        PlanError: a tensor has another shape than the plan gives it.
    """
    slices, removed = space.slices(plan), space.removed(plan)
    shapes = {name: tuple(tensor.shape) for name, tensor in unique_tensors(small).items()}
    if left := removed & shapes.keys():
        msg = f"{min(left)} is there, the plan leaves its residual block out: save with its own plan"
        raise PlanError(msg)
    for name, dense in space.layout.shapes.items():
        if name in removed:
            continue
        kept = slices.get(name, {})
        expected = tuple(len(kept[dim]) if dim in kept else size for dim, size in enumerate(dense))
        if shapes.get(name) != expected:
            msg = f"{name} has shape {shapes.get(name)}, the plan leads to {expected}: save with its own plan"
            raise PlanError(msg)


def check_shapes(state: Mapping[str, Tensor], dense: Shapes) -> None:
    """Refuse weights that no slicing of the dense ones gives.

    Raises:
        CheckpointError: another number of dimensions, or one that is empty or longer than the dense one.
    """
    for name, tensor in state.items():
        whole, shape = tuple(dense[name]), tuple(tensor.shape)
        if len(shape) != len(whole) or any(
            size > most or size < min(1, most) for size, most in zip(shape, whole, strict=False)
        ):
            msg = f"{name} has shape {shape}, which no pruning of {whole} gives"
            raise CheckpointError(msg)


def check_transient(transient: Mapping[str, Mapping[int, Sequence[int]]], dense: Shapes) -> None:
    """Refuse kept indices of buffers that do not exist.

    Raises:
        CheckpointError: an unknown buffer or dimension, or indices that are not ascending within it.
    """
    for name, dims in transient.items():
        shape = tuple(dense.get(name, ()))
        for dim, kept in dims.items():
            known = 0 <= dim < len(shape)
            if not known or list(kept) != sorted({index for index in kept if 0 <= index < shape[dim]}):
                msg = f"the record keeps entries of {name!r}, dimension {dim}, that its dense shape {shape} lacks"
                raise CheckpointError(msg)


def check_plan(plan: PruningPlan, dense: nn.Module, record: Shapes, state: Mapping[str, Tensor]) -> None:
    """Refuse a plan whose counts are not the weights' for the layers that name its groups.

    A group bears the name of the convolution or linear layer that makes its channels; several of one layer
    are numbered (``conv``, ``conv/2``). Where other groups or frozen channels share the layer, the count has to
    lie between the bounds they leave; groups named after anything else cannot be checked this way.

    Raises:
        PlanError: groups without channels, or kept counts other than the weights have.
    """
    modules = dict(dense.named_modules(remove_duplicate=False))
    totals: dict[str, tuple[int, int]] = {}
    for group, kept in plan.kept.items():
        channels = plan.channels.get(group, 0)
        if kept and (kept[0] < 0 or kept[-1] >= channels):
            msg = f"the plan keeps channel {kept[-1]} of group {group!r}, which has {channels}"
            raise PlanError(msg)
        layer = group.partition("/")[0]
        whole, dropped = totals.get(layer, (0, 0))
        totals[layer] = (whole + channels, dropped + channels - len(kept))
    for layer, (whole, dropped) in totals.items():
        dim, weight = _makes(modules.get(layer)), f"{layer}.weight"
        if dim is None or weight not in state or weight not in record:
            continue
        size, left = record[weight][dim], state[weight].shape[dim]
        if not dropped <= size - left <= dropped + max(0, size - whole):
            msg = f"the plan drops {dropped} channels of {layer}, its weight has {left} of {size}: not its plan"
            raise PlanError(msg)


def _makes(module: nn.Module | None) -> int | None:
    """The dimension of a layer's weight that makes channels."""
    if isinstance(module, _ConvTransposeNd):
        return 1 if module.groups == 1 else 0
    return 0 if isinstance(module, (_ConvNd, nn.Linear)) else None
