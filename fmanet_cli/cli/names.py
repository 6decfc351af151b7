"""Names of inputs and outputs as they are typed: checked before anything is loaded."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from fmanet_cli.cli.terminal import echo, printable
from fmanet_cli.errors import OptionError, OutputExistsError, VideoReadError, VideoWriteError, did_you_mean
from fmanet_cli.files import similar_file

if TYPE_CHECKING:
    from fmanet_cli.restore.inputs import BatchItem

_MAY_BE_EMPTY = ("suffix",)
_PATHS = ("inputs", "output", "suffix", "model", "init", "scene_detect", "report_path")
"""Parameters that name files without being `click.Path`: files may be called anything."""

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


def refusing_odd_texts(param: click.Parameter) -> Callable[[click.Context, Any], Any]:
    """How a parameter takes a value, but for empty texts and, where it is no path, for control characters."""
    cast = param.type_cast_value

    def checked(context: click.Context, value: Any) -> Any:
        texts = [text for text in (value if isinstance(value, tuple | list) else [value]) if isinstance(text, str)]
        if "" in texts and param.name not in _MAY_BE_EMPTY:
            raise click.BadParameter("it is empty", ctx=context, param=param)
        is_path = param.name in _PATHS or isinstance(param.type, click.Path)
        if not is_path and any(printable(text) != text for text in texts):
            raise click.BadParameter("it holds control characters", ctx=context, param=param)
        try:
            return cast(context, value)
        except click.BadParameter as error:
            if hint := _hint(param.type, texts):
                raise click.BadParameter(error.message + hint, ctx=context, param=param) from error
            raise

    return checked


def _hint(kind: click.ParamType, texts: list[str]) -> str:
    """What was probably meant by the texts that a parameter has refused."""
    if isinstance(kind, click.Choice):
        return "".join(did_you_mean(text, map(str, kind.choices)) for text in texts if text not in kind.choices)
    if isinstance(kind, click.Path):
        return "".join(similar_file(text) for text in texts if not os.path.lexists(text))
    return ""


def plan_inputs(inputs: tuple[str, ...], output: str | None, suffix: str, *, overwrite: bool) -> list[BatchItem]:
    """Which input goes where.

    Raises:
        OptionError: the output does not fit the number of inputs, or two of them would become one file.
        OutputExistsError: one of several outputs is there already.
    """
    from fmanet_cli.restore.folder import check_suffix
    from fmanet_cli.restore.inputs import BatchItem, plan_files

    is_typed = click.get_current_context().get_parameter_source("suffix") not in (None, ParameterSource.DEFAULT)
    check_suffix(suffix)
    if output is not None and _is_folder(output):
        sources = [Path(name) for name in inputs]
        return plan_files(sources, Path(output), suffix=suffix if is_typed else "", overwrite=overwrite)
    if output is not None:
        if len(inputs) > 1:
            raise OptionError(f"{len(inputs)} inputs cannot go into the one file {output}; name a folder, such as out/")
        if is_typed:
            raise OptionError(f"--suffix is for outputs that are not named; leave it out or leave out -o {output}")
        return [BatchItem(Path(inputs[0]), Path(output))]
    if len(inputs) > 1:
        return plan_files([Path(name) for name in inputs], Path(), suffix=suffix, overwrite=overwrite)
    return [BatchItem(Path(inputs[0]), _beside(inputs[0], suffix))]


def check_items(items: list[BatchItem], *, overwrite: bool) -> None:
    """Refuse inputs that are not there and outputs that cannot be made.

    Raises:
        VideoReadError: an input does not exist or may not be read.
        OptionError, OutputExistsError, VideoWriteError: a target cannot have its name.
    """
    for item in items:
        _check_input(str(item.source))
        _check_output(str(item.target), overwrite=overwrite)


def _check_input(name: str) -> None:
    from fmanet_cli.video.read.sequence import is_sequence_pattern, list_sequence

    if name == "-":
        return
    # Path has made one slash of two.
    if _ADDRESS.match(name.replace(":/", "://", 1)) and not os.path.exists(name):
        raise VideoReadError(f"{name} is an address, and addresses are not read; download the file first")
    if is_sequence_pattern(name):
        list_sequence(name)
        return
    try:
        if os.path.isdir(name):
            raise OptionError(f"{name} is a folder: fmanet batch {name} -o OUT restores every video in it")
        Path(name).stat()
        if not os.access(name, os.R_OK):
            raise PermissionError(13, os.strerror(13))
    except FileNotFoundError as error:
        raise VideoReadError(f"{name} does not exist.{similar_file(name)}") from error
    except OSError as error:
        raise VideoReadError(f"{name} cannot be read: {error.strerror or error}") from error


def _check_output(name: str, *, overwrite: bool) -> None:
    from fmanet_cli.video.read.sequence import is_sequence_pattern
    from fmanet_cli.video.write.containers import container_of

    if name == "-" or is_sequence_pattern(name):
        return
    target = Path(name)
    container_of(target)
    try:
        target.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise VideoWriteError(f"{name} cannot be written: {error.strerror or error}") from error
    if os.path.exists(target) and not overwrite:
        raise OutputExistsError(f"{name} exists; use --overwrite to replace it")


def _is_folder(output: str) -> bool:
    """Whether an output names a folder; where only the missing suffix tells, that is said."""
    if output == "-":
        return False
    if output.endswith(("/", os.sep)) or os.path.isdir(output):
        return True
    if Path(output).suffix or os.path.lexists(output):
        return False
    echo(f"{output} has no suffix: writing into the folder {output}/", err=True)
    return True


def _beside(name: str, suffix: str) -> Path:
    """The output that goes with an input when none is named."""
    from fmanet_cli.restore.inputs import writable_path
    from fmanet_cli.video.read.sequence import is_sequence_pattern

    if name == "-" or is_sequence_pattern(name):
        raise click.UsageError("--output is needed when the input is a pipe or an image sequence")
    path = Path(name)
    if not path.name:
        raise OptionError(f"{name!r} is no file name")
    return writable_path(path.with_name(f"{path.stem}{suffix}{path.suffix}"))
