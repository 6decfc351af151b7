"""`fmanet bench`: how fast and how large the network is on this machine."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from fmanet_cli.cli.options import compile_option, device_option, precision_option, typed_options
from fmanet_cli.cli.report_file import ReportFile, json_with
from fmanet_cli.cli.run_report import weights_file
from fmanet_cli.cli.terminal import echo, make_bar


@click.command("bench")
@click.option("--size", "sizes", multiple=True, metavar="WxH", help="Input size, repeatable.  [default: by device]")
@click.option("-n", "--model", metavar="NAME|PATH", help="Weights, or random:paper, :lite, :base.  [default: the best]")
@device_option
@precision_option
@compile_option
@click.option("--frames", type=click.IntRange(2), help="Length of the clip.  [default: 120 on CUDA, else 8]")
@click.option("--against", type=click.Choice(["reference"]), help="The plain fp32 network, step by step in turn.")
@click.option("--count", is_flag=True, help="Only count what a GPU would do for a frame, without one, as JSON.")
@click.option("--json", "report_path", metavar="FILE|-", help="Write every figure as JSON; - = standard output.")
@click.option(
    "--first-contact",
    "folder",
    metavar="DIR",
    help="Try everything on a device in nine minutes; findings into DIR.",
)
def command(
    sizes: tuple[str, ...],
    model: str | None,
    count: bool,
    report_path: str | None,
    folder: str | None,
    **options: Any,
) -> None:
    """Measure frames per second, memory and multiply-adds on a clip made for it.

    Every stage is timed alone, then the whole from file to file without the check of the finished file. Sizes are those
    of the input.

    \b
    Examples:
      fmanet bench
      fmanet bench --model random:paper --size 320x180 --against reference --json bench.json
      fmanet bench --first-contact findings/
    """
    if folder is not None:
        _first_contact(Path(folder), options["device"])
        return
    if count:
        _count(model, sizes, options["precision"])
        return
    file = None
    if report_path is not None:
        file = ReportFile(report_path, is_own=json_with("machine", "sizes"), used={"weights": [weights_file(model)]})
    from fmanet_cli.bench.benchmark import Benchmark, BenchSettings, parse_size
    from fmanet_cli.cli.bench_table import print_bench
    from fmanet_cli.weights.registry import best_installed

    bench = Benchmark(BenchSettings(model=model or best_installed(), sizes=tuple(map(parse_size, sizes)), **options))
    with make_bar(disable=None, leave=False, bar_format="{desc} |{bar}| {n_fmt}/{total_fmt} {elapsed}") as bar:
        for progress in bench.run():
            bar.total = progress.total
            bar.set_description(progress.activity, refresh=False)
            bar.update(progress.done - bar.n)
            bar.refresh()
    assert bench.report is not None
    print_bench(bench.report, to_stderr=file is not None and file.is_standard_output)
    if file is not None:
        file.write(json.dumps(bench.report.as_dict(), indent=1, allow_nan=False) + "\n")


def _first_contact(folder: Path, device: str) -> None:
    """Every step says a line when it is over; what they found is no matter of the exit code."""
    typed = [spelling for name, spelling in typed_options().items() if name not in ("folder", "device")]
    if typed:
        raise click.UsageError(f"--first-contact chooses all but the device: leave out {', '.join(typed)}")
    from fmanet_cli.bench.first_contact.run import FirstContact

    contact = FirstContact(folder, device=device)
    for found in contact.run():
        echo(found.headline())
    echo(f"all of it: {contact.folder / 'summary.txt'}")


def _count(model: str | None, sizes: tuple[str, ...], precision: str) -> None:
    from fmanet_cli.bench.benchmark import parse_size
    from fmanet_cli.bench.operations import PASSES, count_operations
    from fmanet_cli.weights.checkpoint import load_model
    from fmanet_cli.weights.registry import best_installed

    network, counts = load_model(model or best_installed()), {}
    chosen: Any = "fp16" if precision == "auto" else precision
    for height, width in map(parse_size, sizes or ("320x180",)):
        for windows in PASSES:
            found = count_operations(network, height, width, precision=chosen, windows=windows)
            counts[f"{width}x{height}, {windows} in a pass"] = asdict(found)
    echo(json.dumps(counts, indent=1))
