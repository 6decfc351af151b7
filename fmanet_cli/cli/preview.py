"""`fmanet preview`: a few moments of a video, restored."""

from __future__ import annotations

import itertools
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from fmanet_cli.cli.number_types import SECONDS
from fmanet_cli.cli.options import device_option, precision_option, sources_option, strength_option
from fmanet_cli.cli.terminal import echo, make_bar
from fmanet_cli.cli.terminal_image import draw
from fmanet_cli.errors import OptionError
from fmanet_cli.files import sibling

if TYPE_CHECKING:
    from fmanet_cli.engine.source_look import SourceLook
    from fmanet_cli.review.survey import Moment


@click.command("preview")
@click.argument("video", type=click.Path(path_type=Path, allow_dash=True))
@click.option("--at", "times", type=SECONDS, multiple=True, metavar="TIME", help="Restore this moment; repeatable.")
@click.option("--count", type=click.IntRange(1, 24), default=4, help="Moments that are chosen where none is given.")
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="FILE.png", help="[default: beside VIDEO]")
@click.option(
    "-n", "--model", "models", multiple=True, metavar="NAME|PATH", help="Repeatable.  [default: the best embedded]"
)
@device_option
@precision_option
@strength_option
@sources_option
@click.option("--open", "opens", is_flag=True, help="Show the image in the usual program.")
@click.option("-y", "--overwrite", is_flag=True, help="Replace an existing file.")
def command(
    video: Path,
    times: tuple[float, ...],
    count: int,
    output: Path | None,
    models: tuple[str, ...],
    device: str,
    precision: str,
    strength: float,
    source_looks: tuple[SourceLook, ...],
    opens: bool,
    overwrite: bool,
) -> None:
    """Restore a few moments of VIDEO and show them beside the enlarged source, on one sheet.

    Half of the moments are the blurriest, the others typical of the film. Terminals with sixel or kitty's graphics show
    the sheet too, where the extra `terminal` is installed.

    \b
    Examples:
      fmanet preview holiday.mp4
      fmanet preview holiday.mp4 --at 12.5 --at 1:30 -n lite -n reds
      fmanet preview phone.mp4 --source plain --source camera
    """
    if times and click.get_current_context().get_parameter_source("count") != ParameterSource.DEFAULT:
        raise OptionError("--at says which moments, so --count has no meaning; leave out one")
    target = output or sibling(video, f"{video.stem}_preview.png")
    from fmanet_cli.video.write.partial_files import check_target

    if target.suffix.lower() != ".png":
        raise OptionError(f"the sheet is written as .png, got {target.name!r}")
    check_target(target, overwrite=overwrite)
    from fmanet_cli.engine.restorer import Restorer
    from fmanet_cli.review.moments import window_at
    from fmanet_cli.review.preview import moment_text, preview_rows, preview_sheet
    from fmanet_cli.video.read.images import write_image
    from fmanet_cli.video.read.reader import VideoReader
    from fmanet_cli.video.write.orientation import shown_size
    from fmanet_cli.weights.checkpoint import load_model
    from fmanet_cli.weights.registry import best_installed

    began = time.perf_counter()
    moments = _moments(video, times, count)
    names = list(dict.fromkeys(models or (best_installed(),)))
    restorers = [Restorer(load_model(name), device=device, precision=precision) for name in names]
    radii = {restorer.model.config.centre for restorer in restorers}
    if len(radii) > 1:
        raise OptionError(f"the models {', '.join(names)} take windows of different lengths; preview them one by one")
    windows = [window_at(video, moment.seconds, radii.copy().pop()) for moment in moments]
    with VideoReader(video, on_error="continue") as reader:
        info = reader.info
    height, width = shown_size(info)
    title = f"{video.name}, {width}x{height}, restored on {restorers[0].device} in {restorers[0].precision}"
    looks = list(dict.fromkeys(source_looks))
    shown = [_heading(name, strength, look) for name, look in itertools.product(names, looks)]
    with make_bar(total=len(moments) * len(shown), desc=video.name, unit="frame", disable=None, leave=False) as bar:
        rows = preview_rows(
            moments,
            windows,
            restorers,
            strength=strength,
            source_looks=looks,
            matrix=info.display_matrix,
            done=bar.update,
        )
        write_image(target, preview_sheet(rows, shown, title))
    draw(target)
    for moment in moments:
        echo(moment_text(moment))
    frames = len(moments) * len(shown)
    echo(f"{frames} frame{'s' * (frames > 1)} restored, {time.perf_counter() - began:.1f} s in all")
    echo(str(target))
    if opens:
        click.launch(str(target))


def _heading(name: str, strength: float, look: SourceLook) -> str:
    weaker = "" if strength == 1 else f" at strength {strength:g}"
    return name + weaker + ("" if look == "plain" else f", source {look}")


def _moments(video: Path, times: tuple[float, ...], count: int) -> list[Moment]:
    from fmanet_cli.review.survey import Moment, choose_moments, survey_film

    if times:
        return [Moment(seconds, "asked") for seconds in sorted(set(times))]
    return choose_moments(survey_film(video), count)
