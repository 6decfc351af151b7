"""`--report` and `--from-report` of `fmanet restore`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from fmanet_cli.errors import OptionError

if TYPE_CHECKING:
    from fmanet_cli.engine.restorer import Restorer
    from fmanet_cli.restore.batch import BatchItem, BatchResult

_NOT_REPEATED = ("overwrite",)
"""Replacing files has to be asked for anew."""


class ReportWriter:
    """Notes what a run starts from, and writes its report at the end."""

    def __init__(self, path: Path, options: dict[str, Any]):
        """Takes the options as they were parsed.

        Raises:
            OptionError: the report would go into a folder that does not exist.
        """
        if not path.parent.is_dir():
            raise OptionError(f"the folder for {path} does not exist: make it first")
        self._path = path
        self._options = {key: value for key, value in options.items() if key not in _NOT_REPEATED}

    def begin(self, items: list[BatchItem], model_name: str) -> None:
        """Hashes the sources and the weights before anything can change them."""
        from fmanet_cli.restore.report import describe_weights, source_digest

        self._weights = describe_weights(model_name)
        self._options["model"] = self._weights.name
        self._digests = {str(item.source): source_digest(str(item.source)) for item in items}

    def end(self, results: list[BatchResult], restorer: Restorer) -> None:
        """Writes the file."""
        from fmanet_cli.evaluation.report import write_report
        from fmanet_cli.restore.report import report_run

        report = report_run(
            results, restorer, weights=self._weights, options=self._options, source_digests=self._digests
        )
        write_report(self._path, report.as_json())


def load_report(path: Path, options: dict[str, Any], *, output: str | None) -> list[BatchItem]:
    """The videos of a report; its options go into `options` but for those on the command line.

    Raises:
        OptionError: the report cannot be repeated.
        WeightsError: the weights of the report have changed.
    """
    from fmanet_cli.restore.batch import BatchItem
    from fmanet_cli.restore.report import check_weights, read_report, repeated_items

    report = read_report(path)
    context = click.get_current_context()
    typed = {name for name in options if context.get_parameter_source(name) is ParameterSource.COMMANDLINE}
    if unknown := sorted(set(report.options) - set(options)):
        raise OptionError(f"{path} has options that this fmanet does not know: {', '.join(unknown)}")
    if "model" not in typed:
        check_weights(report, path)
    for name, value in report.options.items():
        if name not in typed:
            options[name] = tuple(value) if isinstance(value, list) else value
    items = repeated_items(report, path)
    if output is None:
        return items
    if len(items) > 1:
        raise OptionError(f"{path} tells of {len(items)} videos; leave out --output")
    return [BatchItem(items[0].source, Path(output))]
