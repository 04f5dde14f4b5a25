"""The MLflow store that parameters name, and which version is a profile's candidate there."""

from pathlib import Path

from eyas.config import PipelineParams
from eyas.errors import EyasError
from eyas.operations import tracking
from eyas.operations.tracking.candidate_alias import CandidateAlias
from tasks.stage import name_fields
from tasks.workspace import Workspace


def open_store(workspace: Workspace) -> tracking.MlflowStore:
    """The MLflow store that the workspace's parameters or the environment name."""
    return open_store_of(workspace.params, workspace.root)


def open_store_of(params: PipelineParams, root: Path) -> tracking.MlflowStore:
    """:func:`open_store` of parameters that are no workspace's; ``root`` is the checkout."""
    try:
        return tracking.open_store(root, uri=params.runtime.tracking_uri, experiment=params.runtime.experiment)
    except EyasError as error:
        raise type(error)(name_fields(str(error), {"uri": "runtime.tracking_uri"})) from None


def is_unused(workspace: Workspace) -> bool:
    """Whether nothing was ever recorded in the workspace's store, which then need not be opened."""
    return tracking.is_unused(workspace.root, workspace.params.runtime.tracking_uri)


def candidate_alias(workspace: Workspace) -> CandidateAlias:
    """Which version is the candidate of this profile."""
    params = workspace.params
    return CandidateAlias(workspace.name, params.sample.budget.limits, params.register_.alias)
