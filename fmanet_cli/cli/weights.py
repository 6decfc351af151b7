"""The commands that list, fetch, check and remove weights."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fmanet_cli.cli.terminal import echo, make_bar
from fmanet_cli.errors import WeightsError

if TYPE_CHECKING:
    from fmanet_cli.weights.install import NewWeights
    from fmanet_cli.weights.registry import WeightsRow


@click.group("weights")
def command() -> None:
    """List, download, import, check and remove weights.

    Example: fmanet weights list
    """


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print everything that is known as JSON.")
def list_command(as_json: bool) -> None:
    """Show all weights by name; the one marked * is the default of --model."""
    from dataclasses import asdict

    from fmanet_cli.weights.listing import list_weights

    listed = list_weights()
    if as_json:
        echo(json.dumps([asdict(weights) for weights in listed], indent=2))
        return
    from rich.markup import escape
    from rich.table import Table

    from fmanet_cli.cli.console import make_console

    table = Table("NAME", "STATE", "SIZE", "COLOUR", "LICENCE", "FOR", box=None, pad_edge=False)
    for weights in listed:
        name = weights.name + (" *" if weights.default else "")
        cells = (name, weights.state, _mebibytes(weights.size_bytes), weights.colour_order, weights.licence)
        table.add_row(*map(escape, (*cells, weights.purpose)))
    make_console().print(table)


@command.command("download")
@click.argument("name")
@click.option("--yes", is_flag=True, help="Agree to the licence notice without being asked.")
@click.option("--sha256", metavar="DIGEST", help="Refuse anything but a download of this SHA-256 digest.")
@click.option("--offline", is_flag=True, help="Forbid the network, as FMANET_OFFLINE=1 does.")
@click.option("--force", is_flag=True, help="Download again what is installed already.")
def download_command(name: str, yes: bool, sha256: str | None, offline: bool, force: bool) -> None:
    """Download weights by name, convert and install them.

    Example: fmanet weights download reds
    """
    from fmanet_cli.weights.cache import cached_path, find_row, verify_installed
    from fmanet_cli.weights.download import require_network

    row = find_row(name)
    if row.embedded:
        echo(f"{name} is part of the package: there is nothing to download.", err=True)
        return
    if cached_path(name).is_file() and not force:
        echo(f"{name} is installed, SHA-256 {verify_installed(name)}; --force downloads it again.", err=True)
        return
    require_network(row.url or "", offline=offline)
    from fmanet_cli.weights.install import download_weights

    accepted = _ask_licence(row, yes=yes)
    with make_bar(unit="B", unit_scale=True, unit_divisor=1024, desc=row.name, disable=None, leave=False) as bar:
        new = download_weights(row, licence_accepted=accepted, sha256=sha256, progress=bar)
    _report(new, name=name)


@command.command("import")
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="PATH...")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write this .safetensors file, install nothing.")
@click.option("--name", help="Install under this name.  [default: the name of the archive or folder]")
@click.option(
    "--colour-order",
    type=click.Choice(["bgr", "rgb"]),
    help="Channel order the weights were trained with.  [default: bgr for the authors' files]",
)
@click.option("--licence", help="Licence to note in the file.  [default: not stated]")
@click.option("--source", help="Where the weights come from, to note in the file.  [default: not stated]")
@click.option("--overwrite", is_flag=True, help="Replace what has that name already.")
@click.option("--yes", is_flag=True, help="Agree to a licence notice without being asked.")
def import_command(
    *,
    paths: tuple[Path, ...],
    output: Path | None,
    name: str | None,
    yes: bool,
    **choices: Any,
) -> None:
    """Convert weights at hand: a zip, a folder, the two model_*.pt files, or a checkpoint of this program.

    Example: fmanet weights import FMA-Net_REDS.zip --name reds
    """
    from fmanet_cli.weights.registry import PRETRAINED

    if output and name:
        raise click.UsageError("give either --output or --name, not both")
    row = PRETRAINED.get(name or "")
    accepted = _ask_licence(row, yes=yes) if row and not row.embedded else None
    from fmanet_cli.weights.install import default_name, import_weights

    if output is None and name is None:
        name = default_name(paths)
    _report(import_weights(paths, name=name, target=output, licence_accepted=accepted, **choices), name=name)


@command.command("verify")
@click.argument("names", nargs=-1, metavar="[NAME...]")
def verify_command(names: tuple[str, ...]) -> None:
    """Recompute the digests of installed weights, of all of them by default."""
    from fmanet_cli.weights.cache import installed_names

    broken = [name for name in names or installed_names() if not _is_intact(name)]
    if broken:
        raise WeightsError(f"{len(broken)} of the checked weights cannot be trusted: {', '.join(broken)}")


@command.command("path")
@click.argument("name")
def path_command(name: str) -> None:
    """Print where the file of installed weights lies."""
    from fmanet_cli.weights.cache import installed_path

    echo(str(installed_path(name)))


@command.command("remove")
@click.argument("name")
def remove_command(name: str) -> None:
    """Delete downloaded or imported weights from the cache."""
    from fmanet_cli.weights.cache import record_path, remove_installed

    echo(f"removed {remove_installed(name)}", err=True)
    if record_path(name).exists():
        echo(f"kept {record_path(name)}: a later download is compared with its digests", err=True)


def _mebibytes(size_bytes: int | None) -> str:
    return "-" if size_bytes is None else f"{size_bytes / (1 << 20):.1f} MiB"


def _is_intact(name: str) -> bool:
    from fmanet_cli.weights.cache import verify_installed

    try:
        echo(f"{name}: ok, SHA-256 {verify_installed(name)}")
    except WeightsError as error:
        echo(f"{name}: {error}", err=True)
        return False
    return True


def _ask_licence(row: WeightsRow, *, yes: bool) -> str | None:
    """Show the licence notice and return the note of the user's agreement, or None where there is no notice."""
    if row.licence_notice is None:
        return None
    echo(f"{row.name}: {row.licence}\n{row.licence_notice}", err=True)
    if yes:
        answer = "with --yes"
    elif not _is_terminal():
        raise WeightsError(f"weights {row.name!r} need your agreement to the notice above: run again with --yes")
    elif click.confirm("Do you agree?", err=True):
        answer = "answered yes at the prompt"
    else:
        raise WeightsError(f"weights {row.name!r} were not installed: the licence notice was declined")
    from fmanet_cli.weights.cache import utc_now

    return f"{utc_now()}, {answer}"


def _is_terminal() -> bool:
    return sys.stdin.isatty()


def _report(new: NewWeights, *, name: str | None) -> None:
    config = new.model.config
    echo(
        f"{name or 'weights'}: {new.model.count_parameters():,} parameters, {config.num_frames} frames, "
        f"{new.model.colour_order.upper()}, {new.path}",
        err=True,
    )
    for file in new.source_files:
        echo(f"  from {file.name}, SHA-256 {file.sha256}", err=True)
    if new.first_time:
        echo("  No earlier digest is known: these were recorded, and later downloads are compared.", err=True)
