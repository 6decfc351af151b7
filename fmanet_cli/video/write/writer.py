"""Frames into a video file, an image sequence or a pipe."""

from __future__ import annotations

import os
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Protocol

import av
import numpy as np

from fmanet_cli.errors import FmanetError, OptionError, VideoWriteError
from fmanet_cli.video.frames import DisplayMatrix, Frame, PlanarFrame, VideoInfo
from fmanet_cli.video.pixels.colour import Picture, PlaneFormat
from fmanet_cli.video.pixels.formats import pixel_layout, plane_format_of
from fmanet_cli.video.read.container import ContainerSource
from fmanet_cli.video.read.images import encode_png
from fmanet_cli.video.read.opening import MAX_PIXELS
from fmanet_cli.video.read.reader import VideoReader
from fmanet_cli.video.read.sequence import is_sequence_pattern, sequence_file
from fmanet_cli.video.write.codecs import (
    EncoderOptions,
    VideoSettings,
    choose_pixel_format,
    encoder_settings_options,
    find_codec,
)
from fmanet_cli.video.write.containers import Container, container_of, named_container
from fmanet_cli.video.write.muxer import ContainerOutput
from fmanet_cli.video.write.orientation import is_right_angled, oriented, swaps_sides
from fmanet_cli.video.write.partial_files import PartialSequence
from fmanet_cli.video.write.segmented import SegmentedOutput
from fmanet_cli.video.write.segments import SegmentFolder
from fmanet_cli.video.write.tags import kept_tags

_DEFAULT_PIPE_CONTAINER = "matroska"


