"""`fmanet join`: the parts of a film made one."""

from __future__ import annotations

from pathlib import Path

import click

from fmanet_cli.cli.part_run import run_join
from fmanet_cli.cli.terminal import begin_logging


@click.command("join")
@click.argument("output", type=click.Path(path_type=Path))
@click.option(
    "--source", type=click.Path(path_type=Path), metavar="FILE", help="The film.  [default: where the parts found it]"
)
@click.option("--verify/--no-verify", default=True, help="Hold the finished file against its source.")
@click.option("-y", "--overwrite", is_flag=True, help="Replace an existing OUTPUT.")
@click.option("-q", "--quiet", is_flag=True, help="Errors only.")
@click.option("-v", "--verbose", is_flag=True, help="Say more.")
def command(output: Path, source: Path | None, verify: bool, overwrite: bool, quiet: bool, verbose: bool) -> None:
    """Join the parts of OUTPUT that 'fmanet restore --part K/N' has made, without encoding them again.

    The options of the parts count. Nothing is joined while a part is missing, damaged or of another run.

    \b
    Example:
      fmanet restore film.mkv -o sharp.mkv --part 1/2
      fmanet restore film.mkv -o sharp.mkv --part 2/2
      fmanet join sharp.mkv
    """
    begin_logging(verbose=verbose)
    from fmanet_cli.restore.inputs import BatchItem
    from fmanet_cli.restore.part_job import JoinJob

    job = JoinJob(output, source=source, overwrite=overwrite, verifies=verify)
    run_join(BatchItem(Path(job.source), output), job, quiet=quiet)
