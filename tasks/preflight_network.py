"""Looking before a run at the network: is it built, does the checkpoint fit, is the budget in reach, is it exported."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from eyas.config import PipelineParams, expand
from eyas.data.tasks import Task
from eyas.deploy.named_outputs import flattened
from eyas.errors import EyasError, ParameterError
from eyas.networks.architectures import build_model, find_architecture
from eyas.networks.checkpoint import load_checkpoint
from eyas.networks.operated_network import operate
from eyas.networks.saved_network import Network
from eyas.pruning.space import SearchSpace
from eyas.pruning.sparsify import SparseLayers
from eyas.sampling.placement import Placement
from eyas.sampling.samplers import Sampler
from eyas.scoring import ScoreOptions
from eyas.scoring.arguments import choose_reward, search_scorer
from eyas.scoring.engine import EXAMPLES
from eyas.storage import local_files
from eyas.storage.addresses import parse
from eyas.training.loop import require_shared_batches
from eyas.training.optimiser_step import Networks
from eyas.training.recipes import Recipe
from eyas.training.trial_step import check_learns
from tasks import baseline, export, fetch, finetune, sample, score
from tasks.dense_source import DenseSource, classes_of_network
from tasks.drawn_candidates import budget_of
from tasks.latency_profile import latency_model
from tasks.preflight_data import list_classes
from tasks.registered_checkpoint import registered_address
from tasks.rounding import rounded
from tasks.search_space import trace_network
from tasks.stage import name_fields
from tasks.training_processes import check_processes
from tasks.training_support import check_fits, check_recipe_on, training_fields


@dataclass
class NetworkLook:
    """What a look at the network came to."""

    faults: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    """What could not be looked at yet, and why."""

    @contextmanager
    def telling(self, place: str, fields: Mapping[str, str]) -> Iterator[None]:
        """Keep an error as a fault of ``place``, with fields of ``params.yaml`` for the library's arguments."""
        try:
            yield
        except EyasError as error:
            message = name_fields(str(error), fields)
            self.faults.append(f"{place}: {message.removeprefix(f'{place}: ')}")


@dataclass(frozen=True)
class ExpectedData:
    """What a network needs to know of data that is not here yet; see :class:`eyas.data.Dataset`."""

    image_shape: tuple[int, int, int]
    num_classes: int
    task: Task


def trainings(params: PipelineParams) -> dict[str, bool]:
    """Whether the two stages that can train do."""
    adapts = params.baseline.checkpoint is None or params.baseline.adapt_epochs != 0
    return {"baseline": adapts, "finetune": params.finetune.epochs != 0}


def check_shared_batches(params: PipelineParams) -> None:
    """Several processes can start, and the recipes of both trainings let them share a batch."""
    check_processes(params.runtime)
    recipes = {"baseline": params.baseline.recipe, "finetune": params.finetune.recipe}
    for section, trains in trainings(params).items():
        if trains:
            try:
                require_shared_batches(recipes[section])
            except ParameterError as error:
                raise ParameterError(name_fields(str(error), training_fields(section))) from error


def look_at_network(params: PipelineParams, root: Path, artifacts: Path) -> NetworkLook:
    """Build, fill, trace and export the dense network, as far as each needs nothing that failed before."""
    look, section = NetworkLook(), params.baseline
    if registered_address(params):
        look.skipped.append("the network: the run brings it from the registry")
        return look
    names = None
    with look.telling("fetch", fetch.FIELDS):
        names = list_classes(params, root, artifacts)
        if names is None:
            look.skipped.append("the network: how many classes it tells apart is known when the data is here")
    classes = None if names is None else len(names)
    if classes == 0:
        classes = _classes_of_checkpoint(params, root, look)
    if classes is None:
        return look
    shape = (len(params.fetch.mean), params.fetch.image_size, params.fetch.image_size)
    data, size = ExpectedData(shape, classes, params.fetch.task), None
    with look.telling("baseline.architecture", baseline.FIELDS):
        model = build_model(section.architecture, section.arguments, classes, seed=section.seed)
        output = check_fits(model, data, params.output, operated=bool(section.surgeries))
        size = len(model.state_dict())
        if any(trainings(params).values()):
            check_learns(model, data.image_shape, output)
    for stage, trains in trainings(params).items():
        with look.telling(f"{stage}.recipe", training_fields(stage)):
            if trains:
                check_recipe_on(getattr(params, stage).recipe, data)
    if size is None:
        return look
    with look.telling("baseline.checkpoint", baseline.FIELDS):
        _load(params, model, names or (), root, look)
    _look_inside(params, model, data, output, look, root=root)
    return look


