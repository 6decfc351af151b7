"""What an encoder says and gives when it is tried before the run, held against what was requested of it."""

from __future__ import annotations

import contextlib
import io
import itertools
import re
from collections.abc import Iterator
from fractions import Fraction
from typing import Any, cast

import av
import av.logging
import numpy as np

from fmanet_cli.errors import OptionError
from fmanet_cli.video.frames import colour_words
from fmanet_cli.video.read.describe import declared_tags, stated_colour
from fmanet_cli.video.read.rational import to_fraction
from fmanet_cli.video.write.codecs import VideoSettings
from fmanet_cli.video.write.containers import Container
from fmanet_cli.video.write.decode_timestamps import DecodeTimes
from fmanet_cli.video.write.encoder import VideoEncoder
from fmanet_cli.video.write.opened_output import open_output
from fmanet_cli.video.write.plan import OutputPlan
from fmanet_cli.video.write.stream_plan import samples_for

_PASSED_OVER = re.compile(r"Error parsing option |Unknown option|Bad value for|Invalid value for", re.I)

Logs = list[tuple[int, str, str]]
"""Level, speaker and text of FFmpeg's messages."""


@contextlib.contextmanager
def heard() -> Iterator[Logs]:
    """Collect FFmpeg's warnings and errors of this thread, which its exceptions leave out."""
    level, skips = av.logging.get_level(), av.logging.get_skip_repeated()
    av.logging.set_level(av.logging.WARNING)
    av.logging.set_skip_repeated(False)
    try:
        with av.logging.Capture() as logs:
            yield logs
    finally:
        av.logging.set_level(level)
        av.logging.set_skip_repeated(skips)


def rehearse(
    plan: OutputPlan, opened_input: av.container.InputContainer | None, samples: dict[int, list[av.Packet]]
) -> None:
    """Write one frame and the first packets of every stream into memory, so that failure comes before the work.

    Raises OptionError when encoder and container do not go together, or what was written is not what was requested.
    """
    settings, container, content = plan.settings, plan.container, io.BytesIO()
    assert settings is not None and container is not None
    with heard() as logs:
        try:
            output, video, routes = open_output(content, plan, settings, opened_input)
            with output:
                encoder = VideoEncoder(video, settings)
                grey = np.full((settings.height, settings.width, 3), 0.5, np.float32)
                duration = max(1, round(1 / settings.frame_rate / settings.time_base))
                times = DecodeTimes(reorder_depth=encoder.reorder_depth)
                times.shows(0, duration)
                coded = [*encoder.encode(grey, pts=0, duration=duration), *encoder.finish()]
                packets = [*itertools.chain.from_iterable(map(times.timed, coded)), *times.finish()]
                for index, route in routes.items():
                    if route.planned.how == "copy":
                        for packet in samples_for(samples.get(index, []), route.new):
                            output.mux(packet)
                for packet in packets:
                    output.mux(packet)
            refuse_passed_over(logs, settings)
            check_written(content, settings, container)
        except (ValueError, av.error.FFmpegError) as error:
            if isinstance(error, OptionError):
                raise
            raise refusal(error, logs, settings, container) from error


def refuse_passed_over(logs: Logs, settings: VideoSettings) -> None:
    """Raise OptionError for a parameter that the encoder only warns of and then does without."""
    for _, speaker, text in logs:
        if speaker == settings.codec.name and _PASSED_OVER.search(text):
            raise OptionError(
                f"{speaker} passes an option over: {text.strip().rstrip('.')}; correct it or leave it out"
            )


def refusal(error: Exception, logs: Logs, settings: VideoSettings, container: Container) -> OptionError:
    """Why encoder and container do not go together, in one line that names the option at fault where there is one."""
    codec = settings.codec
    spoken = [text.strip().rstrip(".") for level, speaker, text in logs if speaker == codec.name and level <= 16]
    reason = "; ".join(spoken) or getattr(error, "strerror", None) or str(error)
    names = {codec.preset_option: "preset", codec.quality_option: "crf"}
    # What was asked for comes first: a default that is named beside it is not at fault.
    for key, value in {**settings.requested.extra, **settings.options}.items():
        if value and all(re.search(rf"(?<!\w){re.escape(word)}(?!\w)", reason) for word in (key, value)):
            return OptionError(f"{codec.name} does not take {names.get(key, key)}={value!r}: {reason}")
    if codec.needs_device and spoken:
        return OptionError(f"{codec.name} cannot be used here: {reason}; use a codec of the processor such as x264")
    return OptionError(
        f"{codec.name} at {settings.width}x{settings.height} {settings.pix_fmt} cannot be written to "
        f"{container.name}: {reason}; use another codec or container"
    )


def check_written(content: io.BytesIO, settings: VideoSettings, container: Container) -> None:
    """Hold one written frame against the settings, as the finished file will be held against its source.

    Raises OptionError for a size, a pixel shape or colours that are not those that were to be written.
    """
    content.seek(0)
    with av.open(content, format=container.name) as written:
        stream = written.streams.video[0]
        declared = declared_tags(stream)
        frame = next(iter(cast(Any, written).decode(stream)), None)
        aspect = to_fraction(stream.sample_aspect_ratio) or Fraction(1)
    if frame is None:
        raise OptionError(f"{settings.codec.name} gives no frame in {container.name}; use another codec or container")
    pairs: dict[str, tuple[object, object]] = {
        "size": (f"{settings.width}x{settings.height}", f"{frame.width}x{frame.height}")
    }
    if settings.codec.family in container.aspect_families:
        pairs["pixel shape"] = settings.sample_aspect_ratio, aspect
    if container.holds_colour_tags and settings.codec.family not in container.untagged_families:
        stated = colour_words(stated_colour(frame, declared))
        pairs |= {name: (said, stated[name]) for name, said in colour_words(settings.colour).items()}
    for name, (wanted, found) in pairs.items():
        if found != wanted:
            raise OptionError(
                f"{settings.codec.name} in {container.name} gives a {name} of {found} instead of {wanted}"
                f"{_chosen(settings)}; choose otherwise"
            )


def _chosen(settings: VideoSettings) -> str:
    """What was asked of the encoder, in brackets."""
    requested = settings.requested
    named = {"pix_fmt": requested.pix_fmt, "preset": requested.preset, **requested.extra}
    texts = [f"{key}={value}" for key, value in named.items() if value is not None]
    return f" ({', '.join([f'{settings.width}x{settings.height}', *texts])})"
