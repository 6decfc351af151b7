"""Videos restored and shown, once a command has prepared everything."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fmanet_cli.cli.progress import show_batch
from fmanet_cli.cli.progress_lines import say, stream_batch
from fmanet_cli.cli.terminal import echo

if TYPE_CHECKING:
    from fmanet_cli.cli.sight import Whole
    from fmanet_cli.engine.restorer import Restorer
    from fmanet_cli.restore.batch import BatchResult
    from fmanet_cli.restore.inputs import BatchItem
    from fmanet_cli.restore.records import Records
    from fmanet_cli.restore.settings import RestoreSettings
    from fmanet_cli.restore.span_pool import SpanPool


@dataclass(frozen=True, slots=True)
class Run:
    """What restores, how, and what is said meanwhile."""

    restorer: Restorer
    model_name: str
    settings: RestoreSettings
    pool: SpanPool | None
    progress: str
    """`bar`, `json` or `none`, as `--progress`."""
    quiet: bool
    """Whether errors alone are said, besides JSON."""

    def announce(self, remark: str = "") -> None:
        """Say which network restores and where, with a remark at the end of the line."""
        device, precision = str(self.restorer.device), self.restorer.precision
        if self.progress == "json":
            say("model", model=self.model_name, device=device, precision=precision)
        elif not self.quiet:
            echo(f"model {self.model_name} on {device}, {precision}{remark}", err=True)

    def over(
        self,
        items: Iterable[BatchItem],
        *,
        count: int | None = None,
        whole: Whole | None = None,
        records: Records | None = None,
    ) -> list[BatchResult]:
        """Restore the videos and show how far they are.

        Args:
            items: what goes where.
            count: of all videos; None = nobody knows how many will come.
            whole: how far all videos are together; None = that is not shown.
            records: see `run_batch`.
        """
        from fmanet_cli.restore.batch import run_batch

        events = run_batch(
            items,
            self.restorer,
            settings=self.settings,
            model_name=self.model_name,
            records=records,
            pool=self.pool,
        )
        if self.progress == "json":
            return stream_batch(events)
        return show_batch(events, quiet=self.quiet, count=count, bars=self.progress == "bar", whole=whole)
