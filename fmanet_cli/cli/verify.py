"""`fmanet verify`: a restored copy held against its source."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fmanet_cli.cli.number_types import SECONDS
from fmanet_cli.cli.run_report import take_options
from fmanet_cli.cli.terminal import echo
from fmanet_cli.errors import VerificationError

if TYPE_CHECKING:
    from fmanet_cli.verify.result import VerificationResult

_STYLES = {"same": "green", "differs": "bold red", "not kept by the container": "yellow", "converted": "cyan"}


@click.command("verify")
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("output", type=click.Path(path_type=Path))
@click.option("-s", "--scale", type=click.Choice(["4", "2", "1"]), default="4", help="Promised size over the source's.")
@click.option("--size", metavar="WxH|1080p", help="Promised size instead of --scale.")
@click.option("--audio", type=click.Choice(["copy", "aac", "none"]), default="copy", help="What became of sound.")
@click.option("--stream", type=click.IntRange(min=0), metavar="N", help="The source's video stream that was taken.")
@click.option("--start", type=SECONDS, metavar="TIME", help="Restored from here on.")
@click.option("--end", type=SECONDS, metavar="TIME", help="Restored up to here.")
@click.option("--color", "--colour", "colour", metavar="NAME", default="auto", help="How the pixels were read.")
@click.option("-c", "--codec", metavar="NAME", help="Encoder that was asked for.")
@click.option("--pix-fmt", metavar="NAME", help="Pixel format that was asked for.")
@click.option(
    "--report",
    "report_path",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Take the options of the run from its report; those given here win.",
)
@click.option("--quick", is_flag=True, help="Count the output's frames as packets, without decoding them.")
@click.option("--strict", is_flag=True, help="What the container cannot keep counts as a difference too.")
@click.option("--json", "as_json", is_flag=True, help="Print everything that was compared as JSON.")
def command(
    source: Path,
    output: Path,
    report_path: Path | None,
    quick: bool,
    strict: bool,
    as_json: bool,
    **choices: Any,
) -> None:
    """Prove that OUTPUT has every frame, timestamp, stream and tag of SOURCE; exit code 6 when it has not.

    Give the options of the run (--scale, --size, --audio, --start and --end), or its --report.

    Example: fmanet verify holiday.mp4 holiday_fmanet.mp4
    """
    from fmanet_cli.verify.compare import Expectation, verify
    from fmanet_cli.verify.result import summary
    from fmanet_cli.video.write.codecs import EncoderOptions

    if report_path is not None:
        take_options(report_path, choices)
    expectation = Expectation(
        scale=int(choices.pop("scale")),
        start_seconds=choices.pop("start"),
        end_seconds=choices.pop("end"),
        encoder=EncoderOptions(codec=choices.pop("codec"), pix_fmt=choices.pop("pix_fmt")),
        **choices,
    )
    result = verify(source, output, expectation=expectation, decodes=not quick)
    failures = result.failures(strict=strict)
    if as_json:
        echo(json.dumps(result.as_dict() | {"ok": not failures}, indent=1))
    else:
        print_verification(result)
    if failures:
        raise VerificationError(f"{output} is not what {source} promises: {summary(failures)}")


def print_verification(result: VerificationResult) -> None:
    """One row for each thing compared, on standard output."""
    from rich.markup import escape
    from rich.table import Table

    from fmanet_cli.cli.console import make_console

    table = Table("", "source", "output", "verdict", box=None, pad_edge=False)
    for row in result.rows:
        style = _STYLES[row.verdict.value]
        table.add_row(
            escape(row.what), escape(row.source), escape(row.output), f"[{style}]{row.verdict.value}[/{style}]"
        )
    console = make_console(piped_width=200)
    console.print(table)
    for note in result.notes:
        console.print(f"note: {escape(note)}")
