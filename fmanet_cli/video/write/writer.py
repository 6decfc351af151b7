"""Frames into a video file, an image sequence or a pipe."""

from __future__ import annotations

import contextlib
import os
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from fmanet_cli.errors import FmanetError, OptionError, VideoWriteError
from fmanet_cli.notes import Notes
from fmanet_cli.video.frames import Frame, PlanarFrame, VideoInfo
from fmanet_cli.video.pixels.colour import ImageOrPlanes, PlaneFormat
from fmanet_cli.video.read.images import encode_png
from fmanet_cli.video.read.reader import VideoReader
from fmanet_cli.video.read.sequence import sequence_file
from fmanet_cli.video.write.codecs import EncoderOptions
from fmanet_cli.video.write.muxer import ContainerOutput
from fmanet_cli.video.write.partial_files import PartialSequence
from fmanet_cli.video.write.plan import OutputPlan
from fmanet_cli.video.write.planning import plan_output
from fmanet_cli.video.write.segmented import SegmentedOutput
from fmanet_cli.video.write.segments import SegmentFolder
from fmanet_cli.video.write.side_packets import SidePackets, opened_side_packets


class VideoWriter:
    """Encodes frames as they come and carries everything else of the source over; a context manager.

    The target appears under its name only when the `with` block ends without an exception.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        like: VideoInfo,
        scale: int = 4,
        size: tuple[int, int] | None = None,
        encoder: EncoderOptions | None = None,
        overwrite: bool = False,
        audio: str = "copy",
        strict: bool = False,
        container: str | None = None,
        source: VideoReader | None = None,
        side: SidePackets | None = None,
        plan: OutputPlan | None = None,
        segments: SegmentFolder | None = None,
        keep_partial: bool = False,
        notes: Notes | None = None,
    ):
        """Decide what the output will be and prepare to write it.

        Args:
            path: a file, a pattern such as `frames/%05d.png`, or `-` for standard output.
            like: the source's facts; timestamps, tags, sound and other streams come from there.
            scale: height and width of the frames against the source.
            size: (height, width) in pixels instead of `scale`.
            encoder: codec, quality, speed and pixel format; by default the container's own.
            overwrite: replace an existing target.
            audio: `copy`, `aac` or `none`.
            strict: refuse when anything of the source would be lost.
            container: FFmpeg's or a short name; by default what the suffix says, and matroska for standard output.
            source: the reader, needed to copy the sound of standard input; the frames must come from it.
            side: the source opened for its other streams; it is closed with the writer. By default it is opened here.
            plan: what `plan_output` gave for these choices, which then do not count; by default it is made here.
            segments: where closed pieces of the video are kept until the end, so that a crash does not lose them.
                `write` goes on after the frames that are there already. Raw video is written without.
            keep_partial: when the `with` block is interrupted, leave what is done so far as a playable file beside
                `path`, whose name says that it is partial.
            notes: where what is lost or changed is said; by default a collector of its own.

        Raises:
            OptionError: something cannot be honoured.
            OutputExistsError: the target is there already, and `overwrite` is off.
            VideoWriteError: nothing can be written there.
        """
        self.path = str(path)
        _refuse_same_file(self.path, like)
        with contextlib.ExitStack() as opened:
            if side is None:
                side = opened.enter_context(opened_side_packets(like))
            self.plan = plan or plan_output(
                path,
                like=like,
                scale=scale,
                size=size,
                encoder=encoder,
                audio=audio,
                container=container,
                source=source,
                side=side,
                in_segments=segments is not None,
            )
            """What is written."""
            if strict and self.plan.losses:
                raise OptionError(f"strict: {self.path} would lose something: {'; '.join(self.plan.losses)}")
            self._notes = Notes() if notes is None else notes
            self._notes.add(*self.plan.losses)
            self.frames_written = 0
            """Frames taken so far."""
            self.height, self.width = self.plan.height, self.plan.width
            self.plane_format = self.plan.plane_format
            """The planes that planar frames must have; None where only RGB is taken."""
            self._planes = _planes(self.plane_format, self.height, self.width)
            self._like = like
            self._segments = segments
            self._keep_partial = keep_partial
            self._last_pts: int | None = None
            self._is_finished = self._is_closed = False
            self._output = self._opened_output(source, side, segments, overwrite=overwrite)
            opened.pop_all()

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self.close()
            elif issubclass(kind, KeyboardInterrupt | GeneratorExit) and not self._is_finished:
                self._keep()
        finally:
            self.abort()

    def _keep(self) -> None:
        """Whoever is told to stop keeps every frame that is done; a failure keeps the segments closed before."""
        if isinstance(self._output, SegmentedOutput):
            with contextlib.suppress(Exception):
                self._output.keep(playable=self._keep_partial)

    @property
    def warnings(self) -> list[str]:
        """What is lost or changed, one sentence each; complete when the writer is closed."""
        return [*self._notes]

    @property
    def shift_seconds(self) -> Fraction:
        """What was added to every timestamp of the source; not 0 only for trimmed, negative and MPEG-TS starts."""
        return self._output.shift_seconds

    def take_segments(self) -> None:
        """Count the frames of segments that were closed elsewhere as written."""
        if self._segments is not None:
            self.frames_written = self._segments.frame_count

    @property
    def is_segmented(self) -> bool:
        """Whether closed pieces are kept, some of which others may make."""
        return isinstance(self._output, SegmentedOutput)

    def write(self, frame: Frame | PlanarFrame) -> None:
        """Encode one frame; frames come with rising timestamps.

        Args:
            frame: of the output's size: (H, W, 3) float32 RGB in [0, 1], or planes as `plane_format` says.

        Raises:
            ValueError: the frame does not belong here.
            VideoWriteError: encoding or writing fails.
        """
        self._check(frame)
        image = self.plan.as_encoded(frame)
        duration = frame.duration or max(1, round(1 / self._like.frame_rate / frame.time_base))
        try:
            if self._last_pts is None:
                self._output.start(frame.pts)
            self._output.write(image, pts=frame.pts, duration=duration, captioned=frame.captioned)
        except (av.error.FFmpegError, OSError, ValueError) as error:
            self.abort()
            raise _write_error(self.path, error) from error
        self._last_pts = frame.pts
        self.frames_written += 1

    def finish(self) -> str | None:
        """Write everything and leave it under a temporary name, so that it can be checked before `close`.

        Returns:
            That name, or a pattern for an image sequence; None for standard output.

        Raises:
            VideoWriteError: there was no frame, or writing fails.
        """
        if not self.frames_written:
            self.abort()
            raise VideoWriteError(f"{self.path} was not written: there was no frame")
        try:
            self._output.finish()
        except (av.error.FFmpegError, OSError, ValueError) as error:
            self.abort()
            raise _write_error(self.path, error) from error
        self._is_finished = True
        partial = self._output.partial_path
        return None if partial is None else str(partial)

    def close(self) -> None:
        """Finish the file and give it its name.

        Raises:
            VideoWriteError: there was no frame, or writing fails.
        """
        if self._is_closed:
            return
        if not self._is_finished:
            self.finish()
        self._output.commit()
        self._is_closed = True

    def set_aside(self) -> str:
        """Keep a finished file that is not fit for its name under one that says so; return that name."""
        self._is_closed = True
        return str(self._output.set_aside())

    def abort(self) -> None:
        """Stop and remove what was written; harmless when closed already."""
        if not self._is_closed:
            self._is_closed = True
            self._output.discard()

    def _check(self, frame: Frame | PlanarFrame) -> None:
        if self._is_closed:
            raise ValueError("the writer is closed")
        if frame.size != (self.height, self.width):
            height, width = frame.size
            raise ValueError(f"frames must be {self.width}x{self.height}, got {width}x{height}")
        if isinstance(frame, PlanarFrame):
            if self._planes is None:
                raise ValueError(f"{self.path} takes RGB, got planes")
            found = [(plane.shape, plane.dtype) for plane in frame.planes]
            if found != self._planes:
                raise ValueError(f"planes must be {self._planes}, got {found}")
        if frame.time_base != self._like.time_base:
            raise ValueError(f"frames must have time_base {self._like.time_base}, got {frame.time_base}")
        if self._last_pts is not None and frame.pts <= self._last_pts:
            raise ValueError(f"timestamps must rise, got pts {frame.pts} after {self._last_pts}")

    def _opened_output(
        self, source: VideoReader | None, side: SidePackets | None, segments: SegmentFolder | None, *, overwrite: bool
    ) -> ContainerOutput | SegmentedOutput | _SequenceOutput:
        plan = self.plan
        if plan.container is None or plan.settings is None:
            return _SequenceOutput(Path(self.path), overwrite=overwrite, bit_depth=plan.bit_depth)
        if not plan.container.has_timestamps or not plan.settings.codec.segments_in:
            segments = None
        output = ContainerOutput(
            None if self.path == "-" else Path(self.path),
            plan,
            overwrite=overwrite,
            source=source,
            side=side,
            partial_folder=segments.folder if segments is not None else None,
            notes=self._notes,
        )
        if segments is None:
            return output
        self.frames_written = segments.frame_count
        return SegmentedOutput(output, segments, plan.settings)


class _SequenceOutput:
    """Numbered PNG files."""

    def __init__(self, pattern: Path, *, overwrite: bool, bit_depth: int):
        self.shift_seconds = Fraction(0)
        self._partial = PartialSequence(pattern, overwrite=overwrite)
        self._pattern = pattern
        self._bit_depth = bit_depth
        self._number = 0

    def start(self, _first_pts: int) -> None:
        self._partial.begin()

    def write(self, image: ImageOrPlanes, *, pts: int, duration: int, captioned: av.VideoFrame | None = None) -> None:  # noqa: ARG002
        assert isinstance(image, np.ndarray)
        self._number += 1
        name = sequence_file(self._pattern, self._number).name
        (self._partial.folder / name).write_bytes(encode_png(image, bit_depth=self._bit_depth))

    def finish(self) -> None:
        pass

    @property
    def partial_path(self) -> Path | None:
        return self._partial.folder / self._pattern.name

    def commit(self) -> None:
        self._partial.commit()

    def set_aside(self) -> Path | None:
        return self._partial.set_aside()

    def discard(self) -> None:
        self._partial.discard()


def _planes(plane_format: PlaneFormat | None, height: int, width: int) -> list[tuple[Any, np.dtype]] | None:
    """Shape and type of each plane of a frame."""
    if plane_format is None:
        return None
    return [(shape, np.dtype(plane_format.dtype)) for shape in plane_format.shapes(height, width)]


def _refuse_same_file(path: str, like: VideoInfo) -> None:
    if path == "-" or like.is_pipe:
        return
    target, origin = Path(path), Path(like.path)
    if os.path.exists(target) and os.path.exists(origin) and target.samefile(origin):
        raise OptionError(f"{path} is the source itself; choose another output")
    if path == like.path:
        raise OptionError(f"{path} is the source itself; choose another output")


def _write_error(path: str, error: Exception) -> FmanetError:
    if isinstance(error, FmanetError):
        return error
    return VideoWriteError(f"{path} cannot be written: {getattr(error, 'strerror', None) or error}")
