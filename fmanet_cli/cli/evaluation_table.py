"""The figures of an evaluation as a table for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from fmanet_cli.cli.console import figures_table, make_console
from fmanet_cli.evaluation.report import mean_scores

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fmanet_cli.evaluation.reds4 import PublishedRow
    from fmanet_cli.evaluation.report import Evaluation, MeanScores
    from fmanet_cli.evaluation.scores import ColourShift, ScoredFrame

_LEAST_WIDTH = 120


def print_evaluation(
    evaluation: Evaluation, *, published: Sequence[PublishedRow] = (), to_stderr: bool = False
) -> None:
    """Print one row a clip and the mean, published rows below, then what else was measured."""
    console = make_console(err=to_stderr, piped_width=_LEAST_WIDTH)
    has_lpips = any(frame.restored.lpips is not None for frame in evaluation.frames)
    console.print(f"PSNR in dB/SSIM/tOF in pixels{'/LPIPS' if has_lpips else ''}, means over frames")
    if len({frame.preset for frame in evaluation.frames}) == 1:
        console.print(_table(evaluation, published))
    further = _further_table(evaluation)
    if further is not None:
        console.print(further)
    if evaluation.has_bicubic:
        console.print(f"mean gain over bicubic: {evaluation.gain:+.2f} dB")
        console.print(
            f"colour shift (red, green, blue of 255): {_colour(evaluation.colour_shift())}; "
            f"bicubic {_colour(evaluation.bicubic_colour_shift())}"
        )
    if any(frame.condition for frame in evaluation.frames):
        console.print(_summary_table(evaluation))
    if evaluation.tile_psnr is not None:
        from fmanet_cli.evaluation.evaluate import COMPARED_OVERLAP_PIXELS, COMPARED_TILE_PIXELS

        tiles = f"tiles of {COMPARED_TILE_PIXELS}, overlap {COMPARED_OVERLAP_PIXELS}"
        console.print(f"against {tiles}: {evaluation.tile_psnr:.1f} dB")


def _further_table(evaluation: Evaluation) -> Table | None:
    """What optional packages measured, a row for each side; None where they were not asked."""
    sides = {"restored": mean_scores(frame.restored for frame in evaluation.frames)}
    if evaluation.has_bicubic:
        sides["bicubic"] = mean_scores(frame.bicubic for frame in evaluation.frames if frame.bicubic)
    if sides["restored"].vmaf_neg is None and sides["restored"].text is None:
        return None
    table = figures_table("means over all frames", "VMAF-NEG", "XPSNR dB", "characters read right")
    for name, means in sides.items():
        text = "-" if means.text is None else f"{means.text.right} of {means.text.readable}"
        share = "" if means.text_share is None else f", {100 * means.text_share:.1f} %"
        table.add_row(name, _number(means.vmaf_neg), _number(means.xpsnr), text + share)
    return table


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _summary_table(evaluation: Evaluation) -> Table:
    """One row a condition; what stands after a slash is of bicubic."""
    headings = ("frames", "gain dB", "5 % below", "harm %", "luma", "colour", "overshoot %", "tOF", "flicker")
    table = figures_table("condition", *headings)
    for name, part in evaluation.summaries().items():
        table.add_row(
            name,
            str(part.frames),
            f"{part.gain:+.2f}",
            f"{part.low_gain:+.2f}",
            f"{100 * part.harm:.1f}",
            f"{part.luma_shift:+.2f}/{part.bicubic_luma_shift:+.2f}",
            f"{part.colour_shift:.2f}",
            f"{100 * part.overshoot:.2f}/{100 * part.bicubic_overshoot:.2f}",
            _beside(part.tof, part.bicubic_tof),
            _beside(part.flicker, part.bicubic_flicker),
        )
    return table


def _beside(value: float | None, bicubic: float | None) -> str:
    return "-" if value is None or bicubic is None else f"{value:.2f}/{bicubic:.2f}"


def _table(evaluation: Evaluation, published: Sequence[PublishedRow]) -> Table:
    has_bicubic = evaluation.has_bicubic
    table = figures_table("clip", "frames", *(["bicubic", "restored", "gain dB"] if has_bicubic else ["restored"]))
    for name, frames in evaluation.clips.items():
        table.add_row(escape(name), *_cells(frames, has_bicubic=has_bicubic))
    table.add_section()
    table.add_row("mean", *_cells(evaluation.frames, has_bicubic=has_bicubic))
    table.add_section()
    for row in published:
        table.add_row(f"{row.method}, published", "", *([""] if has_bicubic else []), _figures(row.mean))
        for name, clip in row.clips.items():
            table.add_row(escape(f"  {name}"), "", *([""] if has_bicubic else []), _figures(clip))
    return table


def _cells(frames: Sequence[ScoredFrame], *, has_bicubic: bool) -> list[str]:
    restored = mean_scores(frame.restored for frame in frames)
    if not has_bicubic:
        return [str(len(frames)), _figures(restored)]
    bicubic = mean_scores(frame.bicubic for frame in frames if frame.bicubic)
    gain = f"{restored.psnr - bicubic.psnr:+.2f}" if restored.psnr is not None and bicubic.psnr is not None else ""
    return [str(len(frames)), _figures(bicubic), _figures(restored), gain]


def _figures(means: MeanScores) -> str:
    tof = "-" if means.tof is None else f"{means.tof:.2f}"
    text = f"{means.psnr:.2f}/{means.ssim:.4f}/{tof}"
    return text if means.lpips is None else f"{text}/{means.lpips:.4f}"


def _colour(shift: ColourShift) -> str:
    return " ".join(f"{value:+.2f}" for value in shift)
