"""The figures of a benchmark as a table for people."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from rich.markup import escape

from fmanet_cli.cli.console import figures_table, make_console

if TYPE_CHECKING:
    from fmanet_cli.bench.benchmark import BenchReport
    from fmanet_cli.bench.one_size import ReferenceReport, SizeReport

_LEAST_WIDTH = 100
_GIGA = 1e9
_MEGA = 1e6


def print_bench(report: BenchReport, *, to_stderr: bool) -> None:
    """One column for each size, below a line on the machine."""
    console = make_console(err=to_stderr, piped_width=_LEAST_WIDTH)
    machine, peak = report.machine, report.matrix_peak
    place = machine.accelerator if machine.accelerator else f"{machine.processor}, {machine.threads} threads"
    graphs = ", as CUDA graphs" if report.compiled == "on" else ""
    console.print(
        f"{escape(report.model)} on {report.device} ({escape(place)}), {report.precision}{graphs}, torch {report.torch}"
    )
    console.print(
        f"matrix peak: 3x3 convolution {2 * peak.convolution_macs_per_second / _GIGA:,.0f} GFLOP/s, "
        f"matrix product {2 * peak.product_macs_per_second / _GIGA:,.0f} GFLOP/s"
    )
    table = figures_table("", *report.sizes)
    for label, figure in _ROWS:
        table.add_row(label, *(figure(size) for size in report.sizes.values()))
    if any(size.reference for size in report.sizes.values()):
        table.add_section()
        table.add_row("[bold]against the plain network, fp32[/bold]")
        for label, pair in _REFERENCE_ROWS:
            table.add_row(
                label, *(pair(size, size.reference) if size.reference else "" for size in report.sizes.values())
            )
    console.print(table)


def _figure(value: float | None, form: str = ".3g") -> str:
    """A dash for what was not measured."""
    return "-" if value is None else f"{value:{form}}"


def _scaled(value: float | None, by: float, form: str = ".1f") -> str:
    return _figure(None if value is None else value / by, form)


_ROWS: list[tuple[str, Callable[[SizeReport], str]]] = [
    ("[bold]frames/s, file to file[/bold]", lambda size: f"[bold]{_figure(size.fps)}[/bold]"),
    ("seconds per frame", lambda size: _figure(size.seconds_per_frame)),
    ("  without files over that", lambda size: _figure(size.end_to_end_share, ".2f")),
    ("frames in memory, s", lambda size: _figure(size.model_seconds_per_frame)),
    ("  decode", lambda size: _figure(size.stages.decode)),
    ("  upload", lambda size: _figure(size.stages.upload)),
    ("  frame features", lambda size: _figure(size.stages.frame_features)),
    ("  window", lambda size: _figure(size.stages.window)),
    ("  download", lambda size: _figure(size.stages.download)),
    ("  encode", lambda size: _figure(size.stages.encode)),
    ("peak memory, MB", lambda size: _scaled(size.peak_memory_bytes, _MEGA, ",.0f")),
    ("  held by torch, MB", lambda size: _scaled(size.reserved_memory_bytes, _MEGA, ",.0f")),
    ("multiply-adds per pixel, M", lambda size: _scaled(size.macs_per_pixel, _MEGA, ".2f")),
    ("GFLOP/s", lambda size: _scaled(size.macs_per_second, _GIGA / 2, ",.0f")),
    ("  of the matrix peak", lambda size: _figure(size.share_of_matrix_peak, ".0%")),
]

_REFERENCE_ROWS: list[tuple[str, Callable[[SizeReport, ReferenceReport], str]]] = [
    ("[bold]times as fast[/bold]", lambda size, _: f"[bold]{_figure(size.ratio, '.2f')}[/bold]"),
    ("  its seconds per frame", lambda _, plain: _figure(plain.seconds_per_frame)),
    ("  pairs", lambda _, plain: str(plain.pairs)),
    ("largest difference", lambda size, _: _figure(size.max_difference, ".1e")),
    ("  PSNR, dB", lambda _, plain: _figure(plain.psnr, ".1f")),
    ("its peak memory, MB", lambda _, plain: _scaled(plain.peak_memory_bytes, _MEGA, ",.0f")),
    ("its multiply-adds per pixel, M", lambda _, plain: _scaled(plain.macs_per_pixel, _MEGA, ".2f")),
]