class VideoWriter:
    """Encodes frames as they come and carries everything else of the source over; a context manager.

    The target appears under its name only when the ``with`` block ends without an exception.
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
        segments: SegmentFolder | None = None,
    ):
        """Prepare to write ``path``: a file, a pattern such as ``frames/%05d.png``, or ``-`` for standard output.

        like: the source's facts; timestamps, tags, sound and other streams come from there.
        scale: height and width of the frames against the source. size: (height, width) in pixels instead.
        audio: ``copy``, ``aac`` or ``none``. strict: refuse when anything of the source would be lost.
        container: FFmpeg's or a short name; by default what the suffix says, and matroska for standard output.
        source: the reader, needed to copy the sound of standard input; the frames must come from it.
        segments: where closed pieces of the video are kept until the end, so that a crash does not lose them. Frames
            that are there already count as written; `write` goes on after them. Raw video is written without.

        Raises OptionError for what cannot be honoured, OutputExistsError, and VideoWriteError for a useless target.
        """
        self.path = str(path)
        self.warnings: list[str] = []
        """What is lost or changed, one sentence each; complete when the writer is closed."""
        self.frames_written = 0
        """Frames taken so far."""
        self.height, self.width = size or (like.height * scale, like.width * scale)
        self.plane_format: PlaneFormat | None = None
        """The planes that planar frames must have; None where only RGB is taken."""
        if self.height < 1 or self.width < 1:
            raise OptionError(f"the output size must be at least 1x1, got {self.width}x{self.height}")
        if self.height * self.width > MAX_PIXELS:
            # What is read back to be verified has the same bound as every source.
            raise OptionError(
                f"the output would be {self.width}x{self.height}, more than {MAX_PIXELS} pixels; ask for a smaller one"
            )
        self.warnings.extend(like.marks.losses())
        self._like = like
        self._baked_matrix: DisplayMatrix | None = None
        self._last_pts: int | None = None
        self._is_finished = False
        self._is_closed = False
        _refuse_same_file(self.path, like)
        asked = encoder or EncoderOptions()
        self._segments = segments
        self._output: _Output
        if self.path != "-" and is_sequence_pattern(self.path):
            if container is not None:
                raise OptionError(f"an image sequence has no container, got {container!r}; leave it out")
            self._output = self._sequence_output(asked, overwrite=overwrite)
        else:
            self._output = self._container_output(asked, audio, container, source, overwrite=overwrite)
        self.warnings.extend(self._output.warnings)
        self._output.warnings.clear()
        if strict and self.warnings:
            self._output.discard()
            raise OptionError(f"strict: {self.path} would lose something: {'; '.join(self.warnings)}")

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self.close()
        finally:
            self.abort()

    @property
    def shift_seconds(self) -> Fraction:
        """What was added to every timestamp of the source; not 0 only for trimmed, negative and MPEG-TS starts."""
        return self._output.shift_seconds

    def write(self, frame: Frame | PlanarFrame) -> None:
        """Encode one frame of the output's size; frames come with rising timestamps.

        The planes of a planar frame must be as ``plane_format`` says.

        Raises ValueError for a frame that does not belong here and VideoWriteError when encoding or writing fails.
        """
        self._check(frame)
        picture: Picture
        if isinstance(frame, PlanarFrame):
            picture = frame.planes
        else:
            picture = frame.image if self._baked_matrix is None else oriented(frame.image, self._baked_matrix)
        duration = frame.duration or max(1, round(1 / self._like.frame_rate / frame.time_base))
        try:
            if self._last_pts is None:
                self._output.start(frame.pts)
            self._output.write(picture, pts=frame.pts, duration=duration)
        except (av.error.FFmpegError, OSError, ValueError) as error:
            self.abort()
            raise _write_error(self.path, error) from error
        self._last_pts = frame.pts
        self.frames_written += 1

    def finish(self) -> str | None:
        """Write everything and leave it under a temporary name, so that it can be checked before ``close``.

        Returns that name, or a pattern for an image sequence; None for standard output. Raises VideoWriteError when
        there was no frame or writing fails.
        """
        if self._last_pts is None:
            self.abort()
            raise VideoWriteError(f"{self.path} was not written: there was no frame")
        try:
            self._output.finish()
        except (av.error.FFmpegError, OSError, ValueError) as error:
            self.abort()
            raise _write_error(self.path, error) from error
        self.warnings.extend(self._output.warnings)
        self._is_finished = True
        partial = self._output.partial_path
        return None if partial is None else str(partial)

    def close(self) -> None:
        """Finish the file and give it its name. Raises VideoWriteError when there was no frame or writing fails."""
        if self._is_closed:
            return
        if not self._is_finished:
            self.finish()
        self._output.commit()
        self._is_closed = True

    def set_aside(self) -> str:
        """Keep a finished file that is not fit for its name under one that says so; returns that name."""
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
            self._check_planes(frame)
        if frame.time_base != self._like.time_base:
            raise ValueError(f"frames must have time_base {self._like.time_base}, got {frame.time_base}")
        if self._last_pts is not None and frame.pts <= self._last_pts:
            raise ValueError(f"timestamps must rise, got pts {frame.pts} after {self._last_pts}")

    def _check_planes(self, frame: PlanarFrame) -> None:
        if self.plane_format is None:
            raise ValueError(f"{self.path} takes RGB, got planes")
        expected = [(shape, np.dtype(self.plane_format.dtype)) for shape in self.plane_format.shapes(*frame.size)]
        found = [(plane.shape, plane.dtype) for plane in frame.planes]
        if found != expected:
            raise ValueError(f"planes must be {expected}, got {found}")

    def _sequence_output(self, asked: EncoderOptions, *, overwrite: bool) -> _SequenceOutput:
        pattern = Path(self.path)
        if pattern.suffix.lower() != ".png":
            raise OptionError(f"image sequences are written as .png, got {pattern.name!r}")
        if asked != EncoderOptions():
            raise OptionError("codec, crf, preset and pix_fmt do not apply to an image sequence; leave them out")
        self._bake_orientation(holds_rotation=False, name="an image sequence")
        output = _SequenceOutput(pattern, overwrite=overwrite, bit_depth=16 if self._like.bit_depth > 8 else 8)
        if len(self._like.streams) > 1:
            output.warnings.append("sound and other streams are left out: an image sequence cannot hold them")
        return output

    def _container_output(
        self, asked: EncoderOptions, audio: str, name: str | None, source: VideoReader | None, *, overwrite: bool
    ) -> ContainerOutput | SegmentedOutput:
        is_pipe = self.path == "-"
        if name is not None:
            container = named_container(name)
        else:
            container = named_container(_DEFAULT_PIPE_CONTAINER) if is_pipe else container_of(Path(self.path))
        matrix = self._bake_orientation(holds_rotation=container.holds_rotation, name=container.name)
        settings = self._settings(asked, container)
        if self._baked_matrix is None:
            self.plane_format = plane_format_of(settings.pix_fmt, settings.colour)
        opened = source.source if source is not None and self._like.is_pipe else None
        segments = self._segments if container.has_timestamps and settings.codec.segments_in else None
        output = ContainerOutput(
            None if is_pipe else Path(self.path),
            container=container,
            settings=settings,
            like=self._like,
            display_matrix=matrix,
            audio=audio,
            overwrite=overwrite,
            source=opened if isinstance(opened, ContainerSource) else None,
            restarts=source.restarts if source is not None else None,
            partial_folder=segments.folder if segments is not None else None,
        )
        if segments is None:
            return output
        self.frames_written = segments.frame_count
        self._last_pts = segments.pts[-1] if segments.segments else None
        return SegmentedOutput(output, segments, settings)

    def _bake_orientation(self, *, holds_rotation: bool, name: str) -> DisplayMatrix | None:
        """The display matrix that the container shall carry; where it cannot, pixels are turned instead."""
        matrix = self._like.display_matrix
        if matrix is None or holds_rotation:
            return matrix
        if is_right_angled(matrix):
            self._baked_matrix = matrix
        else:
            self.warnings.append(f"the rotation of the video is lost: {name} cannot hold it")
        return None

    def _default_codec(self, asked: EncoderOptions, container: Container) -> str:
        """A quality or preset that was asked for is one of the usual encoder, not of a lossless one."""
        is_lossless = self.path == "-" and asked.crf is None and asked.preset is None and not asked.extra
        return (is_lossless and container.pipe_codec) or container.default_codec

    def _settings(self, asked: EncoderOptions, container: Container) -> VideoSettings:
        like = self._like
        codec = find_codec(self._default_codec(asked, container) if asked.codec is None else asked.codec)
        if codec.family not in container.families:
            raise OptionError(
                f"{container.name} cannot hold {codec.name}; it holds {', '.join(container.families)}, and matroska all"
            )
        turned = self._baked_matrix is not None and swaps_sides(self._baked_matrix)
        height, width = (self.width, self.height) if turned else (self.height, self.width)
        if codec.largest_side is not None and max(height, width) > codec.largest_side:
            raise OptionError(
                f"{codec.name} encodes at most {codec.largest_side} pixels a side, the output would be "
                f"{width}x{height}; ask for a smaller one or use another codec"
            )
        pix_fmt = choose_pixel_format(codec, asked.pix_fmt, bit_depth=like.bit_depth, height=height, width=width)
        layout = pixel_layout(pix_fmt)
        if asked.pix_fmt is None and layout.bits < min(like.bit_depth, 10):
            self.warnings.append(f"{like.bit_depth} bits become {layout.bits}: {codec.name} has no more here")
        aspect = like.sample_aspect_ratio * Fraction(like.width * self.height, self.width * like.height)
        if turned:
            aspect = 1 / aspect
        if aspect != 1 and codec.family not in container.aspect_families:
            self.warnings.append(
                f"the pixel shape {aspect} is lost: {container.name} does not keep it for {codec.name}"
            )
        is_untagged = codec.family in container.untagged_families
        if is_untagged or (not container.holds_colour_tags and codec.family != "h264"):
            self.warnings.append(f"the colour tags are lost: {container.name} cannot hold them")
        if not container.holds_metadata and (tags := kept_tags(like)):
            self.warnings.append(f"{len(tags)} tags of the file are lost: {container.name} cannot hold them")
        if like.chapters and not container.holds_chapters:
            self.warnings.append(f"{len(like.chapters)} chapters are lost: {container.name} cannot hold them")
        if like.hdr is not None and codec.hdr is None:
            self.warnings.append(f"the HDR mastering metadata is lost: {codec.name} does not take it")
        return VideoSettings(
            codec=codec,
            options=dict(container.encoder_options) | encoder_settings_options(codec, asked, like.hdr),
            height=height,
            width=width,
            pix_fmt=pix_fmt,
            colour=replace(like.colour, chroma_location="left"),
            time_base=like.time_base if container.has_timestamps else 1 / like.frame_rate,
            frame_rate=like.frame_rate,
            sample_aspect_ratio=aspect.limit_denominator(65535),
            asked=asked,
        )


class _Output(Protocol):
    """What a writer needs of where it writes to."""

    warnings: list[str]

    @property
    def shift_seconds(self) -> Fraction: ...

    def start(self, first_pts: int) -> None: ...

    def write(self, picture: Picture, *, pts: int, duration: int) -> None: ...

    def finish(self) -> None: ...

    @property
    def partial_path(self) -> Path | None: ...

    def commit(self) -> None: ...

    def set_aside(self) -> Path | None: ...

    def discard(self) -> None: ...


class _SequenceOutput:
    """Numbered PNG files."""

    def __init__(self, pattern: Path, *, overwrite: bool, bit_depth: int):
        self.warnings: list[str] = []
        self.shift_seconds = Fraction(0)
        self._partial = PartialSequence(pattern, overwrite=overwrite)
        self._pattern = pattern
        self._bit_depth = bit_depth
        self._number = 0

    def start(self, _first_pts: int) -> None:
        self._partial.begin()

    def write(self, picture: Picture, *, pts: int, duration: int) -> None:  # noqa: ARG002
        assert isinstance(picture, np.ndarray)
        self._number += 1
        name = sequence_file(self._pattern, self._number).name
        (self._partial.folder / name).write_bytes(encode_png(picture, bit_depth=self._bit_depth))

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
