"""Decode timestamps rebuilt from presentation timestamps, while packets stream through."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import av

from fmanet_cli.errors import VideoWriteError

_HELD_PACKETS = 20
_DEEPEST_REORDERING = 16


class DecodeTimes:
    """Gives packets in coding order the decode timestamps that follow from the display order of their frames.

    Encoders reorder frames by a fixed depth D: packet `i` gets the presentation timestamp of frame `i - D`, and the
    first D packets get times before the first frame. Encoders' own values are not used because libx265 writes nonsense
    for sequences of one or two frames.
    """

    def __init__(self, *, reorder_depth: int):
        """reorder_depth: what the encoder says; more is found from the first packets."""
        self._said_depth = reorder_depth
        self._depth: int | None = None
        self._durations: dict[int, int] = {}
        self._waiting: deque[int] = deque()
        self._held: deque[av.Packet] = deque()
        self._first_pts: int | None = None
        self._first_dts = 0
        self._end = 0

    def shows(self, pts: int, duration: int) -> None:
        """Note a frame that goes into the encoder; frames come in display order, in one time base."""
        if self._first_pts is None:
            self._first_pts = pts
        self._durations[pts] = duration
        self._waiting.append(pts)
        self._end = pts + duration

    def timed(self, packet: av.Packet) -> list[av.Packet]:
        """Take one packet in coding order; those whose times are settled."""
        self._held.append(packet)
        return [self._settled(self._held.popleft())] if len(self._held) > _HELD_PACKETS else []

    def finish(self) -> Iterator[av.Packet]:
        """Yield the packets that are left, after the encoder was drained."""
        while self._held:
            packet = self._settled(self._held.popleft())
            if not self._held:
                self._reach_end(packet)
            yield packet

    def _settled(self, packet: av.Packet) -> av.Packet:
        if self._depth is None:
            self._begin(packet)
        pts = packet.pts
        packet.duration = self._durations.pop(pts, 0) if pts is not None else 0
        packet.dts = self._waiting.popleft()
        if pts is None or packet.dts > pts:
            raise VideoWriteError(f"the encoder gave frames in an unexpected order (pts {pts} after dts {packet.dts})")
        return packet

    def _reach_end(self, last: av.Packet) -> None:
        """Let the decode times span as long as the frames, or MP4 declares a track of variable rate too short."""
        if last.pts is None or last.dts is None or last.duration is None:
            return
        wanted_end = self._end - (self._first_pts or 0) + self._first_dts
        last.dts = min(last.pts, max(last.dts, wanted_end - last.duration))
        last.duration = max(last.duration, wanted_end - last.dts)

    def _begin(self, first: av.Packet) -> None:
        """Find the depth from the packets that are held, and put the times before the first frame in front.

        With frames shown at 0, 1, 2, 3 and packets of pts 0, 3, 1, 2 the depth is 1: the third packet is shown at 1
        and would be decoded at 2. One earlier time, -1, goes in front, and the dts become -1, 0, 1, 2.
        """
        packets = [first, *self._held]
        start = self._first_pts or 0
        early = sum(packet.dts is not None and packet.dts < start for packet in packets)
        # A short film ends before its encoder has reordered as deeply as it says it may.
        depth = min(max(self._said_depth, min(early, _DEEPEST_REORDERING)), len(packets) - 1)
        shown = list(self._waiting)
        # Packet n gets the time of frame n - depth, which must not be later than its own.
        while any(
            packet.pts is not None and packet.pts < shown[number - depth]
            for number, packet in enumerate(packets)
            if number >= depth
        ):
            depth += 1
        self._depth = depth
        # As long as the first frames last, and never less than a tick for each time, which have to differ.
        lead = max(shown[min(depth, len(shown) - 1)] - start, depth)
        self._waiting.extendleft(reversed([start - lead + number * lead // depth for number in range(depth)]))
        self._first_dts = self._waiting[0]
