"""Networks on disk, dense and pruned: one form, one writer, one reader that builds them from their architecture's name.

``model.safetensors`` holds the state, ``architecture.json`` the factory and its arguments, digests, and of a pruned
network what surgery changed (:mod:`eyas.networks.architecture_record`); a pruned network has ``plan.json``, too, its
kept channels. Nothing is pickled. The same network gives the same bytes. Optionally ``model.pt2``, an exported program
that needs no code.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from eyas.errors import CheckpointError, PlanError
from eyas.networks.answers import record_answers, require_answers
from eyas.networks.architecture_record import (
    ARCHITECTURE,
    PLAN,
    WEIGHTS,
    Answers,
    ArchitectureRecord,
    Pruning,
    read_record,
)
from eyas.networks.architectures import build_architecture, seeded
from eyas.networks.checkpoint import apply_weights
from eyas.networks.constants import checksums, require_constants
from eyas.networks.exported_program import save_program
from eyas.networks.named_tensors import first_names, state
from eyas.networks.saved_network_checks import (
    branches_of,
    check_attributes,
    check_dense,
    check_names,
    check_plan,
    check_pruned,
    check_shapes,
    check_transient,
    set_attributes,
    stale_attributes,
)
from eyas.pruning.plan import PruningPlan
from eyas.pruning.surgery import rebuild, uncompiled
from eyas.pruning.tracing.image_batch import image_batch

if TYPE_CHECKING:
    from eyas.pruning.space import SearchSpace

PROGRAM = "model.pt2"


@dataclass(frozen=True)
class Network:
    """A network, and how to build one of its kind."""

    model: nn.Module
    architecture: str
    """The factory of the dense network, ``package.module:name``."""
    arguments: dict[str, Any]
    """Its keyword arguments; JSON values."""
    input_shape: tuple[int, ...]
    """(C, H, W) of an image."""
    seen_by_checkpoint: bool = False
    """Its first weights came from training on all of the training data, score and calibration images too."""
    output: str | None = None
    """Path of the judged one of several outputs; None where there is one."""
    constants: tuple[Tensor, ...] = ()
    """Tensors that the forward code reads and that no state dict holds."""

    def example(self, images: int = 1) -> Tensor:
        """Zeros in the shape of a batch, on the CPU."""
        return torch.zeros(images, *self.input_shape)


def save_network(
    network: Network,
    folder: Path | str,
    *,
    pruned_to: "tuple[SearchSpace, PruningPlan] | None" = None,
    answers: Answers | None = None,
) -> Path:
    """Write a network; returns the folder, which is made if it is missing.

    Args:
        network: dense, or pruned and then trained or not.
        folder: where the files go.
        pruned_to: the dense network's search space, and the plan that a pruned network was pruned to.
        answers: what the network has to answer where it is loaded.

    Raises:
        PlanError: the network does not have the shapes the plan leads to.
    """
    folder, model = Path(folder), uncompiled(network.model)
    folder.mkdir(parents=True, exist_ok=True)
    pruning = _describe_pruning(model, *pruned_to) if pruned_to else None
    weights = safetensors.torch.save(state(model))
    record = ArchitectureRecord(
        architecture=network.architecture,
        arguments=network.arguments,
        input_shape=network.input_shape,
        seen_by_checkpoint=network.seen_by_checkpoint,
        output=network.output,
        constants=checksums(network.constants),
        answers=answers,
        weights=hashlib.sha256(weights).hexdigest(),
        pruning=pruning,
    )
    (folder / WEIGHTS).write_bytes(weights)
    if pruned_to:
        (folder / PLAN).write_text(pruned_to[1].to_json())
    (folder / ARCHITECTURE).write_text(record.to_json())
    return folder


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
    _, shape = image_batch(space.model, space.example)
    network = Network(small, architecture, arguments or {}, shape, constants=space.constants)
    recorded = record_answers(uncompiled(small), space.example)
    folder = save_network(network, folder, pruned_to=(space, plan), answers=recorded)
    if program:
        save_program(uncompiled(small), folder / PROGRAM, space)
    return folder


def load(
    folder: Path | str,
    *,
    factory: Callable[..., nn.Module] | None = None,
    allowed: Sequence[str] | None = None,
) -> nn.Module:
    """Build a saved network again, in eval mode on the CPU.

    Args:
        folder: what :func:`save` wrote, or the pipeline's ``baseline`` stage.
        factory: builds the dense network from the saved arguments; without it the saved name is imported.
        allowed: packages whose own factories may be called, or single factories, ``package.module:factory``; by
            default ``models`` and pruned networks, and those listed in the environment's ``EYAS_ARCHITECTURES``
            (comma separated).

    Raises:
        CheckpointError: files are missing, were changed, or belong to another architecture.
        PlanError: the plan was changed, or its counts are not the weights'.
        ParameterError: the factory cannot be imported, or does not build a network.
    """
    return load_network(folder, factory=factory, allowed=allowed).model


def load_network(
    folder: Path | str,
    *,
    factory: Callable[..., nn.Module] | None = None,
    allowed: Sequence[str] | None = None,
) -> Network:
    """:func:`load`, and how the network was built."""
    folder = Path(folder)
    record = read_record(folder)
    plan = _read_plan(folder / PLAN, record.pruning) if record.pruning else None
    weights = _read_weights(folder / WEIGHTS, record)
    with seeded(0):
        if factory is not None:
            dense = factory(**record.arguments)
        else:
            dense = build_architecture(record.architecture, record.arguments, allowed)
    model, source = dense, str(folder / WEIGHTS)
    if record.pruning is None or plan is None:
        apply_weights(dense, weights, source=source)
    else:
        check_dense(dense, record.pruning.dense_shapes, f"{record.architecture} with {record.arguments}")
        check_names(dense, weights, source, {name for _, names in record.pruning.dropped for name in names})
        check_shapes(weights, record.pruning.dense_shapes)
        check_plan(plan, dense, record.pruning.dense_shapes, weights)
        model = _fill(dense, record.pruning, weights)
    constants = require_constants(model, record.input_shape, record.constants, source)
    require_answers(model.eval(), record.answers, source)
    return Network(
        model=model,
        architecture=record.architecture,
        arguments=record.arguments,
        input_shape=record.input_shape,
        seen_by_checkpoint=record.seen_by_checkpoint,
        output=record.output,
        constants=constants,
    )


def _describe_pruning(small: nn.Module, space: "SearchSpace", plan: PruningPlan) -> Pruning:
    """What a pruned network's record says of it."""
    check_pruned(small, space, plan)
    persistent = small.state_dict().keys()
    stale = {(module, name): value for module, name, value in stale_attributes(small, space.model)}
    attributes = {**stale, **space.attributes(plan)}
    slices = {name: dims for name, dims in space.slices(plan).items() if name not in persistent}
    return Pruning(
        dense_shapes=space.layout.shapes,
        attributes=sorted((module, name, value) for (module, name), value in attributes.items()),
        transient={name: {dim: kept.tolist() for dim, kept in dims.items()} for name, dims in slices.items()},
        plan=plan.digest,
        dropped=[(list(block.layers), list(block.tensors)) for block in space.dropped(plan)],
    )


