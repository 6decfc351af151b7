"""Decoded frames of a container or of standard input, with what went wrong on the way."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, dropwhile, islice
from pathlib import Path

import av
from av.video.frame import PictureType

from fmanet_cli.errors import VideoReadError
from fmanet_cli.video.frames import Crop, VideoInfo
from fmanet_cli.video.pixels.formats import pixel_layout, smallest_alpha
from fmanet_cli.video.read import describe as probe
from fmanet_cli.video.read import length
from fmanet_cli.video.read.deinterlace import METHODS, deinterlaced
from fmanet_cli.video.read.faults import FaultLog
from fmanet_cli.video.read.frame_times import PresentationGuess, lacks_presentation_times
from fmanet_cli.video.read.marks import (
    check_dolby_vision,
    declared_crop,
    declared_marks,
    declared_side_data,
    side_data,
    with_frame_marks,
)
from fmanet_cli.video.read.opening import MAX_PIXELS, open_input
from fmanet_cli.video.read.rational import DEFAULT_FRAME_RATE, to_fraction
from fmanet_cli.video.read.source_state import SourceState
from fmanet_cli.video.read.truncation import missing_bytes

_PEEKED_FRAMES = 2
_DECODER_THREADS = 4
_SEEK_FROM_SECONDS = 5
_END_SLACK_SECONDS = Fraction(1, 2)
_CONTAINERS_CUT_ANYWHERE = ("mpegts", "mpeg", "h264", "hevc", "mpegvideo")
_SEEKABLE_CONTAINERS = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadChoices:
    """How a container is read; see `VideoReader`."""

    deinterlace: str = "auto"
    colour: str = "auto"
    frame_rate: Fraction | None = None
    stream: int | None = None
    dolby_vision: str = "refuse"


class ContainerSource:
    """The main video stream of one container; iterate `decoded_frames()` once."""

    def __init__(self, path: str, *, faults: FaultLog, choices: ReadChoices):
        self.path = path
        self.faults = faults
        self._reads_pipe = path == "-"
        self._last_end: int | None = None
        self._ends_repeated = False
        self._has_frames = self._is_described = False
        self._early_pts: set[int] | None = set()
        self._pending_packets: deque[av.Packet] = deque()
        self._kept_streams: set[int] | None = None
        self.state = SourceState() if self._reads_pipe else SourceState.before_opening(path)
        self.container = open_input(path)
        try:
            self._begin(choices)
        except BaseException:
            self.container.close()
            raise

    def _begin(self, choices: ReadChoices) -> None:
        self.stream = stream = self._chosen_stream(choices)
        self._counted = None
        if not self._reads_pipe:
            self._counted, is_spent = length.counted_packets(self.container, stream, Path(self.path))
            if is_spent:
                self.container.close()
                self.container = open_input(self.path)
                self.stream = stream = self._chosen_stream(choices)
        _check_size(self.path, stream.codec_context.height, stream.codec_context.width)
        if not self._reads_pipe and (missing := missing_bytes(Path(self.path))):
            self.faults.add(f"the file is cut short: its end ({missing} bytes or more) is missing")
        said_beside = declared_side_data(self.container, stream.index)
        self._marks = declared_marks(said_beside)
        check_dolby_vision(self.path, self._marks, choices.dolby_vision)
        declared = probe.declared_tags(stream)
        opened_aspect = to_fraction(stream.codec_context.sample_aspect_ratio)
        self._aspect = to_fraction(stream.sample_aspect_ratio)
        self._follows_codec_aspect = self._aspect == opened_aspect
        stream.thread_type = "AUTO"
        stream.codec_context.thread_count = min(_DECODER_THREADS, os.cpu_count() or 1)
        self._decoded = self._decode_all(may_start_broken=self.container.format.name in _CONTAINERS_CUT_ANYWHERE)
        self._peeked = list(islice(self._decoded, _PEEKED_FRAMES))
        if not self._peeked:
            raise VideoReadError(f"no frame of {self.path} can be decoded; the file is empty or damaged")
        first = self._peeked[0]
        self.coded_size = first.height, first.width
        self.crop = declared_crop(said_beside, *self.coded_size)
        self._marks = with_frame_marks(self._marks, self._peeked)
        self.info = self._describe(self._peeked, declared, choices)
        self._is_described = True

    def _chosen_stream(self, choices: ReadChoices) -> av.VideoStream:
        stream = probe.main_video_stream(self.container, choices.stream)
        if stream is None:
            raise VideoReadError(f"{self.path} holds no video stream that can be decoded")
        return stream

    def _describe(
        self,
        frames: list[av.VideoFrame],
        declared: probe.DeclaredTags,
        choices: ReadChoices,
    ) -> VideoInfo:
        method, crop = choices.deinterlace, self.crop or Crop()
        first, stream, container = frames[0], self.stream, self.container
        codec = probe.codec_name(stream)
        described, warnings = probe.colour_of(first, declared=declared, codec=codec, requested=choices.colour)
        self.faults.notes.add(*warnings)
        layout = pixel_layout(first.format.name)
        if (layout.has_alpha and smallest_alpha(first) < 1) or stream.metadata.get("alpha_mode") == "1":
            self.faults.notes.add("the video has transparency, which is dropped")
        if probe.hides_mirroring(first):
            self.faults.notes.add(
                "EXIF turns the frames; whether it also mirrors them cannot be read: look at the result"
            )
        flagged = any(probe.is_interlaced(frame, stream) for frame in frames)
        self._deinterlace_method = method if method in METHODS else METHODS[0] if flagged and method == "auto" else None
        self._deinterlace_every_frame = not flagged
        if flagged and method == "off":
            self.faults.notes.add("the video is interlaced and is restored without deinterlacing")
        rate = choices.frame_rate or length.frame_rate_of(stream) or DEFAULT_FRAME_RATE
        duration = length.duration_seconds_of(container, stream)
        start = container.start_time
        return VideoInfo(
            path=self.path,
            height=first.height - crop.top - crop.bottom,
            width=first.width - crop.left - crop.right,
            time_base=to_fraction(stream.time_base) or 1 / rate,
            frame_rate=rate,
            colour=described,
            bit_depth=layout.bits,
            pixel_format=first.format.name,
            horizontal_shift=layout.horizontal_shift,
            vertical_shift=layout.vertical_shift,
            codec=codec,
            container=container.format.name,
            sample_aspect_ratio=self._aspect or Fraction(1),
            display_matrix=probe.display_matrix_of(first),
            interlaced=flagged and self._deinterlace_method is None,
            hdr=probe.hdr_metadata_of(frames),
            frame_count=length.estimated_frame_count(container, stream, counted=self._counted),
            duration_seconds=float(duration) if duration is not None else None,
            start_seconds=Fraction(start, av.time_base) if start is not None else Fraction(0),
            stream_index=stream.index,
            streams=probe.stream_infos(container),
            chapters=probe.chapters_of(container),
            metadata=dict(container.metadata),
            stream_metadata=probe.kept_stream_metadata(container, stream),
            disposition=int(stream.disposition),
            stated=probe.stated_colour(first, declared),
            marks=self._marks,
            crop=self.crop,
        )

    @property
    def has_captions(self) -> bool:
        """Whether a frame decoded so far, or the file by its own word, has closed captions."""
        return self._marks.captions

    @property
    def can_seek(self) -> bool:
        """Whether decoding can begin elsewhere than at the first frame."""
        return not self._reads_pipe and self.container.format.name in _SEEKABLE_CONTAINERS

    def decoded_frames(self, start_seconds: Fraction | None, *, near_pts: int | None = None) -> Iterator[av.VideoFrame]:
        """Frames in presentation order.

        start_seconds: some frames before it may be left out already. near_pts: begin at a key frame that should lie
        before it; what is decoded but refers to frames before that is left out.
        """
        frames: Iterator[av.VideoFrame] = chain(self._peeked, self._decoded)
        target = near_pts
        if target is None and start_seconds is not None and start_seconds > _SEEK_FROM_SECONDS:
            target = int((self.info.start_seconds + start_seconds) / self.info.time_base)
        if target is not None and self.can_seek:
            self.container.seek(target, stream=self.stream, backward=True)
            self._early_pts = None
            frames = self._decode_all(may_start_broken=True)
            if near_pts is not None:
                # Frames shown before the key frame may refer to others that were not decoded; so do those after a mere
                # recovery point, from which the frame is refreshed strip by strip.
                frames = dropwhile(lambda frame: not (frame.key_frame and frame.pict_type == PictureType.I), frames)
        self._peeked = []
        return frames if self._deinterlace_method is None else self._deinterlaced(frames, self._deinterlace_method)

    def _deinterlaced(self, frames: Iterator[av.VideoFrame], method: str) -> Iterator[av.VideoFrame]:
        whole = deinterlaced(
            frames,
            stream=self.stream,
            time_base=self.info.time_base,
            method=method,
            every_frame=self._deinterlace_every_frame,
        )
        try:
            yield from whole
        except av.error.FFmpegError as error:
            raise VideoReadError(f"{self.path} cannot be read on: {error.strerror}") from error

    def keep_packets(self, stream_indices: set[int]) -> None:
        """Collect the packets of other streams while decoding, for `take_packets`; call before `decoded_frames`."""
        self._kept_streams = stream_indices
        self._pending_packets = deque(p for p in self._pending_packets if p.stream.index in stream_indices)

    def take_packets(self) -> Iterator[av.Packet]:
        """The packets collected since the last call."""
        while self._pending_packets:
            yield self._pending_packets.popleft()

    def sample_packets(self) -> dict[int, list[av.Packet]]:
        """The packets of other streams collected so far, by stream index; they stay collected."""
        samples: dict[int, list[av.Packet]] = {}
        for packet in self._pending_packets:
            samples.setdefault(packet.stream.index, []).append(packet)
        return samples

    def drop_unrequested_packets(self) -> None:
        """Forget the packets of other streams unless somebody asked for them."""
        if self._kept_streams is None:
            self.keep_packets(set())

    def end_seconds(self) -> Fraction | None:
        """When the last frame ends by the container's word; None when unknown. Call when all frames were read.

        Records a fault when the last packet ended long before.
        """
        declared, base = length.stream_end_seconds(self.stream), to_fraction(self.stream.time_base)
        last_end = None if self._last_end is None or base is None else self._last_end * base
        if declared is None or last_end is None:
            return last_end if self._ends_repeated else None
        missing = declared - last_end
        if missing > max(_END_SLACK_SECONDS, 2 / self.info.frame_rate):
            self.faults.add(f"the video ends {float(missing):.2f} s before its declared end")
            return None
        return declared

    def close(self) -> None:
        """Close the container; harmless when closed already."""
        self._pending_packets.clear()
        self._peeked = []
        self.container.close()

    def _decode_all(self, *, may_start_broken: bool) -> Iterator[av.VideoFrame]:
        """Every frame that can be had; may_start_broken: damage before the first frame does not stop the run."""
        is_fatal = not may_start_broken
        guess = PresentationGuess(trusts_pts=not lacks_presentation_times(self.stream))
        context, aspect = self.stream.codec_context, None
        try:
            for packet in self.container.demux(*(self.container.streams if self._reads_pipe else [self.stream])):
                if packet.stream.index != self.stream.index:
                    if packet.size and (self._kept_streams is None or packet.stream.index in self._kept_streams):
                        self._pending_packets.append(packet)
                    continue
                for frame in self._frames_of(packet, is_fatal=is_fatal):
                    is_fatal = True
                    if (found := context.sample_aspect_ratio) != aspect:
                        aspect = found
                        self._follow_aspect(frame)
                    self._has_frames = True
                    if self._is_described and any(side_data(frame)):
                        self._note_late_marks(frame)
                    guess.settle(frame)
                    yield frame
        except av.error.EOFError:
            return
        except av.error.FFmpegError as error:
            self.faults.add(f"reading stops early: {error.strerror}")

    def _frames_of(self, packet: av.Packet, *, is_fatal: bool) -> list[av.VideoFrame]:
        """What the decoder gives after a packet. Raises av.error.EOFError when it has ended before."""
        if packet.pts is not None:
            end = packet.pts + (packet.duration or 0)
            self._last_end = end if self._last_end is None else max(end, self._last_end)
        if packet.is_corrupt:
            self.faults.add(self._corruption(packet), fatal=is_fatal)
        if packet.size == 0 and packet.pts is not None:
            # Theora repeats a frame with an empty packet; the one before is only shown longer.
            self._ends_repeated = True
            return []
        try:
            frames = packet.decode()
        except av.error.EOFError:
            raise
        except av.error.FFmpegError as error:
            self.faults.add(f"a packet{_place(packet)} cannot be decoded: {error.strerror}", fatal=is_fatal)
            return []
        if packet.size:
            self._ends_repeated = False
        if self._early_pts is not None:
            self._note_early(self._early_pts, packet, frames, counts=not is_fatal)
        return frames

    def _follow_aspect(self, frame: av.VideoFrame) -> None:
        """Take the pixel shape of the first frame, and warn once where it changes; containers without one follow it."""
        aspect = to_fraction(self.stream.codec_context.sample_aspect_ratio)
        if not self._follows_codec_aspect or aspect is None:
            return
        if not self._has_frames:
            self._aspect = aspect
        elif aspect != (self._aspect or 1):
            self._follows_codec_aspect = False
            place = _frame_place(frame)
            self.faults.notes.add(
                f"the pixel shape changes from {self._aspect or 1} to {aspect}{place}; all frames get the first, "
                "split the video there to keep both"
            )

    def _note_late_marks(self, frame: av.VideoFrame) -> None:
        """Note marks that the first frames do not carry, once of each kind."""
        found = with_frame_marks(self._marks, [frame])
        if found == self._marks:
            return
        for name in found.named().keys() - self._marks.named().keys():
            self.faults.late_marks[name] = _frame_place(frame).strip()
        self._marks = found

    def _corruption(self, packet: av.Packet) -> str:
        """In words; MPEG-TS numbers its packets, and a jump says nothing of the frame itself."""
        if self.container.format.name == "mpegts":
            return f"MPEG-TS packets are missing{_place(packet, 'before')}: lost at the recording, or parts were joined"
        return f"a packet{_place(packet)} is damaged"

    def _note_early(self, early: set[int], packet: av.Packet, frames: list[av.VideoFrame], *, counts: bool) -> None:
        """Say how many frames before the first one cannot be shown, where a recording begins in the middle."""
        if packet.pts is not None and packet.size:
            early.add(packet.pts)
        if not frames:
            return
        first = frames[0].pts
        lost = sum(pts < first for pts in early) if first is not None else 0
        if lost and counts:
            self.faults.notes.add(
                f"{lost} frames at the start cannot be decoded and are left out: the file begins in mid-shot"
            )
        self._early_pts = None


def _place(packet: av.Packet, word: str = "at") -> str:
    base = to_fraction(packet.time_base)
    return "" if packet.pts is None or base is None else f" {word} {float(packet.pts * base):.2f} s"


def _frame_place(frame: av.VideoFrame) -> str:
    base = to_fraction(frame.time_base)
    return "" if frame.pts is None or base is None else f" at {float(frame.pts * base):.2f} s"


def _check_size(path: str, height: int, width: int) -> None:
    if height * width > MAX_PIXELS:
        raise VideoReadError(f"{path} is {width}x{height}; frames of more than {MAX_PIXELS} pixels are refused")
