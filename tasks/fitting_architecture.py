"""Which architecture a file of weights is of, by the names and shapes of its tensors."""

import importlib.util
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import models
from eyas.errors import ParameterError, nearest
from eyas.networks.architectures import Architecture
from eyas.networks.checkpoint_tensors import OPTIONAL
from tasks.defined_networks import defined_as
from tasks.preflight_names import no_package

SHORT = {"torchvision": "torchvision.models:{}", "timm": "timm:create_model"}
"""``torchvision/resnet18`` and ``timm/resnet18`` stand for these factories."""
Shapes = dict[str, tuple[int, ...]]


def spelt_out(name: str, arguments: Mapping[str, Any]) -> Architecture:
    """An architecture as ``params.yaml`` names it, from what a person types.

    Raises:
        ParameterError: it is neither in ``models/``, nor ``package.module:factory``, nor of a package that is here.
    """
    package, _, inner = name.partition("/")
    if inner and package in SHORT:
        if importlib.util.find_spec(package) is None:
            msg = f"{name}: {package} is not installed: pip install {package}"
            raise ParameterError(msg)
        own = {"model_name": inner} if package == "timm" else {}
        return Architecture(SHORT[package].format(inner), {**own, **arguments})
    if ":" not in name and name not in models.names():
        near = nearest(name, models.names())
        msg = f"{name!r} is not in models/{near}: give a name there, module:factory, torchvision/NAME or timm/NAME"
        raise ParameterError(msg)
    return Architecture(name, dict(arguments))


def require_known(name: str, folders: Sequence[Path]) -> None:
    """Refuse a name that is no architecture, or whose module cannot be imported, with what the folders define by it.

    Args:
        name: what a person typed.
        folders: where a module of the user's own may lie.

    Raises:
        ParameterError: offers ``module:name``, and how its folder gets on PYTHONPATH.
    """
    module, colon, factory = name.rpartition(":")
    if not colon and (name in models.names() or "/" in name):
        return
    package = module.partition(".")[0]
    if colon and (not package or importlib.util.find_spec(package) is not None):
        return
    known = {Path(one).resolve() for one in sys.path}
    for reference, folder in defined_as(factory, folders):
        if not colon or reference == name:
            where = "" if folder in known else f"; start eyas as PYTHONPATH={shlex.quote(str(folder))} eyas ..."
            msg = f"{name!r} is not in models/: give {reference}, which is in {folder}{where}"
            if colon:
                msg = f"{name!r} is in {folder}, which is not on PYTHONPATH{where}"
            raise ParameterError(msg)
    if colon:
        msg = no_package(name)
        raise ParameterError(msg)


def fitting_architectures(weights: Mapping[str, Tensor]) -> list[Architecture]:
    """The networks of ``models/`` whose state has just these names and shapes, with the arguments that make it so."""
    shapes = without_wrapper({name: tuple(value.shape) for name, value in weights.items()})
    classes, channels, width = num_classes(shapes), in_channels(shapes), _width(shapes)
    known = {"in_channels": channels} if channels != 3 else {}
    fitting = []
    for name in models.names():
        usual = _shapes_of(name, classes, known)
        if usual is None or usual.keys() != shapes.keys():  # no argument changes names
            continue
        tried = ({**known, **more} for more in ({}, *_variants(width)))
        arguments = next((one for one in tried if _shapes_of(name, classes, one) == shapes), None)
        if arguments is not None:
            fitting.append(Architecture(name, arguments))
    return fitting


def num_classes(shapes: Shapes) -> int:
    """Rows of the last weight or bias."""
    last = [shape for shape in shapes.values() if shape]
    return last[-1][0] if last else 0


def in_channels(shapes: Shapes) -> int:
    """What the first convolution reads; 3 where there is none."""
    return next((shape[1] for shape in shapes.values() if len(shape) == 4), 3)


def without_wrapper(shapes: Shapes) -> Shapes:
    """Only what every network has, by the names that it has there: Lightning puts ``model.`` before each."""
    kept = {name: shape for name, shape in shapes.items() if not name.endswith(OPTIONAL)}
    first = {name.partition(".")[0] for name in kept}
    wrapped = len(first) == 1 and first & {"model", "net", "network", "backbone"}
    return {name.partition(".")[2]: shape for name, shape in kept.items()} if wrapped else kept


def _variants(width: int) -> Iterator[dict[str, Any]]:
    """Arguments beside the usual ones that change shapes."""
    yield {"width": width}
    yield {"small_images": True}
    for share in (0.25, 0.5, 0.75, 1.4):
        yield {"width_mult": share}


def _width(shapes: Shapes) -> int:
    return next((shape[0] for shape in shapes.values() if len(shape) == 4), 0)


def _shapes_of(name: str, classes: int, arguments: Mapping[str, Any]) -> Shapes | None:
    """Of a network that is described and not made; None where it does not take the arguments."""
    try:
        with torch.device("meta"):
            state = models.build(name, classes, **arguments).state_dict()
    except (TypeError, ValueError, RuntimeError):
        return None
    return without_wrapper({key: tuple(value.shape) for key, value in state.items()})
