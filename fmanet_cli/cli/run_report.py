"""`--report` and `--from-report` of `fmanet restore`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from fmanet_cli.cli.number_types import NUMBERS
from fmanet_cli.cli.report_file import ReportFile, json_with
from fmanet_cli.errors import OptionError

if TYPE_CHECKING:
    from fmanet_cli.engine.restorer import Restorer
    from fmanet_cli.restore.batch import BatchResult
    from fmanet_cli.restore.inputs import BatchItem
    from fmanet_cli.restore.report import RunReport

_NOT_REPEATED = ("overwrite",)
"""Replacing files has to be asked for anew."""

_GIVEN = (ParameterSource.COMMANDLINE, ParameterSource.ENVIRONMENT)


class ReportWriter:
    """Notes what a run starts from, and writes its report at the end."""

    def __init__(
        self, path: Path, options: dict[str, Any], items: list[BatchItem], *, read: Iterable[str | Path | None]
    ):
        """Take the options as they were parsed; read: files besides the sources that the run reads.

        Raises:
            OptionError: the report would go over a file of the run, or into a folder that does not exist.
            OutputExistsError: another file has its name.
        """
        used = {
            "source": [file for item in items for file in files_of(item.source)],
            "output": [file for item in items for file in (item.target, *files_of(item.target))],
            "list of cuts, weights or report": read,
        }
        self._file = ReportFile(path, is_own=json_with("format", "versions", "weights", "engine", "files"), used=used)
        self._options = {key: value for key, value in options.items() if key not in _NOT_REPEATED}

    def begin(self, items: list[BatchItem], model_name: str) -> None:
        """Hash the sources and the weights before anything can change them."""
        from fmanet_cli.restore.report import describe_weights, source_digest

        self._weights = describe_weights(model_name)
        self._options["model"] = self._weights.name
        self._digests = {str(item.source): source_digest(str(item.source)) for item in items}

    def end(self, results: list[BatchResult], restorer: Restorer) -> None:
        """Write the file."""
        from fmanet_cli.restore.report import report_run

        report = report_run(
            results, restorer, weights=self._weights, options=self._options, source_digests=self._digests
        )
        self._file.write(report.as_json())


def load_report(path: Path, options: dict[str, Any], *, output: str | None) -> list[BatchItem]:
    """The videos of a report; its options go into `options` but for those on the command line or in the environment.

    Raises:
        OptionError: the report cannot be repeated.
        WeightsError: the weights of the report have changed.
    """
    from fmanet_cli.restore.report import check_weights, read_report, repeated_items

    report = read_report(path)
    if unknown := sorted(set(report.options) - set(options)):
        raise OptionError(f"{path} has options that this fmanet does not know: {', '.join(unknown)}")
    if "model" not in _given(options):
        check_weights(report, path)
    _fill(options, report, path)
    overwrite = options["overwrite"]
    items = [
        replace(item, settings=item.settings and replace(item.settings, overwrite=overwrite))
        for item in repeated_items(report, path)
    ]
    if output is None:
        return items
    if len(items) > 1:
        raise OptionError(f"{path} tells of {len(items)} videos; leave out --output")
    return [replace(items[0], target=Path(output))]


def take_options(path: Path, options: dict[str, Any]) -> None:
    """Put what a report says of some options in their place, but for those that are given otherwise.

    Raises:
        OptionError: the report cannot be read, or an option never has the reported value.
    """
    from fmanet_cli.restore.report import read_report

    _fill(options, read_report(path), path)


def _given(options: Iterable[str]) -> set[str]:
    context = click.get_current_context()
    return {name for name in options if context.get_parameter_source(name) in _GIVEN}


def _fill(options: dict[str, Any], report: RunReport, path: Path) -> None:
    given, params = _given(options), {param.name: param for param in click.get_current_context().command.params}
    for name, value in report.options.items():
        if name in options and name not in given:
            options[name] = None if value is options[name] is None else _converted(params[name], value, path)


def _converted(param: click.Parameter, value: Any, path: Path) -> Any:
    """A value of a report as the command line would give it.

    Raises:
        OptionError: the option never has such a value.
    """
    values = value if param.multiple and isinstance(value, list) else [value]
    wanted: tuple[type, ...] = (str,)
    if isinstance(param.type, click.types.BoolParamType):
        wanted = (bool,)
    elif isinstance(param.type, NUMBERS):
        wanted = (int, float)
    is_fit = all(isinstance(each, wanted) and isinstance(each, bool) == (bool in wanted) for each in values)
    if not is_fit or param.multiple != isinstance(value, list):
        raise OptionError(f"{path} cannot be repeated: its option {param.name} has the value {value!r:.60}")
    try:
        return param.type_cast_value(click.get_current_context(), value)
    except click.BadParameter as error:
        raise OptionError(f"{path} cannot be repeated: its option {param.name}: {error.message}") from error
    except OverflowError as error:  # Infinity, for a whole number.
        raise OptionError(f"{path} cannot be repeated: its option {param.name} is no number to count with") from error


def files_of(path: Path) -> list[Path]:
    """The files that a source or an output stands for: itself, or the images of a sequence that are there."""
    from fmanet_cli.video.read.sequence import existing_files, is_sequence_pattern

    return [*existing_files(path).values()] if is_sequence_pattern(path) else [path]


def weights_file(name: str | None) -> Path | None:
    """Where weights by name or path lie; None for those that have no file."""
    from fmanet_cli.weights.cache import weights_path
    from fmanet_cli.weights.registry import best_installed

    return weights_path(name or best_installed())
