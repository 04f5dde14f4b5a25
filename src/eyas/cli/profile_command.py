"""``eyas profile``: how long the layers of a network take, on this device or on another."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from eyas.cli.network_arguments import parse_arguments, parse_shape
from eyas.cli.options import Name, Overrides, ParamsFile
from eyas.cli.project import find_project, hand_over
from eyas.errors import ParameterError


def profile(
    *,
    out: Annotated[Path, typer.Option(metavar="FILE", resolve_path=True, help="The table to write.")] = Path(
        "device.json"
    ),
    plan: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", resolve_path=True, help="Measure nothing; write what another device measures."),
    ] = None,
    runtime: Annotated[str, typer.Option(metavar="KIND", help="Runtime to measure in.")] = "onnx",
    threads: Annotated[int, typer.Option(min=1, metavar="N", help="Threads of the runtime.")] = 1,
    batch: Annotated[int, typer.Option(min=1, metavar="N", help="Images per run.")] = 1,
    model: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="A name in models/, or package.module:factory [default: the project's]."),
    ] = None,
    shape: Annotated[str | None, typer.Option("--input", metavar="SHAPE", help="Of MODEL, as in 1,3,224,224.")] = None,
    arguments: Annotated[str, typer.Option(metavar="JSON", help="Keyword arguments of MODEL's factory.")] = "{}",
    num_classes: Annotated[int, typer.Option(metavar="N", help="Of a name in models/.")] = 10,
    params: ParamsFile = None,
    overrides: Overrides = None,
    name: Name = None,
) -> int:
    """Time a network's layers, to predict latency.

    The table of times over widths predicts the latency of candidates.

    \b
    Examples:
      eyas profile --out device.json
      eyas profile --model resnet20 --input 1,3,32,32 --threads 4
      eyas profile --plan plan    # then take plan to the device, and run it there
    """
    from eyas.storage.local_files import require_folder, require_place

    if plan is None:
        require_place(out, "--out")
    else:
        require_folder(plan, "--plan")
    how: dict[str, Any] = {"out": out, "plan": plan, "runtime": runtime, "threads": threads, "batch": batch}
    if model is None:
        return hand_over("profile", params, overrides or [], name, **how)
    if shape is None:
        msg = f"--model {model}: give the shape of its input too, such as --input 1,3,224,224"
        raise ParameterError(msg)
    parse_arguments(arguments)
    parse_shape(shape)
    from eyas.cli.profile_report import profile_space
    from eyas.cli.search_space import traced

    here = Path.cwd()
    project = find_project(here)
    sys.path[:0] = [str(folder) for folder in (here, project) if folder]
    space = traced(model, [shape], arguments, num_classes)
    typer.echo(profile_space(space, cache=(project or here) / ".eyas" / "latency", **how))
    return 0
