"""Commands that need no project: ``inspect``, ``verify`` and ``catalogue``."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from eyas.cli.network_arguments import parse_arguments, parse_shape
from eyas.cli.options import AsJson, ParamsFile, require_there
from eyas.cli.project import find_project
from eyas.cli.terminal import echo, terminal_width, wrapped
from eyas.errors import ParameterError

PIPE_WIDTH = 120
"""Columns of the catalogue where no terminal limits them."""


def inspect(
    *,
    model: Annotated[str, typer.Option(metavar="MODEL", help="A name in models/, or package.module:factory.")],
    inputs: Annotated[
        list[str], typer.Option("--input", metavar="SHAPE", help="As in 1,3,224,224; once per input of the network.")
    ],
    arguments: Annotated[str, typer.Option(metavar="JSON", help="Keyword arguments of the factory.")] = "{}",
    num_classes: Annotated[int, typer.Option(metavar="N", help="Of a name in models/.")] = 10,
    ignore: Annotated[
        list[str] | None,
        typer.Option(metavar="PATTERN", help="Layer name or type that stays whole; may be repeated."),
    ] = None,
    round_to: Annotated[int, typer.Option(metavar="N", help="Widths become multiples of this.")] = 1,
    min_width: Annotated[int, typer.Option(metavar="N", help="No group is made smaller than this.")] = 1,
    depth: Annotated[bool, typer.Option("--depth", help="Also the residual blocks that may be left out.")] = False,
    as_json: AsJson = False,
) -> int:
    """Show what of a network can be pruned, and why not.

    \b
    Examples:
      eyas inspect --model resnet20 --input 1,3,32,32
      eyas inspect --model my_package.networks:build \\
        --input 1,3,128,128 --ignore head.*
    """
    parse_arguments(arguments)
    for text in inputs:
        parse_shape(text)
    project = find_project(Path.cwd())
    if ":" not in model and project is None and not (Path.cwd() / "models").is_dir():
        msg = (
            f"--model {model}: a name is one of a project's models/, and {Path.cwd()} is in no project: "
            "go to one, or give package.module:factory"
        )
        raise ParameterError(msg)
    from eyas.cli.search_space import search_space

    # Networks of the user lie beside them, those of a project in its models/.
    sys.path[:0] = [str(folder) for folder in (Path.cwd(), project) if folder]
    limits = {"ignore": tuple(ignore or ()), "round_to": round_to, "min_width": min_width, "depth": depth}
    typer.echo(search_space(model, inputs, arguments, num_classes, as_json=as_json, **limits))
    return 0


def verify(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="Its folder, or its .tar.gz.")],
    *,
    statistics: Annotated[
        Path | None, typer.Option(metavar="FILE", help="What its adapt.py wrote on a device: accepted, or refused (3).")
    ] = None,
    few_images: Annotated[
        bool, typer.Option("--few-images", help="Take statistics of fewer than 64 images as well.")
    ] = False,
) -> int:
    """Check a bundle's files, and its answers here.

    Every file is held against the sha256 in its manifest.json; then the golden pairs are replayed, without
    running any code of the bundle. Statistics of a device are asked by the limits of adapt.rule what can be asked
    without labels.

    \b
    Examples:
      eyas verify artifacts/export/bundle
      eyas verify bundle.tar.gz
      eyas verify bundle.tar.gz --statistics statistics.safetensors
    """
    require_there(bundle, *([statistics] if statistics else []))
    from eyas.deploy.bundle.verification import verify_bundle

    verified = verify_bundle(bundle, statistics, few_images=few_images)
    most = f"a probability differs by {verified.max_difference:.2g} at most, allowed is {verified.allowed:g}"
    if verified.masks:
        most = f"{verified.max_difference:.2%} of a mask's pixels at most differ, allowed is {verified.allowed:.0%}"
    echo(
        f"{bundle} is as it was made: its manifest.json has sha256 {verified.digest}; on its "
        f"{verified.pairs} golden pairs ONNX Runtime here answers as PyTorch did where it was made: {most}"
    )
    if verified.changed is not None:
        for line in verified.reasons:
            echo(line)
        alone = "" if verified.reasons else "; by these alone, since it tells nothing of the images that it was made of"
        echo(f"{statistics} is accepted: {verified.changed:.0%} of the golden images get another class{alone}")
    return 0


def catalogue(
    *,
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="A family, one of its members, a section, command or error.")
    ] = None,
    docs: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", resolve_path=True, help="Write reference.md and api.md into this folder."),
    ] = None,
    params: ParamsFile = None,
) -> int:
    """List algorithms, parameters, commands and errors.

    Those of plugins are among them: they are what installed packages bring, and what the parameter file names under
    plugins.

    \b
    Examples:
      eyas catalogue
      eyas catalogue criterion
      eyas catalogue score
      eyas catalogue sampler --params mine.yaml
    """
    if params:
        require_there(params)
    from eyas.cli.api import api
    from eyas.cli.catalogue import chapters, find
    from eyas.cli.reference import details, listing, reference

    if not docs:
        _import_plugins(params)
    if docs:
        docs.mkdir(parents=True, exist_ok=True)
        for page, text in (("reference.md", reference(chapters())), ("api.md", api())):
            (docs / page).write_text(text)
    elif name:
        texts = ((entry.help, details(entry)) for entry in find(name))
        columns = terminal_width() or PIPE_WIDTH
        typer.echo("\n\n".join(text if asked else wrapped(text, columns, 4) for asked, text in texts))
    else:
        typer.echo(listing(chapters(), terminal_width() or PIPE_WIDTH))
    return 0


def _import_plugins(params: Path | None) -> None:
    """Those that the parameter file names, or the project's own, and those that are installed."""
    from eyas.component import import_installed_plugins
    from eyas.config.pipeline import import_plugins_of

    project = find_project(Path.cwd())
    file = params or (project / "params.yaml" if project else None)
    if file:
        import_plugins_of(file)
    else:
        import_installed_plugins()
