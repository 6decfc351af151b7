"""`fmanet explain`: one frame seen from inside the network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from fmanet_cli.cli.options import device_option, model_option
from fmanet_cli.cli.terminal import echo
from fmanet_cli.errors import OptionError
from fmanet_cli.files import naming_failures, sibling

if TYPE_CHECKING:
    from fmanet_cli.review.explain import Explanation


@click.command("explain")
@click.argument("video", type=click.Path(path_type=Path))
@click.option("--at", "seconds", type=float, default=0.0, metavar="SECONDS", help="Of the frame.")
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="FILE.png", help="[default: beside VIDEO]")
@click.option("--npz", type=click.Path(path_type=Path), metavar="FILE.npz", help="Write every array too.")
@click.option("--point", "points", multiple=True, metavar="X,Y", help="Look at kernels here.  [default: strong edges]")
@click.option("--crop", metavar="X,Y,W,H", help="Explain this part of the frame only.")
@model_option
@device_option
@click.option("-y", "--overwrite", is_flag=True, help="Replace existing files.")
def command(
    video: Path,
    seconds: float,
    output: Path | None,
    npz: Path | None,
    points: tuple[str, ...],
    crop: str | None,
    model: str | None,
    device: str,
    overwrite: bool,
) -> None:
    """Show how the network restores one frame of VIDEO: flows, occlusion masks, kernels and attention, as one image.

    Nothing is restored: the plain network runs once, in float32. Points and crops are in pixels of VIDEO.

    Example: fmanet explain holiday.mp4 --at 12.5 -o inside.png --npz inside.npz
    """
    import numpy as np

    from fmanet_cli.review.explain import explain
    from fmanet_cli.review.explain_sheet import explanation_sheet
    from fmanet_cli.review.moments import window_at
    from fmanet_cli.video.read.images import write_image
    from fmanet_cli.weights.checkpoint import load_model
    from fmanet_cli.weights.registry import best_installed

    target = output or sibling(video, f"{video.stem}_explained.png")
    _check_targets(target, npz, overwrite=overwrite)
    places = [(x, y) for x, y in (_numbers(point, 2, "--point") for point in points)] or None
    area = _numbers(crop, 4, "--crop") if crop else None
    name = model or best_installed()
    network = load_model(name)
    window = window_at(video, seconds, network.config.centre)
    frames = _cropped(np.stack([frame.image for frame in window]), area)
    explanation = explain(frames, network, points=places, device=device)
    shown = window[network.config.centre].seconds
    write_image(target, explanation_sheet(explanation, f"{video.name} at {shown:.3f} s, explained with {name}"))
    if npz is not None:
        with naming_failures(npz):
            np.savez_compressed(npz, **explanation.arrays())  # type: ignore[arg-type]
    _print(explanation, target, npz)


def _check_targets(target: Path, npz: Path | None, *, overwrite: bool) -> None:
    from fmanet_cli.video.write.partial_files import check_target

    if target.suffix.lower() != ".png":
        raise OptionError(f"the image is written as .png, got {target.name!r}")
    if npz is not None and npz.suffix.lower() != ".npz":
        raise OptionError(f"the arrays are written as .npz, got {npz.name!r}")
    for path in filter(None, (target, npz)):
        check_target(path, overwrite=overwrite)


def _numbers(text: str, count: int, option: str) -> tuple[int, ...]:
    words = text.split(",")
    if len(words) != count or not all(word.strip().isdigit() for word in words):
        raise OptionError(f"{option} takes {count} whole numbers with commas between them, got {text!r}")
    return tuple(int(word) for word in words)


def _cropped(frames, area):  # type: ignore[no-untyped-def]
    """(T, H, W, 3) to the asked part of it."""
    if area is None:
        return frames
    x, y, width, height = area
    if not width or not height or x + width > frames.shape[2] or y + height > frames.shape[1]:
        raise OptionError(
            f"--crop must lie inside {frames.shape[2]}x{frames.shape[1]} pixels, got {x},{y},{width},{height}"
        )
    return frames[:, y : y + height, x : x + width]


def _print(explanation: Explanation, target: Path, npz: Path | None) -> None:
    by_filtering, by_residual = explanation.shares
    echo(f"of what the frame gains over bicubic: {by_filtering:z.0%} by filtering, {by_residual:z.0%} by the residual")
    scale = explanation.restoration_kernels.shape[2]
    for (x, y), blur in zip(explanation.points, explanation.blurs, strict=True):
        echo(f"at {x},{y}: the kernel tells a blur of {blur.length / scale:.1f} pixels at {blur.angle:.0f} degrees")
    echo(" and ".join(str(path) for path in (target, npz) if path is not None))
