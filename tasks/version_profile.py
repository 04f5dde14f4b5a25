"""The profile in which a registered version was made: whose data and parameters ``eyas adapt`` and ``watch`` take."""

import argparse
import json
import logging
import shlex
from collections.abc import Sequence
from pathlib import Path

from eyas.config.plugins import ORIGIN
from eyas.errors import EyasError
from eyas.operations.tracking import Version
from tasks.profile_name import DEFAULT, check_name, profile_overrides
from tasks.workspace import Workspace, open_workspace

log = logging.getLogger(__name__)


def open_by_command(root: Path, command: str, overrides: Sequence[str] = ()) -> Workspace:
    """The workspace that an ``eyas run ...`` works in, with its parameters as they are now.

    Args:
        root: the checkout.
        command: as :attr:`Workspace.command` has it.
        overrides: further ones.

    Raises:
        ParameterError: it cannot be opened.
    """
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--params", default="params.yaml")
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--name")
    options, _ = parser.parse_known_args(shlex.split(command))
    return open_workspace(root, root / options.params, [*options.set, *overrides], name=options.name)


def in_profile_of(
    version: Version | None, workspace: Workspace, overrides: Sequence[str], name: str | None
) -> Workspace:
    """The workspace that made a version, if it is on this machine; else the one that was named.

    The registry tells no more than the profile's name: what its parameters are, and so which code builds the network,
    is what was run in this checkout.

    Args:
        version: of the registered model; None for none.
        workspace: that the command names.
        overrides: what was typed. Those that say how to work, such as ``adapt.batch_size=32``, hold in the version's
            profile, too; with others, or with ``name``, the command names its own profile, which stays.
        name: that was typed.
    """
    made_in = version.tags.get("eyas.profile") if version else None
    if version is None or made_in in (None, workspace.name) or name is not None or profile_overrides(overrides):
        return workspace
    try:
        own = _open(workspace.root, str(made_in), overrides)
    except EyasError as error:
        log.info("the profile %s, which made %s, cannot be opened: %s", made_in, version, error)
        return workspace
    if own is None or own.params.register_.model != version.name:
        return workspace
    log.info("%s was made in the profile %s, whose data and parameters are taken", version, own.name)
    return own


def _open(root: Path, profile: str, overrides: Sequence[str]) -> Workspace | None:
    """A profile of this checkout by its name; None where it has none."""
    if profile == DEFAULT:
        return open_workspace(root, overrides=overrides)
    check_name(profile)
    origin = root / "workspaces" / profile / ORIGIN
    if not origin.exists():
        return None
    return open_by_command(root, str(json.loads(origin.read_text())["command"]), overrides)
