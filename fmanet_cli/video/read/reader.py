"""A video file, image sequence or pipe as a stream of frames."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import av

from fmanet_cli.errors import OptionError, VideoReadError
from fmanet_cli.notes import Notes
from fmanet_cli.video.frames import Frame, VideoInfo
from fmanet_cli.video.pixels.colour import parse_colour
from fmanet_cli.video.pixels.formats import frame_to_rgb, holds_floats, pixels_without_number
from fmanet_cli.video.read.container import ContainerSource, ReadChoices
from fmanet_cli.video.read.deinterlace import METHODS
from fmanet_cli.video.read.faults import FaultLog
from fmanet_cli.video.read.frame_times import FrameClock
from fmanet_cli.video.read.marks import has_captions
from fmanet_cli.video.read.restarts import RestartLog
from fmanet_cli.video.read.sequence import ImageSource, is_sequence_pattern

_LATEST_SECONDS = 10**9
"""About 32 years; beyond it FFmpeg's timestamps overflow."""

_WITHOUT_TIMES = ("image2", "h264", "hevc", "mpegvideo", "m4v", "obu", "av1", "mjpeg")
"""Formats in which frames only follow each other."""


class VideoReader:
    """Every frame of a video once, in presentation order; a context manager and an iterator of `Frame`.

    Memory does not grow with the length of the video. A reader can be iterated once.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        start_seconds: float | None = None,
        end_seconds: float | None = None,
        on_error: str = "stop",
        deinterlace: str = "auto",
        colour: str = "auto",
        frame_rate: Fraction | None = None,
        stream: int | None = None,
        dolby_vision: str = "refuse",
        near_pts: int | None = None,
        notes: Notes | None = None,
    ):
        """Open a video and decode its first frame.

        Args:
            path: a file, an image sequence such as `frames/%05d.png`, or `-` for standard input.
            start_seconds: only frames from this time on, counted from the start of the file.
            end_seconds: only frames before this time.
            on_error: `stop` raises at the first damage; `continue` keeps the good frames and lists `problems`.
            deinterlace: `auto` (only what is flagged as interlaced), `off`, `bwdif` or `yadif`.
            colour: `auto`, or the matrix and range to read the pixels with, such as `bt709` or `bt601-full`.
            frame_rate: of image sequences and of streams without timestamps, in frames a second.
            stream: index of the video stream; by default the moving one that is marked as default, or has most pixels.
            dolby_vision: `refuse` streams whose colours only Dolby Vision knows (profile 5), or `ignore` that.
            near_pts: where the container allows it, begin at a key frame before about this time, in ticks of the
                stream's time base, instead of the first frame.
            notes: where what is not kept or was guessed is said; by default a collector of its own.

        Raises:
            OptionError: the options are impossible.
            VideoReadError: nothing can be decoded.
        """
        _check_options(start_seconds, end_seconds, on_error, deinterlace, frame_rate)
        parse_colour(colour)
        self.path = str(path)
        self._faults = FaultLog(self.path, stops=on_error == "stop", notes=Notes() if notes is None else notes)
        self._source: ContainerSource | ImageSource
        if self.path != "-" and is_sequence_pattern(self.path):
            if stream is not None:
                raise OptionError(f"an image sequence has no streams, got stream {stream}")
            self._source = ImageSource(self.path, faults=self._faults, colour=colour, frame_rate=frame_rate)
        else:
            choices = ReadChoices(
                deinterlace=deinterlace, colour=colour, frame_rate=frame_rate, stream=stream, dolby_vision=dolby_vision
            )
            self._source = ContainerSource(self.path, faults=self._faults, choices=choices)
        if frame_rate is not None and self._source.info.container not in _WITHOUT_TIMES:
            self._source.close()
            raise OptionError(
                f"{self.path} says itself when its frames are shown; a frame rate is for numbered images and raw "
                f"streams, got {frame_rate}"
            )
        self.info: VideoInfo = _trimmed_info(self._source.info, start_seconds, end_seconds)
        """Facts of the video."""
        self.restarts = RestartLog()
        """Where the timestamps started again so far."""
        self._has_broken_pixels = False
        self._near_pts = near_pts
        self.frames_read = 0
        """Frames given so far."""
        self._frames = self._stream_frames()

    @property
    def problems(self) -> list[str]:
        """Damage met so far (the first 100 places)."""
        return self._faults.problems

    @property
    def problem_count(self) -> int:
        """How many places were damaged so far."""
        return self._faults.count

    @property
    def warnings(self) -> list[str]:
        """What is not kept or was guessed, one sentence each."""
        return [*self._faults.notes]

    @property
    def late_marks(self) -> dict[str, str]:
        """Captions and other marks that `info` does not know, because they began later: name -> where."""
        return self._faults.late_marks

    @property
    def source(self) -> ContainerSource | ImageSource:
        """The opened input, for a writer that copies the other streams of a pipe."""
        return self._source

    def check_unchanged(self) -> None:
        """Raise VideoReadError when the source was replaced, written to or removed since it was opened."""
        self._source.state.check_unchanged()

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[Frame]:
        return self._frames

    def __next__(self) -> Frame:
        return next(self._frames)

    def close(self) -> None:
        """Close the input; the iterator is exhausted afterwards."""
        self._frames.close()
        self._source.close()

    def _stream_frames(self) -> Generator[Frame, None, None]:
        """Frames whose duration is the distance to the next one; holds one decoded frame back."""
        self._source.drop_unrequested_packets()
        info = self.info
        held: tuple[int, av.VideoFrame] | None = None
        end_seconds: Fraction | None = None
        step = max(1, round(1 / info.frame_rate / info.time_base))
        start_pts, end_pts = self._pts_at(info.trim_start_seconds), self._pts_at(info.trim_end_seconds)
        clock = FrameClock(
            time_base=info.time_base, frame_rate=info.frame_rate, faults=self._faults, restarts=self.restarts
        )
        for decoded in clock.begun(self._decoded_frames()):
            pts = clock.time_of(decoded.pts)
            if start_pts is not None and pts < start_pts:
                continue
            if held is not None:
                step = pts - held[0]
                frame = self._as_frame(*held, duration=step)
                self.frames_read += 1
                yield frame
            held = None
            if end_pts is not None and pts >= end_pts:
                break
            if decoded.is_corrupt or (decoded.height, decoded.width) != self._source.coded_size:
                self._refuse(decoded, float(pts * info.time_base - info.start_seconds))
            held = pts, decoded
        else:
            end_seconds = self._source.end_seconds()
        if held is not None:
            frame = self._as_frame(*held, duration=self._last_duration(*held, end_seconds, step))
            self.frames_read += 1
            yield frame
        elif not self.frames_read:
            raise VideoReadError(f"{self.path} has no frame between the asked start and end")

    def _pts_at(self, seconds: Fraction | None) -> int | None:
        """The first timestamp from a time on that is counted from the start of the file."""
        return None if seconds is None else math.ceil((self.info.start_seconds + seconds) / self.info.time_base)

    def _decoded_frames(self) -> Iterator[av.VideoFrame]:
        if self._near_pts is not None and isinstance(self._source, ContainerSource):
            return self._source.decoded_frames(None, near_pts=self._near_pts)
        return self._source.decoded_frames(self.info.trim_start_seconds)

    def _last_duration(self, pts: int, decoded: av.VideoFrame, end_seconds: Fraction | None, step: int) -> int:
        """MP4 and Matroska know the end of the stream better than the decoder knows its last frame."""
        if end_seconds is not None and (left := round(end_seconds / self.info.time_base) - pts) > 0:
            return left
        return decoded.duration or step

    def _refuse(self, decoded: av.VideoFrame, seconds: float) -> None:
        """Say what is wrong with a frame. Raises VideoReadError unless that may be passed over."""
        height, width = self._source.coded_size
        if (decoded.height, decoded.width) != (height, width):
            raise VideoReadError(
                f"{self.path} changes size from {width}x{height} to "
                f"{decoded.width}x{decoded.height} at {seconds:.2f} s; "
                "split it there and restore the parts"
            )
        self._faults.add(f"the frame at {seconds:.2f} s is damaged")

    def _warn_of_no_numbers(self, decoded: av.VideoFrame) -> None:
        """Once: the pixels that have no value are black where it is not a number or below all, else white."""
        if count := pixels_without_number(decoded):
            self._has_broken_pixels = True
            self._faults.notes.add(
                f"frame {self.frames_read} has {count} pixels that are no finite numbers (NaN or infinite); "
                "such pixels are read as black or white"
            )

    def _as_frame(self, pts: int, decoded: av.VideoFrame, *, duration: int) -> Frame:
        info, pixel_format = self.info, decoded.format.name
        if holds_floats(pixel_format) and not self._has_broken_pixels:
            self._warn_of_no_numbers(decoded)
        try:
            image = frame_to_rgb(decoded, info.colour)
        except (ValueError, LookupError, av.error.FFmpegError) as error:
            raise VideoReadError(f"{self.path} has frames of format {pixel_format}: {error}") from error
        if crop := info.crop:
            image = image[crop.top : image.shape[0] - crop.bottom, crop.left : image.shape[1] - crop.right].copy()
        captioned = decoded if self._source.has_captions and has_captions(decoded) else None
        return Frame(image, pts, info.time_base, duration=max(0, duration), captioned=captioned)


def _check_options(
    start_seconds: float | None,
    end_seconds: float | None,
    on_error: str,
    deinterlace: str,
    frame_rate: Fraction | None,
) -> None:
    for name, seconds in {"start": start_seconds, "end": end_seconds}.items():
        if seconds is not None and not abs(seconds) <= _LATEST_SECONDS:
            raise OptionError(f"the {name} must be a number of seconds up to {_LATEST_SECONDS:g}, got {seconds}")
    if start_seconds is not None and start_seconds < 0:
        raise OptionError(f"the start must not be negative, got {start_seconds}")
    if end_seconds is not None and end_seconds <= (start_seconds or 0):
        raise OptionError(f"the end must be later than the start, got {end_seconds}")
    if on_error not in ("stop", "continue"):
        raise OptionError(f"on_error must be stop or continue, got {on_error!r}")
    if deinterlace not in ("auto", "off", *METHODS):
        raise OptionError(f"deinterlace must be auto, off, {' or '.join(METHODS)}, got {deinterlace!r}")
    if frame_rate is not None and frame_rate <= 0:
        raise OptionError(f"the frame rate must be positive, got {frame_rate}")


def _trimmed_info(info: VideoInfo, start_seconds: float | None, end_seconds: float | None) -> VideoInfo:
    if start_seconds is None and end_seconds is None:
        return info
    count = info.frame_count
    if end_seconds is not None:
        requested = round(end_seconds * info.frame_rate)
        count = requested if count is None else min(count, requested)
    if count is not None and start_seconds is not None:
        count = max(0, count - round(start_seconds * info.frame_rate))
    return replace(
        info, frame_count=count, trim_start_seconds=_exactly(start_seconds), trim_end_seconds=_exactly(end_seconds)
    )


def _exactly(seconds: float | None) -> Fraction | None:
    """The decimal number that was written, so that 6.2 does not include the frame at 31/5."""
    return None if seconds is None else Fraction(str(seconds))
