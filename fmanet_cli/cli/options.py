"""Options that several commands share, and what they build."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from fmanet_cli.cli.number_types import FINITE, SECONDS, FiniteRange
from fmanet_cli.errors import OptionError

if TYPE_CHECKING:
    from fmanet_cli.engine.restorer import Restorer
    from fmanet_cli.restore.settings import RestoreSettings

Command = TypeVar("Command", bound=Callable[..., Any])
Key = TypeVar("Key", bound=str)

model_option = click.option(
    "-n", "--model", metavar="NAME|PATH", help="Weights by name or file.  [default: the best embedded]"
)
device_option = click.option("-d", "--device", metavar="NAME", default="auto", help="auto, cpu, cuda, cuda:N or mps.")
precision_option = click.option(
    "--precision",
    type=click.Choice(["auto", "fp32", "fp16", "bf16"]),
    default="auto",
    help="Number format that the network computes in.",
)
compile_option = click.option(
    "--compile",
    "compiled",
    type=click.Choice(["auto", "on", "off"]),
    default="auto",
    help="Record the network as CUDA graphs; auto = where that saves time.",
)
strength_option = click.option(
    "--strength",
    type=FiniteRange(0, 1),
    default=1.0,
    help="Share of what the network restores; the rest is the source, enlarged.",
)

_SOURCE_LOOKS = ("plain", "camera")
_OF_SOURCE = ("--source", "--source-look")
_SOURCE_HELP = "camera = softened a little first, for video that a camera has sharpened."
source_option = click.option(
    *_OF_SOURCE, "source_look", type=click.Choice(_SOURCE_LOOKS), default="plain", help=_SOURCE_HELP
)
sources_option = click.option(
    *_OF_SOURCE,
    "source_looks",
    type=click.Choice(_SOURCE_LOOKS),
    multiple=True,
    default=("plain",),
    help=f"{_SOURCE_HELP} Repeatable.",
)
"""The same for commands that show several looks beside each other."""


def engine_options(command: Command) -> Command:
    """--model, --device, --precision, --compile, --tile and --tile-overlap."""
    return decorated(
        command,
        model_option,
        click.option(
            "-d",
            "--device",
            metavar="NAME",
            default="auto",
            help="auto, cpu, cuda, cuda:N, mps, or several cards: cuda:0,cuda:1 or cuda:all.",
        ),
        precision_option,
        compile_option,
        click.option(
            "-t", "--tile", metavar="auto|0|N", default="auto", help="Tile side in input pixels; 0 = the whole frame."
        ),
        click.option(
            "--tile-overlap",
            "--tile-pad",
            type=int,
            default=None,
            metavar="N",
            help="Shared by neighbours.  [default: 16]",
        ),
    )


def writing_options(command: Command) -> Command:
    """Everything of `RestoreSettings`."""
    return decorated(
        command,
        click.option(
            "-c", "--codec", metavar="NAME", help="x264, x265, svtav1, prores, ffv1, h264_nvenc ...  [default: x264]"
        ),
        click.option(
            "--crf", type=FINITE, metavar="N", help="Constant quality, smaller is better.  [default: the codec's]"
        ),
        click.option("--preset", metavar="NAME", help="The encoder's speed.  [default: the codec's]"),
        click.option("--pix-fmt", metavar="NAME", help="Pixel format.  [default: the source's bit depth]"),
        click.option(
            "-e", "--encoder-option", multiple=True, metavar="KEY=VALUE", help="One more option of the encoder."
        ),
        click.option("-s", "--scale", type=click.Choice(["4", "2", "1"]), default="4", help="1 = deblur only."),
        click.option("--size", metavar="WxH|1080p", help="Output size instead of --scale; 1080p = the shorter side."),
        strength_option,
        source_option,
        click.option(
            "--audio", type=click.Choice(["copy", "aac", "none"]), default="copy", help="What becomes of sound."
        ),
        click.option("--start", type=SECONDS, metavar="TIME", help="Restore from here on: 83.5 or 1:23.5."),
        click.option("--end", type=SECONDS, metavar="TIME", help="Restore up to here."),
        click.option(
            "--stream", type=click.IntRange(min=0), metavar="N", help="Video stream.  [default: the main one]"
        ),
        click.option(
            "--dolby-vision",
            type=click.Choice(["refuse", "ignore"]),
            default="refuse",
            help="Of profile 5, whose colours come out wrong without it.",
        ),
        click.option("--frame-rate", metavar="RATE", help="Of numbered images, such as 24000/1001.  [default: 25]"),
        click.option(
            "--container",
            "--format",
            metavar="NAME",
            help="mkv, mp4, nut, y4m ...  [default: by suffix; mkv for -]",
        ),
        click.option(
            "--deinterlace",
            type=click.Choice(["auto", "off", "bwdif", "yadif"]),
            default="auto",
            help="auto = if flagged.",
        ),
        click.option(
            "--color", "--colour", "colour", metavar="NAME", default="auto", help="Read pixels as bt709, bt601-full ..."
        ),
        click.option(
            "--scene-detect",
            metavar="auto|off|FILE",
            default="auto",
            help="Shots are restored apart; FILE: the first frame of each, one number on a line.",
        ),
        click.option(
            "--scene-threshold", type=FINITE, metavar="N", help="Of auto; smaller finds more cuts.  [default: 0.25]"
        ),
        click.option(
            "--on-error",
            type=click.Choice(["stop", "continue"]),
            default="stop",
            help="At damaged input: keep the good frames?",
        ),
        click.option(
            "--resume/--no-resume", default=True, help="Go on where an interrupted run of this command ended."
        ),
        click.option(
            "--segment-frames",
            type=click.IntRange(min=0),
            metavar="N",
            help="Frames that a crash costs at most, and that a worker takes at once; 0 = no pieces.  [default: 240]",
        ),
        click.option(
            "--keep-partial", is_flag=True, help="When interrupted, leave a playable file of what is done so far."
        ),
        click.option("--strict", is_flag=True, help="Refuse what the target cannot keep."),
        click.option("--verify/--no-verify", default=True, help="Hold the finished file against its source."),
        click.option("-y", "--overwrite", is_flag=True, help="Replace existing targets."),
    )


def build_settings(options: dict[str, Any]) -> RestoreSettings:
    """Take the values of `writing_options` out of `options`."""
    from fmanet_cli.restore.settings import RestoreSettings
    from fmanet_cli.video.write.codecs import EncoderOptions, find_codec

    extra = {}
    for pair in options.pop("encoder_option"):
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise OptionError(f"--encoder-option must be KEY=VALUE, got {pair!r}")
        extra[key] = value
    if options["codec"] is not None:
        find_codec(options["codec"])  # Before the weights are read.
    encoder = EncoderOptions(extra=extra, **taken(options, "codec", "crf", "preset", "pix_fmt"))
    own = {"scale": int(options.pop("scale")), "start_seconds": options.pop("start"), "end_seconds": options.pop("end")}
    named = taken(options, *(field.name for field in fields(RestoreSettings) if field.name in options))
    return RestoreSettings(encoder=encoder, **given(own | named))


def build_restorer(options: dict[str, Any]) -> tuple[Restorer, str]:
    """Take the values of `engine_options` out of `options`; return the restorer and the name of its weights.

    Where several devices are asked for it is on the first; the names of all stay in `options` as `devices`.
    """
    from fmanet_cli.engine.device import choose_device, choose_precision, split_devices
    from fmanet_cli.engine.restorer import Restorer
    from fmanet_cli.weights.checkpoint import load_model
    from fmanet_cli.weights.registry import best_installed

    # Before the weights are read.
    options["devices"] = split_devices(options.pop("device"))
    device = options["devices"][0]
    choose_precision(options["precision"], choose_device(device))
    name = options.pop("model") or best_installed()
    choices = given(taken(options, "precision", "tile", "compiled", "tile_overlap"))
    return Restorer(load_model(name), device=device, **choices), name


def taken(options: dict[str, Any], *names: str) -> dict[str, Any]:
    """Some of the options, which are then no longer among the others."""
    return {name: options.pop(name) for name in names}


def given(options: Mapping[Key, Any]) -> dict[Key, Any]:
    """Those that were given: None leaves a default to whoever is called."""
    return {name: value for name, value in options.items() if value is not None}


def typed_options() -> dict[str, str]:
    """Names of the options that stand on the command line, and how each is spelt in full."""
    context = click.get_current_context()
    return {
        str(param.name): next(spelling for spelling in param.opts if spelling.startswith("--"))
        for param in context.command.params
        if isinstance(param, click.Option)
        and context.get_parameter_source(str(param.name)) is ParameterSource.COMMANDLINE
    }


def decorated(command: Command, *options: Callable[[Command], Command]) -> Command:
    """A command with options, which its help shows in this order."""
    for option in reversed(options):
        command = option(command)
    return command
