"""`fmanet compare`: a film beside its restored copy."""

from __future__ import annotations

from pathlib import Path

import click

from fmanet_cli.cli.terminal import echo
from fmanet_cli.errors import OptionError
from fmanet_cli.files import sibling


@click.command("compare")
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("output", type=click.Path(path_type=Path))
@click.option("-o", "target", type=click.Path(path_type=Path), metavar="FILE", help="[default: OUTPUT_compared.html]")
@click.option("--truth", type=click.Path(path_type=Path), metavar="FILE", help="A sharp film of OUTPUT's size: PSNR.")
@click.option("--layout", type=click.Choice(["side", "wipe"]), help="Of a film.  [default: side]")
@click.option("-y", "--overwrite", is_flag=True, help="Replace an existing file.")
def command(
    source: Path, output: Path, target: Path | None, truth: Path | None, layout: str | None, overwrite: bool
) -> None:
    """Show SOURCE and its restored copy OUTPUT beside each other.

    The suffix of FILE chooses: .html is one page for any browser with a line to drag between the two; .png is a sheet
    of the frames that changed most; .mp4 or .mkv is a film of both side by side, or behind a line that moves.

    \b
    Examples:
      fmanet compare holiday.mp4 sharp.mp4
      fmanet compare holiday.mp4 sharp.mp4 -o sheet.png
      fmanet compare holiday.mp4 sharp.mp4 -o wipe.mp4 --layout wipe
    """
    chosen = target or sibling(output, f"{output.stem}_compared.html")
    if chosen.suffix.lower() not in (".html", ".png", ".mp4", ".mkv"):
        raise OptionError(f"a comparison is written as .html, .png, .mp4 or .mkv, got {chosen.name!r}")
    is_film = chosen.suffix.lower() in (".mp4", ".mkv")
    if layout is not None and not is_film:
        raise OptionError(f"--layout is of a film, .mp4 or .mkv, got {chosen.name!r}")
    if layout == "wipe" and truth is not None:
        raise OptionError("--layout wipe shows two films; leave out --truth, or take --layout side")
    from fmanet_cli.files import write_text
    from fmanet_cli.review.compare import FilmPair, comparison_sheet
    from fmanet_cli.review.compare_film import write_comparison_film
    from fmanet_cli.review.compare_page import comparison_page
    from fmanet_cli.video.read.images import write_image
    from fmanet_cli.video.write.partial_files import check_target

    check_target(chosen, overwrite=overwrite)
    films = FilmPair(source, output, truth)
    title = f"{source.name} and {output.name}"
    if chosen.suffix.lower() == ".html":
        write_text(chosen, comparison_page(films, title))
    elif chosen.suffix.lower() == ".png":
        write_image(chosen, comparison_sheet(films, title))
    else:
        write_comparison_film(films, chosen, layout=layout or "side", overwrite=overwrite)
    echo(str(chosen))
