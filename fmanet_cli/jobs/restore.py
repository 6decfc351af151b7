"""One video restored: reader, network and writer joined, with a report at the end."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from fmanet_cli.engine.pipeline import BackgroundConsumer, prefetched
from fmanet_cli.engine.resize import resized
from fmanet_cli.engine.restorer import Restorer
from fmanet_cli.errors import OptionError
from fmanet_cli.model.fmanet import FMANet
from fmanet_cli.video.encoder import EncoderOptions
from fmanet_cli.video.frame import VideoInfo
from fmanet_cli.video.reader import VideoReader
from fmanet_cli.video.writer import VideoWriter

QUEUE_FRAMES = 3
"""Frames that wait between two stages; enough to even out their times."""

SIZE_NAMES = {"480p": 480, "720p": 720, "1080p": 1080, "1440p": 1440, "2160p": 2160, "4k": 2160}


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreSettings:
    """How a video is read and written; the network, device and tiles are the restorer's."""

    encoder: EncoderOptions = field(default_factory=EncoderOptions)
    """Codec, quality, speed and pixel format."""
    overwrite: bool = False
    """Replace an existing target."""
    scale: int = 4
    """Output size over input size: 4, 2 or 1 (deblurring only). The network runs at 4."""
    size: str | None = None
    """Output size instead of `scale`: `WxH`, or a height such as `1080p` with the width that keeps the shape."""
    audio: str = "copy"
    """`copy`, `aac` or `none`."""
    strict: bool = False
    """Refuse before the run what the target cannot keep."""
    start_seconds: float | None = None
    """Restore from here on."""
    end_seconds: float | None = None
    """Restore up to here, not included."""
    on_error: str = "stop"
    """At damaged input: `stop`, or `continue` with the good frames."""
    deinterlace: str = "auto"
    """`auto`, `off`, `bwdif` or `yadif`."""
    colour: str = "auto"
    """How untagged or wrongly tagged pixels are read, such as `bt709`."""

    def __post_init__(self) -> None:
        if self.scale not in (1, 2, 4):
            raise OptionError(f"scale must be 4, 2 or 1, got {self.scale}")
        if self.size is not None and self.size.lower() not in SIZE_NAMES and not re.fullmatch(r"\d+x\d+", self.size):
            raise OptionError(f"size must be WIDTHxHEIGHT or one of {', '.join(SIZE_NAMES)}, got {self.size!r}")


@dataclass(frozen=True, slots=True)
class RestoreProgress:
    """How far a run is."""

    frames_done: int
    """Frames restored so far."""
    frames_expected: int | None
    """Estimate of all frames; None = unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreReport:
    """What a finished run did."""

    source: str
    """Path of the input."""
    target: str
    """Path of the output."""
    frames: int
    """Frames read and written."""
    source_size: tuple[int, int]
    """(width, height) in pixels."""
    target_size: tuple[int, int]
    """(width, height) in pixels."""
    seconds: float
    """Wall time from opening the input to the finished file."""
    model: str
    """Name or path of the weights, empty if the caller did not say."""
    device: str
    """Where the network ran."""
    precision: str
    """`fp32`, `fp16` or `bf16`."""
    tile: int
    """Tile side in low-resolution pixels; 0 = whole pictures."""
    warnings: tuple[str, ...]
    """What was lost, guessed or changed on the way."""

    @property
    def frames_per_second(self) -> float:
        """Frames over the whole time."""
        return self.frames / self.seconds if self.seconds > 0 else 0.0

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "frames_per_second": self.frames_per_second}


class RestoreJob:
    """Restores one video; `run` yields the progress and leaves the `report`."""

    def __init__(
        self,
        source: str | Path,
        target: str | Path,
        restorer: Restorer,
        *,
        settings: RestoreSettings | None = None,
        model_name: str = "",
    ) -> None:
        self.source, self.target = str(source), str(target)
        self.report: RestoreReport | None = None
        """Set when the run has ended well."""
        self._restorer = restorer
        self._settings = settings or RestoreSettings()
        self._model_name = model_name

    def run(self) -> Iterator[RestoreProgress]:
        """Yields once before the first frame and after every frame; the target appears at the end.

        Raises:
            FmanetError: the input cannot be read, the output not written, or memory does not suffice.
        """
        began = time.perf_counter()
        settings, done = self._settings, 0
        self._restorer.warnings.clear()
        with (
            VideoReader(
                self.source,
                start_seconds=settings.start_seconds,
                end_seconds=settings.end_seconds,
                on_error=settings.on_error,
                deinterlace=settings.deinterlace,
                colour=settings.colour,
            ) as reader,
            self._writer(reader) as writer,
        ):
            yield RestoreProgress(0, reader.info.frame_count)
            decoded = prefetched(reader, QUEUE_FRAMES)
            restored = resized(self._restorer.restore(decoded), writer.height, writer.width)
            try:
                with BackgroundConsumer(writer.write, depth=QUEUE_FRAMES) as encoder:
                    for frame in restored:
                        encoder.put(frame)
                        done += 1
                        yield RestoreProgress(done, reader.info.frame_count)
            finally:
                decoded.close()  # type: ignore[attr-defined]
        self.report = self._report(reader, writer, time.perf_counter() - began)

    def _writer(self, reader: VideoReader) -> VideoWriter:
        settings = self._settings
        return VideoWriter(
            self.target,
            like=reader.info,
            size=target_size(reader.info, settings),
            encoder=settings.encoder,
            overwrite=settings.overwrite,
            audio=settings.audio,
            strict=settings.strict,
            source=reader,
        )

    def _report(self, reader: VideoReader, writer: VideoWriter, seconds: float) -> RestoreReport:
        warnings = [*reader.warnings, *reader.problems, *writer.warnings, *self._restorer.warnings]
        return RestoreReport(
            source=self.source,
            target=self.target,
            frames=writer.frames_written,
            source_size=(reader.info.width, reader.info.height),
            target_size=(writer.width, writer.height),
            seconds=seconds,
            model=self._model_name,
            device=str(self._restorer.device),
            precision=self._restorer.precision,
            tile=self._restorer.tile or 0,
            warnings=tuple(warnings),
        )


def target_size(info: VideoInfo, settings: RestoreSettings) -> tuple[int, int]:
    """(height, width) of the output; both even where a named height decides the width.

    Raises:
        OptionError: the asked size has no pixels.
    """
    if settings.size is None:
        return info.height * settings.scale, info.width * settings.scale
    named = SIZE_NAMES.get(settings.size.lower())
    if named is not None:
        return named, max(2, round(info.width * named / info.height / 2) * 2)
    width, height = (int(side) for side in settings.size.split("x"))
    if not width or not height:
        raise OptionError(f"size must be at least 1x1, got {settings.size}")
    return height, width


def restore_video(
    source: str | Path,
    target: str | Path,
    model: FMANet | Restorer,
    *,
    settings: RestoreSettings | None = None,
    model_name: str = "",
) -> RestoreReport:
    """Restores one video file.

    Args:
        source: video file, image sequence pattern such as `frames/%05d.png`, or `-` for standard input.
        target: file, pattern or `-` for standard output; the container follows from the suffix.
        model: a network (device and precision are chosen), or a `Restorer` with choices of its own.
        settings: how to read and write; the defaults keep everything of the source.
        model_name: what the report calls the weights.

    Raises:
        FmanetError: the input cannot be read, the output not written, or memory does not suffice.
    """
    restorer = model if isinstance(model, Restorer) else Restorer(model)
    job = RestoreJob(source, target, restorer, settings=settings, model_name=model_name)
    for _ in job.run():
        pass
    assert job.report is not None
    return job.report