def _read_weights(path: Path, record: ArchitectureRecord) -> dict[str, Tensor]:
    """The state, if its file is the one that the record names."""
    if not path.is_file():
        msg = f"{path} is missing: {ARCHITECTURE} beside it names it"
        raise CheckpointError(msg)
    content = path.read_bytes()
    sha256 = hashlib.sha256(content).hexdigest()
    if sha256 != record.weights:
        msg = f"{path} was changed or replaced: sha256 {sha256}, recorded {record.weights}"
        raise CheckpointError(msg)
    try:
        weights: dict[str, Tensor] = safetensors.torch.load(content)
    except SafetensorError as error:
        msg = f"{path} is no safetensors file ({error}): save the network again"
        raise CheckpointError(msg) from error
    return weights


def _read_plan(path: Path, pruning: Pruning) -> PruningPlan:
    """The plan, if it is the one that the record names."""
    if not path.is_file():
        msg = f"{path} is missing: a pruned network is saved with its plan"
        raise CheckpointError(msg)
    plan = PruningPlan.from_json(path.read_bytes())
    if plan.digest != pruning.plan:
        msg = f"{path} is not the plan these weights were cut by: {plan.digest}, recorded {pruning.plan}"
        raise PlanError(msg)
    if bool(pruning.dropped) == all(plan.kept.values()):
        msg = f"{path} and {ARCHITECTURE} beside it do not agree on whether residual blocks are left out"
        raise PlanError(msg)
    return plan


def _fill(dense: nn.Module, pruning: Pruning, weights: dict[str, Tensor]) -> nn.Module:
    """The dense module's tree with the saved tensors and attributes."""
    check_transient(pruning.transient, pruning.dense_shapes)
    names = first_names(dense)

    def take(tensor: Tensor) -> Tensor:
        name = names[id(tensor)]
        value = weights.get(name)
        if value is None:
            value = tensor.detach().clone()
            for dim, kept in sorted(pruning.transient.get(name, {}).items()):
                value = value.index_select(dim, torch.tensor(kept, dtype=torch.long))
        return nn.Parameter(value, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else value

    small = rebuild(dense, take)
    for branch in branches_of(small, pruning.dropped):
        branch.take_out()
    set_attributes(small, pruning.attributes)
    check_attributes(small, dense, pruning.attributes)
    return small
