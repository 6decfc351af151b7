"""Packets of the other streams, copied or converted beside the video as it is encoded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Any

import av
from av.subtitles.subtitle import SubtitleSet

from fmanet_cli.notes import Notes
from fmanet_cli.video.read.rational import to_fraction
from fmanet_cli.video.read.restarts import RestartLog, is_restart, usual_step
from fmanet_cli.video.write.stream_plan import TEXT_TIME_BASE, PlannedStream, describe

_TAKES_EQUAL_TIMES = ("matroska", "webm")
LEAST_STEP_SECONDS = Fraction(1, 10_000)
"""What no container rounds to nothing."""


class StreamCopier:
    """Feeds the planned streams of one source into one output, in step with the video."""

    def __init__(
        self,
        routes: dict[int, Route],
        packets: Iterable[av.Packet],
        *,
        shift_seconds: Fraction,
        start_seconds: Fraction | None,
        end_seconds: Fraction | None,
        restarts: RestartLog | None = None,
        notes: Notes,
    ):
        """routes: by index of the source's stream. packets: of the source, in its order.

        shift_seconds is added to every timestamp. Packets before start_seconds or from end_seconds on (in the source's
        own time) are left out. restarts: those of the main video, as far as they are known. notes: where damage
        is said.
        """
        self._notes = notes
        self._routes = routes
        self._packets = iter(packets)
        self._restarts = restarts or RestartLog()
        self._shift = shift_seconds
        self._start, self._end = start_seconds, end_seconds
        self._next: av.Packet | None = None

    def up_to(self, seconds: Fraction | None) -> Iterator[av.Packet]:
        """Packets for the output whose time is not later than `seconds` of the output; None = all that are left."""
        if not self._routes:
            return
        while (packet := self._peek()) is not None:
            time = _seconds(packet)
            moved = self._shift + self._routes[packet.stream.index].restart_seconds
            if seconds is not None and time is not None and time + moved > seconds:
                return
            self._next = None
            yield from self._converted(packet)
        if seconds is None:
            for route in self._routes.values():
                yield from route.drained()

    def _peek(self) -> av.Packet | None:
        while self._next is None:
            try:
                packet = next(self._packets, None)
            except av.error.FFmpegError as error:
                self._notes.add(f"copying the other streams stops early: {error.strerror}")
                self._packets = iter(())
                return None
            if packet is None:
                return None
            if packet.size and packet.stream.index in self._routes and self._is_wanted(packet):
                self._next = packet
        return self._next

    def _is_wanted(self, packet: av.Packet) -> bool:
        route = self._routes[packet.stream.index]
        if route.is_still:
            return True
        start = _seconds(packet)
        if start is None:
            return route.has_time
        if self._end is not None and start >= self._end:
            return False
        if self._start is None or start >= self._start:
            return True
        base = to_fraction(packet.time_base) or Fraction(1)
        end = start + (packet.duration or 0) * base
        if packet.stream.type != "subtitle" or end <= self._start:
            return False
        packet.pts = packet.dts = round(self._start / base)
        packet.duration = max(1, round((end - self._start) / base))
        return True

    def _converted(self, packet: av.Packet) -> Iterator[av.Packet]:
        route = self._routes[packet.stream.index]
        if message := route.straighten(packet, self._restarts):
            self._notes.add(message)
        try:
            yield from route.converted(packet, self._shift)
        except av.error.FFmpegError as error:
            self._notes.add(f"a packet of {describe(packet.stream)} is damaged: {error.strerror}")


class Route:
    """From one stream of the source to one of the output."""

    def __init__(self, planned: PlannedStream, source: Any, new: Any):
        """`source` and `new`: PyAV's streams of the source and of the output."""
        self.planned = planned
        self.source = source
        self.new = new
        self.has_time = False
        self.is_still = source.type == "video"
        self._last_dts: int | None = None
        self._last_duration = 0
        self._last_own_dts: int | None = None
        self._restart_shift = 0
        self._next_restart = 0
        self._resampler: av.AudioResampler | None = None
        self._audio_shift = Fraction(0)

    @property
    def restart_seconds(self) -> Fraction:
        """What is added to times after they started again."""
        return self._restart_shift * (to_fraction(self.source.time_base) or Fraction(0))

    def straighten(self, packet: av.Packet, restarts: RestartLog) -> str:
        """Fill in missing times and let them rise. Returns a warning, or nothing.

        restarts: those of the main video, which all streams follow.
        """
        if self.is_still:
            packet.pts = packet.dts = 0
        if packet.dts is None:
            packet.dts = packet.pts
        if packet.pts is None:
            packet.pts = packet.dts
        if packet.pts is None or packet.dts is None:
            packet.pts = packet.dts = (self._last_dts or 0) + max(1, self._last_duration) - self._restart_shift
        message = self._continue(packet, restarts)
        packet.pts += self._restart_shift
        packet.dts += self._restart_shift
        if not packet.duration and packet.stream.type == "audio":
            packet.duration = self._usual_duration(packet)
        self._let_rise(packet)
        self.has_time = True
        self._last_dts, self._last_duration = packet.dts, packet.duration or 0
        return message

    def _continue(self, packet: av.Packet, restarts: RestartLog) -> str:
        """Shift a clock that was set anew by what the video is shifted by at that place, so that they stay together."""
        assert packet.dts is not None
        before, after, base = self._last_own_dts, packet.dts, to_fraction(packet.time_base) or Fraction(1)
        self._last_own_dts = after
        step = usual_step(packet.duration, base)
        if before is None or not is_restart(before, after, step=step, time_base=base):
            return ""
        if (found := restarts.shift_at(before * base, after * base, first=self._next_restart)) is not None:
            shift_seconds, self._next_restart = found
            self._restart_shift += round(shift_seconds / base)
        else:
            self._restart_shift += before + max(1, self._last_duration) - after
        return f"the timestamps of {describe(packet.stream)} start again; they are continued"

    def _let_rise(self, packet: av.Packet) -> None:
        """Part packets of one time where the container wants that, and only those: what follows keeps its own time.

        Matroska counts milliseconds, of which several packets of TrueHD share one.
        """
        assert packet.pts is not None and packet.dts is not None
        if self._last_dts is None or packet.dts > self._last_dts:
            return
        # MP4 ends a text with an empty sample, at the time of the next text where there is no pause between them.
        may_stay = (
            packet.stream.type == "subtitle"
            or self.planned.how != "copy"
            or self.new.container.format.name in _TAKES_EQUAL_TIMES
        )
        correction = self._last_dts - packet.dts
        if not (correction == 0 and may_stay):
            correction += max(1, round(LEAST_STEP_SECONDS / (to_fraction(packet.time_base) or Fraction(1))))
        packet.pts += correction
        packet.dts += correction

    def _usual_duration(self, packet: av.Packet) -> int:
        """Of sound whose packets do not say it. MP4 and MOV leave out a last packet that lasts no time."""
        samples, rate = self.source.codec_context.frame_size, self.source.rate
        if samples and rate:
            return round(Fraction(samples, rate) / (to_fraction(packet.time_base) or Fraction(1)))
        assert packet.dts is not None
        return packet.dts - self._last_dts if self._last_dts is not None else 0

    def converted(self, packet: av.Packet, shift_seconds: Fraction) -> Iterator[av.Packet]:
        """The packets of the output that one packet of the source becomes."""
        if self.planned.how == "audio":
            self._audio_shift = shift_seconds
            for frame in packet.decode():
                yield from self._encoded_audio(frame)
        elif self.planned.how == "text":
            yield from self._encoded_text(packet, shift_seconds)
        else:
            shift = 0 if self.is_still else round(shift_seconds / (to_fraction(packet.time_base) or Fraction(1)))
            assert packet.pts is not None and packet.dts is not None
            packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
            packet.stream = self.new
            yield packet

    def drained(self) -> Iterator[av.Packet]:
        """What the audio decoder, resampler and encoder still hold."""
        if self.planned.how != "audio":
            return
        for frame in self.source.codec_context.decode(None):
            yield from self._encoded_audio(frame)
        if self._resampler is not None:
            for part in self._resampler.resample(None):
                yield from self.new.encode(part)
        yield from self.new.encode(None)

    def _encoded_audio(self, frame: Any) -> Iterator[av.Packet]:
        if self._resampler is None:
            context = self.new.codec_context
            context.open(strict=False)
            self._resampler = av.AudioResampler(
                format=context.format, layout=context.layout, rate=context.rate, frame_size=context.frame_size or None
            )
        if frame.pts is not None:
            # In samples: a tick of AVI is a whole frame of MP3, in which nothing shorter can be counted.
            base = to_fraction(frame.time_base) or Fraction(1)
            frame.pts = round((frame.pts * base + self._audio_shift) * frame.sample_rate)
            frame.time_base = Fraction(1, frame.sample_rate)
        for part in self._resampler.resample(frame):
            yield from self.new.encode(part)

    def _encoded_text(self, packet: av.Packet, shift_seconds: Fraction) -> Iterator[av.Packet]:
        base = to_fraction(packet.time_base) or TEXT_TIME_BASE
        start = round(((packet.pts or 0) * base + shift_seconds) / TEXT_TIME_BASE)
        length = round((packet.duration or 0) * base / TEXT_TIME_BASE)
        for item in self.source.codec_context.decode2(packet) or ():
            text = SubtitleSet.create(text=item.ass, start=0, end=length, pts=start)
            made = self.new.codec_context.encode_subtitle(text)
            made.time_base, made.pts, made.dts, made.duration = TEXT_TIME_BASE, start, start, length
            made.stream = self.new
            yield made


def _seconds(packet: av.Packet) -> Fraction | None:
    base = to_fraction(packet.time_base)
    time = packet.pts if packet.pts is not None else packet.dts
    return None if time is None or base is None else time * base