def _classes_of_checkpoint(params: PipelineParams, root: Path, look: NetworkLook) -> int | None:
    """How many classes the network tells apart, where no label says so; None where the checkpoint is remote."""
    section = params.baseline
    address = parse(expand(section.checkpoint or ""))
    weights = root / address.key if address.scheme == "file" else None
    source = DenseSource(section.architecture, section.arguments, weights)
    with look.telling("baseline.checkpoint", baseline.FIELDS):
        if classes := classes_of_network(0, source, section.checkpoint_key):
            return classes
        look.skipped.append("the network: how many classes it tells apart is known when the checkpoint is here")
    return None


def _load(params: PipelineParams, model: nn.Module, names: Sequence[str], root: Path, look: NetworkLook) -> None:
    section = params.baseline
    if section.checkpoint is None:
        return
    address = parse(expand(section.checkpoint))
    if address.scheme != "file":
        look.skipped.append("whether the checkpoint fits: it is remote")
        return
    path = local_files.one_file(str(root / address.key))
    local_files.check(path, path.name, section.checkpoint_sha256)
    load_checkpoint(model, path, section.checkpoint_key, names)


def _check_search(
    params: PipelineParams, network: Network, images_NCHW: Tensor, look: NetworkLook, *, root: Path
) -> None:
    """Whether the network has a search space, and the sampler proposes a candidate in it at the budget."""
    space = rounded(trace_network(network, params.sample), params.sample, root)
    budget = budget_of(space, params.sample, root)
    Placement(space, budget).check_reachable()
    usable = False
    with look.telling("sample.sampler", sample.FIELDS):
        params.sample.sampler.check_space(space)
        usable = not params.sample.sampler.needs_table  # nothing is measured before a run
    with look.telling("score.reward", score.FIELDS):
        _check_reward(params, space, images_NCHW, network.output, root=root)
    (params.sample.sampler if usable else Sampler.parse("budget")).ask(space, budget, 1, seed=params.sample.seed)


def _check_objective(recipe: Recipe, networks: Networks) -> None:
    """Whether the recipe finds in the network the blocks that it freezes, and what it minimises."""
    if recipe.layer_freezing is not None:
        recipe.layer_freezing.blocks_of(networks.model)
    recipe.whole_objective(networks)


def _check_reward(
    params: PipelineParams, space: SearchSpace, images_NCHW: Tensor, output: str | None, *, root: Path
) -> None:
    """Whether ``score.reward`` goes with what ranks, and with what is known of milliseconds."""
    reward, section = params.score.reward, params.score
    if reward is None:
        return
    latency = latency_model(space, params.sample, root) if reward.latency else None
    scorer = section.scorer or search_scorer(space.model.eval(), images_NCHW[:EXAMPLES], None, output)
    choose_reward(ScoreOptions(prior=section.prior, reward=reward, latency=latency), scorer)


def _look_inside(
    params: PipelineParams, model: nn.Module, data: ExpectedData, output: str | None, look: NetworkLook, *, root: Path
) -> None:
    """Search space, budget and export of a network that takes the images."""
    section, operated = params.baseline, None
    named = find_architecture(section.architecture, section.arguments, data.num_classes)
    images_NCHW = torch.rand(8, *data.image_shape, generator=torch.Generator().manual_seed(0))
    with look.telling("baseline.surgeries", baseline.FIELDS):
        operated = operate(model, section.surgeries, images_NCHW)
    if operated is None:
        return
    model = operated.finish()
    network = Network(model, named.factory, named.arguments, data.image_shape, output=output)
    with look.telling("sample.budget", sample.FIELDS):
        _check_search(params, network, images_NCHW, look, root=root)
    for stage, trains in trainings(params).items():
        with look.telling(f"{stage}.recipe", training_fields(stage)):
            if trains:
                teacher = model if stage == "finetune" else None
                networks = Networks(model, teacher, output, data.num_classes, example=images_NCHW[:1])
                _check_objective(getattr(params, stage).recipe, networks)
    with look.telling("finetune.sparsity", finetune.FIELDS):
        if params.finetune.sparsity is not None:
            SparseLayers.choose(model, params.finetune.sparsity)
    for exporter in params.export.chosen.values():
        with look.telling("export.exporters", export.FIELDS):
            exporter.try_on(flattened(model, images_NCHW, output), images_NCHW)
