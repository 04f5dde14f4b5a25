"""Write a pruned network as safetensors and JSON, and build it again from its architecture's name.

Three files: ``model.safetensors`` (state), ``plan.json`` (kept channels), ``architecture.json`` (the factory
and its arguments, dense shapes, attributes that surgery set, digests of the other two). Nothing is pickled.
The same network gives the same bytes. Optionally ``model.pt2``, an exported program that needs no code.
"""

import contextlib
import hashlib
import inspect
import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import safetensors.torch
import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from eyas.errors import BadInputError, CheckpointError, PlanError
from eyas.networks.architectures import build_architecture
from eyas.networks.pruned_network_checks import (
    check_attributes,
    check_plan,
    check_shapes,
    check_transient,
    set_attributes,
    stale_attributes,
)
from eyas.pruning.plan import PruningPlan, canonical_json
from eyas.pruning.surgery import rebuild, share_structure

if TYPE_CHECKING:
    from eyas.pruning.space import SearchSpace

WEIGHTS, PLAN, ARCHITECTURE, PROGRAM = "model.safetensors", "plan.json", "architecture.json", "model.pt2"


class Record(BaseModel):
    """Content of ``architecture.json``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    architecture: str
    """``package.module:factory``."""
    arguments: dict[str, Any]
    """Keyword arguments of the factory."""
    input_shape: tuple[int, ...]
    """Shape of one image (or of the first input's first entry)."""
    dense_shapes: dict[str, tuple[int, ...]]
    """What the factory builds."""
    attributes: list[tuple[str, str, int]]
    """Module, attribute, value that surgery set."""
    transient: dict[str, dict[int, list[int]]]
    """Kept indices of buffers that are in no state dict."""
    plan: str
    """Digest of the plan."""
    weights: str
    """sha256 of the weights' file."""

    @property
    def digest(self) -> str:
        """sha256 of the canonical JSON form."""
        return hashlib.sha256(canonical_json(self.model_dump(mode="json")).encode()).hexdigest()


def save(
    small: nn.Module,
    folder: Path | str,
    *,
    space: "SearchSpace",
    plan: PruningPlan,
    architecture: str,
    arguments: dict[str, Any] | None = None,
    program: bool = False,
) -> Path:
    """Write a pruned network; returns the folder.

    Args:
        small: what :func:`eyas.prune` gave, trained further or not.
        folder: made if it is missing.
        space: the dense network's search space.
        plan: what ``small`` was pruned to.
        architecture: ``package.module:factory`` that builds the dense network.
        arguments: the factory's keyword arguments, JSON values.
        program: also write ``model.pt2``; its batch size is free unless the forward code fixes it.

    Raises:
        PlanError: ``small`` does not have the shapes the plan leads to.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    _check_shapes(small, space, plan)
    weights = safetensors.torch.save(_state(small))
    example = [item for item in pytree.tree_leaves(space.example) if isinstance(item, Tensor)]
    slices, state = space.slices(plan), set(small.state_dict())
    stale = {(module, name): value for module, name, value in stale_attributes(small, space.model)}
    attributes = {**stale, **space.attributes(plan)}
    record = Record(
        architecture=architecture,
        arguments=arguments or {},
        input_shape=tuple(example[0].shape[1:]) if example else (),
        dense_shapes=space.layout.shapes,
        attributes=sorted((module, name, value) for (module, name), value in attributes.items()),
        transient={n: {d: i.tolist() for d, i in s.items()} for n, s in slices.items() if n not in state},
        plan=plan.digest,
        weights=hashlib.sha256(weights).hexdigest(),
    )
    (folder / WEIGHTS).write_bytes(weights)
    (folder / PLAN).write_text(plan.to_json())
    (folder / ARCHITECTURE).write_text(
        json.dumps({**record.model_dump(mode="json"), "digest": record.digest}, indent=1) + "\n"
    )
    if program:
        _save_program(small, folder / PROGRAM, space)
    return folder


def load(
    folder: Path | str,
    *,
    factory: Callable[..., nn.Module] | None = None,
    allowed: Sequence[str] | None = None,
) -> nn.Module:
    """Build a saved network again, in eval mode on the CPU.

    Args:
        folder: what :func:`save` wrote.
        factory: builds the dense network from the saved arguments; without it the saved name is imported.
        allowed: packages a name may be imported from; by default ``models`` and pruned networks, and those
            listed in the environment's ``EYAS_ARCHITECTURES`` (comma separated).

    Raises:
        CheckpointError: files are missing, were changed, or belong to another architecture.
        PlanError: the plan was changed, or its counts are not the weights'.
        ParameterError: the factory cannot be imported, or does not build a network.
    """
    folder = Path(folder)
    record, plan, weights = _read(folder)
    with torch.random.fork_rng(devices=[]):
        if factory is not None:
            dense = factory(**record.arguments)
        else:
            dense = build_architecture(record.architecture, record.arguments, allowed)
    _check_dense(dense, record)
    try:
        state = safetensors.torch.load(weights)
    except SafetensorError as error:
        msg = f"{folder / WEIGHTS} is no safetensors file ({error}): save the network again"
        raise CheckpointError(msg) from error
    expected = _state_names(dense)
    if set(state) != expected:
        wrong = f"missing {sorted(expected - set(state))[:5]}, unexpected {sorted(set(state) - expected)[:5]}"
        msg = f"{folder / WEIGHTS} does not fit {record.architecture}: {wrong}"
        raise CheckpointError(msg)
    check_shapes(state, record.dense_shapes)
    check_plan(plan, dense, record.dense_shapes, state)
    return _fill(dense, record, state)


def _read(folder: Path) -> tuple[Record, PruningPlan, bytes]:
    """The three files, each checked against its digest."""
    try:
        content = json.loads((folder / ARCHITECTURE).read_bytes())
        plan_text, weights = (folder / PLAN).read_bytes(), (folder / WEIGHTS).read_bytes()
        recorded = content.pop("digest", None)
        record = Record.model_validate(content)
    except FileNotFoundError as error:
        msg = f"{error.filename} is missing: {folder} must hold {WEIGHTS}, {PLAN} and {ARCHITECTURE}"
        raise CheckpointError(msg) from error
    except (ValueError, AttributeError, ValidationError) as error:
        msg = f"{folder / ARCHITECTURE} is not what eyas.save writes: {error}"
        raise CheckpointError(msg) from error
    if record.digest != recorded:
        msg = f"{folder / ARCHITECTURE} was changed: digest {record.digest}, recorded {recorded}"
        raise CheckpointError(msg)
    plan = PruningPlan.from_json(plan_text)
    if plan.digest != record.plan:
        msg = f"{folder / PLAN} is not the plan these weights were cut by: {plan.digest}, recorded {record.plan}"
        raise PlanError(msg)
    sha256 = hashlib.sha256(weights).hexdigest()
    if sha256 != record.weights:
        msg = f"{folder / WEIGHTS} was changed or replaced: sha256 {sha256}, recorded {record.weights}"
        raise CheckpointError(msg)
    return record, plan, weights


def _fill(dense: nn.Module, record: Record, state: dict[str, Tensor]) -> nn.Module:
    """The dense module's tree with the saved tensors and attributes."""
    by_tensor = {id(tensor): name for name, tensor in reversed(_tensors(dense).items())}

    def take(tensor: Tensor) -> Tensor:
        name = by_tensor[id(tensor)]
        found = state.get(name)
        if found is None:
            found = tensor.detach().clone()
            for dim, kept in sorted(record.transient.get(name, {}).items()):
                found = found.index_select(dim, torch.tensor(kept, dtype=torch.long))
        return nn.Parameter(found, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else found

    check_transient(record.transient, record.dense_shapes)
    small = rebuild(dense, take)
    set_attributes(small, record.attributes)
    check_attributes(small, dense, record.attributes)
    return small.eval()


def _check_dense(dense: nn.Module, record: Record) -> None:
    """Refuse a factory that builds another network than the one that was pruned."""
    shapes = {name: tuple(tensor.shape) for name, tensor in _unique(dense).items()}
    missing, unexpected = sorted(set(record.dense_shapes) - set(shapes)), sorted(set(shapes) - set(record.dense_shapes))
    differ = sorted(n for n in set(shapes) & set(record.dense_shapes) if shapes[n] != record.dense_shapes[n])
    if missing or unexpected or differ:
        msg = (
            f"{record.architecture} with {record.arguments} builds another network than the saved one: "
            f"missing {missing[:5]}, unexpected {unexpected[:5]}, other shape {differ[:5]}"
        )
        raise CheckpointError(msg)


def _check_shapes(small: nn.Module, space: "SearchSpace", plan: PruningPlan) -> None:
    """Refuse to save a network beside a plan that does not lead to it."""
    slices, shapes = space.slices(plan), space.layout.shapes
    found = {name: tuple(tensor.shape) for name, tensor in _unique(small).items()}
    for name, dense in shapes.items():
        kept = slices.get(name, {})
        expected = tuple(len(kept[dim]) if dim in kept else size for dim, size in enumerate(dense))
        if found.get(name) != expected:
            msg = f"{name} has shape {found.get(name)}, the plan leads to {expected}: save with its own plan"
            raise PlanError(msg)


def _unique(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers, tied ones under their first name."""
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers under all their names."""
    named = [*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)]
    return dict(named)


def _state_names(model: nn.Module) -> set[str]:
    """Names of the state dict, tied tensors once."""
    return set(_unique(model)) & set(model.state_dict())


def _state(model: nn.Module) -> dict[str, Tensor]:
    """The state dict to write: contiguous, on the CPU, tied tensors once."""
    unique = _unique(model)
    return {name: unique[name].detach().cpu().contiguous() for name in sorted(_state_names(model))}


def _save_program(small: nn.Module, path: Path, space: "SearchSpace") -> None:
    """Write an exported program; the batch size stays free where the network allows it."""
    args, kwargs = pytree.tree_map(_two_images, space.example)
    shared = share_structure(small).cpu().eval()
    with warnings.catch_warnings(), _quiet():
        warnings.simplefilter("ignore")
        try:
            named = inspect.signature(shared.forward).bind(*args, **kwargs).arguments
            free = pytree.tree_map(_free_batch, dict(named))
            program = torch.export.export(shared, args, kwargs, dynamic_shapes=free, strict=False)
        except Exception:  # a network may hard-wire its batch size: the example's own then
            try:
                program = torch.export.export(shared, *space.example, strict=False)
            except Exception as error:
                first = (str(error).strip().splitlines() or [type(error).__name__])[0]
                msg = f"torch.export cannot write {type(small).__name__} as a program: {first}"
                raise BadInputError(msg) from error
        for node in program.graph.nodes:
            node.meta.pop("stack_trace", None)  # it holds paths of the machine
        torch.export.save(program, path)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep what torch says of a failed export to itself: it logs and prints whole graphs."""
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.disable(disabled)


def _free_batch(item: Any) -> Any:
    """The first dimension of a tensor may vary."""
    return {0: torch.export.Dim.AUTO} if isinstance(item, Tensor) and item.ndim else None


def _two_images(item: Any) -> Any:
    """A batch of two of the same: one image would fix the batch size."""
    return item[:1].repeat_interleave(2, 0).cpu() if isinstance(item, Tensor) and item.ndim else item
