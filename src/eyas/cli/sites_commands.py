"""``eyas sites``: statistics and losses of sites that cannot share images; a command for each step."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from eyas.cli.command_help import Command
from eyas.cli.options import AsJson, port, require_files, require_there
from eyas.cli.project import find_project
from eyas.errors import DataError, ParameterError

if TYPE_CHECKING:
    from torch import nn

    from eyas.adaptation.sites.exchange import Exchange

sites = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="""Choose among networks by images that stay at their sites.

    A site collects batch-norm statistics, the coordinator merges them, the site judges the networks with the merged
    ones, the coordinator ranks. What they tell each other lies in an exchange: a folder, or the address of
    eyas sites serve.

    \b
    Examples:
      eyas sites collect exchange candidates/* --site north \\
        --images photos --bundle bundle
      eyas sites merge exchange candidates/*
      eyas sites judge exchange candidates/* --site north \\
        --images photos --bundle bundle
      eyas sites rank exchange candidates/*
    """,
)

Place = Annotated[str, typer.Argument(metavar="EXCHANGE", help="A folder, or http(s)://host:port of the coordinator.")]
Folder = Annotated[Path, typer.Argument(metavar="EXCHANGE", help="The folder that messages lie in.")]
Networks = Annotated[list[Path], typer.Argument(metavar="NETWORK...", help="Folders that eyas.save or a run wrote.")]
Site = Annotated[str, typer.Option("--site", metavar="NAME", help="Of this site: letters, digits, - and _.")]
Images = Annotated[Path, typer.Option("--images", metavar="FOLDER", help="This site's images.")]
Bundle = Annotated[
    Path, typer.Option("--bundle", metavar="FOLDER", help="A bundle: how images are read, and what classes are called.")
]
LeaveOut = Annotated[
    bool, typer.Option("--leave-out-faulty", help="Go on without sites of which a message cannot be one.")
]
LeaveOutSilent = Annotated[
    bool, typer.Option("--leave-out-silent", help="Go on without sites that collected and did not judge.")
]
Exact = Annotated[bool, typer.Option("--exact", help="A layer per round: exact at any depth.")]


@sites.command(cls=Command)
def collect(
    exchange: Place, networks: Networks, site: Site, images: Images, bundle: Bundle, *, exact: Exact = False
) -> int:
    """Leave the statistics of this site's images.

    For each network; labels are not needed.

    \b
    Examples:
      eyas sites collect exchange candidates/* --site north \\
        --images photos --bundle bundle
      EYAS_SITES_SECRET=... eyas sites collect https://host:8910 candidates/* \\
        --site north --images photos --bundle bundle
    """
    require_files(images)
    require_there(bundle, *networks)
    place = _exchange(exchange, site)
    from eyas.adaptation.sites import collection, coordinator, network_digest, site_images

    models = _load(networks)
    pixels = site_images.read_images(images, bundle)
    for name, model in models.items():
        known = place.merged(network_digest.network_digest(model)) if exact else None
        merged = coordinator.require_merged(known, model, name) if known else None
        statistics = collection.collect(model, pixels, site, exact=exact, merged=merged)
        place.put(statistics.encode())
        what = ", ".join(statistics.layers) if exact else f"{len(statistics.layers)} layers"
        typer.echo(f"{name}: statistics of {what} on {statistics.images} images of {site}")
    return 0


@sites.command(cls=Command)
def merge(exchange: Folder, networks: Networks, *, exact: Exact = False, leave_out_faulty: LeaveOut = False) -> int:
    """Merge what the sites told, for each network.

    A message that cannot be one is refused with its file, and nothing is merged, unless --leave-out-faulty.

    \b
    Examples:
      eyas sites merge exchange candidates/*
    """
    require_there(exchange, *networks)
    from eyas.adaptation.drift.expected_help import FEWEST_IMAGES
    from eyas.adaptation.sites.coordinator import faulty_statistics, merge_candidates
    from eyas.adaptation.sites.exchange import FolderExchange

    place, models, fewest = FolderExchange(exchange), _load(networks), FEWEST_IMAGES
    left_out = _left_out(faulty_statistics(place, models.values()), leave_out_faulty, "collect")
    merged = merge_candidates(place, models.values(), exact=exact, leave_out=left_out)
    for name, images in zip(models, merged, strict=True):
        typer.echo(f"{name}: merged {', '.join(f'{site} ({count} images)' for site, count in images.items())}")
        fewest = min(fewest, sum(images.values()))
    if fewest < FEWEST_IMAGES:
        typer.echo(f"{fewest} images are few, collect at least {FEWEST_IMAGES}", err=True)
    return 0


@sites.command(cls=Command)
def judge(exchange: Place, networks: Networks, site: Site, images: Images, bundle: Bundle) -> int:
    """Leave the losses of this site's images.

    Of each network with its merged statistics; images lie in a folder per class.

    \b
    Examples:
      eyas sites judge exchange candidates/* --site north \\
        --images photos --bundle bundle
    """
    require_files(images)
    require_there(bundle, *networks)
    place = _exchange(exchange, site)
    from eyas.adaptation.sites import coordinator, network_digest, site_images, site_losses

    models = _load(networks)
    pixels, labels = site_images.read_labelled_images(images, bundle)
    for name, model in models.items():
        merged = coordinator.require_merged(place.merged(network_digest.network_digest(model)), model, name)
        losses = site_losses.judge(model, pixels, labels, site, merged)
        place.put(losses.encode())
        loss, share = losses.cross_entropy / losses.images, losses.correct / losses.images
        typer.echo(f"{name}: cross-entropy {loss:.4f}, accuracy {share:.2%} on {losses.images} images of {site}")
    return 0


@sites.command(cls=Command)
def rank(
    exchange: Folder,
    networks: Networks,
    *,
    leave_out_faulty: LeaveOut = False,
    leave_out_silent: LeaveOutSilent = False,
    as_json: AsJson = False,
) -> int:
    """Networks by cross-entropy over all sites' images.

    A message that cannot be one is refused with its file; --leave-out-faulty goes on. So is a ranking without a site
    that collected and did not judge; --leave-out-silent goes on. Where a site judges other numbers of images than it
    collected, as where not all have labels, that is told.

    \b
    Examples:
      eyas sites rank exchange candidates/*
    """
    require_there(exchange, *networks)
    from eyas.adaptation.sites.coordinator import collected_images, faulty_losses, rank_candidates
    from eyas.adaptation.sites.exchange import FolderExchange

    place, models = FolderExchange(exchange), _load(networks)
    left_out = _left_out(faulty_losses(place, models), leave_out_faulty, "judge")
    ranked = rank_candidates(place, models, leave_out=left_out)
    collected = collected_images(place, models.values())
    judged = next(iter(ranked.values())).site_images
    _require_all_sites([site for site in collected if site not in {*judged, *left_out}], leave_out_silent)
    for site in collected.keys() & judged.keys():
        if collected[site] != judged[site]:
            typer.echo(f"{site} collected on {collected[site]} images and judged {judged[site]}", err=True)
    if as_json:
        import json
        from dataclasses import asdict

        typer.echo(json.dumps([{"name": name, **asdict(candidate)} for name, candidate in ranked.items()], indent=1))
        return 0
    for position, (name, one) in enumerate(ranked.items(), 1):
        by_site = ", ".join(f"{site} {loss:.4f}" for site, loss in one.by_site.items())
        typer.echo(
            f"{position}. {name}: cross-entropy {one.cross_entropy:.4f} ({by_site}), accuracy {one.accuracy:.2%} "
            f"on {one.images} images"
        )
    return 0


@sites.command(cls=Command)
def serve(
    exchange: Folder, networks: Networks, *, listen: Annotated[int, port("On the loopback address.")] = 8910
) -> int:
    """Let sites in by HTTP, until Ctrl-C.

    Their messages are left in the exchange, merged statistics are given out. Put your proxy with TLS before it.

    \b
    Examples:
      EYAS_SITES_SECRET=... eyas sites serve exchange candidates/*
    """
    require_there(*networks)
    secret = _secret()
    from eyas.adaptation.sites.exchange import FolderExchange
    from eyas.operations.servers.bounded_http import serve_bounded
    from eyas.operations.servers.site_server import create_site_server
    from eyas.operations.signing import ReplayGuard

    guard = ReplayGuard(exchange / "accepted.json")
    app = create_site_server(secret, FolderExchange(exchange), _load(networks).values(), guard)
    typer.echo(f"http://127.0.0.1:{listen}")
    serve_bounded(app, "127.0.0.1", listen)
    return 0


def _left_out(faulty: Mapping[str, str], allowed: bool, again: str) -> list[str]:
    """The sites that do not count, each told with its file and the reason.

    Raises:
        DataError: there are some, and nobody said to go on without them: whose images count is the coordinator's
            choice, and no message's.
    """
    if faulty and not allowed:
        more = f" (so are those of {len(faulty) - 1} more sites)" if len(faulty) > 1 else ""
        way = f"let {', '.join(faulty)} {again} again, or go on without by --leave-out-faulty"
        msg = f"{next(iter(faulty.values()))}{more}: {way}"
        raise DataError(msg)
    for site, reason in faulty.items():
        typer.echo(f"{site} is left out, for every network: {reason}", err=True)
    return [*faulty]


def _require_all_sites(silent: list[str], allowed: bool) -> None:
    """Tell which sites collected and did not judge.

    Raises:
        DataError: there are some, and nobody said to go on without them.
    """
    fault = f"{', '.join(silent)} collected and did not judge"
    if silent and not allowed:
        msg = f"{fault}: let {', '.join(silent)} judge, or rank by the images of the others by --leave-out-silent"
        raise DataError(msg)
    if silent:
        typer.echo(f"{fault}: the ranking is by the images of the others", err=True)


def _exchange(place: str, site: str) -> "Exchange":
    """The exchange that the command line names; looks at the site's name too, before any work.

    Raises:
        ParameterError: neither can be.
    """
    from eyas.adaptation.sites.exchange import FolderExchange
    from eyas.adaptation.sites.site_message import COORDINATOR, SITE
    from eyas.operations.servers.http_exchange import HttpExchange

    if not SITE.fullmatch(site) or site == COORDINATOR:
        msg = f"--site {site}: give 1 to 63 letters, digits, - and _, and not {COORDINATOR}"
        raise ParameterError(msg)
    if "://" not in place:
        return FolderExchange(Path(place))
    if not place.startswith(("http://", "https://")):
        msg = f"{place}: give a folder, or an address that starts with http:// or https://"
        raise ParameterError(msg)
    return HttpExchange(place, _secret())


def _secret() -> bytes:
    from eyas.operations.servers.site_server import SITES_SECRET
    from eyas.operations.signing import MIN_SECRET_BYTES

    secret = os.environ.get(SITES_SECRET, "").encode()
    if len(secret) < MIN_SECRET_BYTES:
        msg = f"set {SITES_SECRET} to a secret of at least {MIN_SECRET_BYTES} bytes that coordinator and sites share"
        raise ParameterError(msg)
    return secret


def _load(folders: list[Path]) -> Mapping[str, "nn.Module"]:
    """The networks by folder, as they were typed."""
    from eyas import load

    # Networks of the user lie beside them, those of a project in its models/.
    sys.path[:0] = [str(folder) for folder in (Path.cwd(), find_project(Path.cwd())) if folder]
    models = {str(folder): load(folder) for folder in folders}
    if len(models) < len(folders):
        msg = f"a network is named twice among {', '.join(map(str, folders))}"
        raise DataError(msg)
    return models
