"""The packets of a source's other streams, from one opening for the rehearsal and for the copy."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Iterator
from fractions import Fraction
from itertools import chain

import av

from fmanet_cli.video.frames import VideoInfo
from fmanet_cli.video.read.opening import open_input
from fmanet_cli.video.read.packets import REHEARSED_PACKETS, SCANNED_PACKETS

_SEEK_MARGIN_SECONDS = 30


def opened_side_packets(info: VideoInfo) -> contextlib.AbstractContextManager[SidePackets | None]:
    """The other streams of a source, closed at the end of the block; None where there are none, or it is a pipe."""
    indices = {stream.index for stream in info.streams if stream.index != info.stream_index}
    return SidePackets(info.path, indices) if indices and not info.is_pipe else contextlib.nullcontext()


class SidePackets:
    """A source that is open beside the reader of its video; what a rehearsal has read is given again."""

    def __init__(self, path: str, indices: set[int]):
        """indices: of the streams whose packets are wanted."""
        self.container = open_input(path)
        self._streams = [s for s in self.container.streams if s.index in indices and s.type != "attachment"]
        self._demuxed = self._demux()
        self._scanned: deque[av.Packet] = deque()
        self._failure: av.error.FFmpegError | None = None

    def __enter__(self) -> SidePackets:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def samples(self) -> dict[int, list[av.Packet]]:
        """The first packets of each stream, as far as they come among the first of all."""
        found: dict[int, list[av.Packet]] = {stream.index: [] for stream in self._streams}
        try:
            for number, packet in enumerate(self._demuxed):
                self._scanned.append(packet)
                packets = found[packet.stream.index]
                if packet.size and len(packets) < REHEARSED_PACKETS:
                    packets.append(packet)
                if number > SCANNED_PACKETS or all(len(kept) >= REHEARSED_PACKETS for kept in found.values()):
                    break
        except av.error.FFmpegError as error:
            self._failure = error
        return found

    def packets(self, start_seconds: Fraction | None) -> Iterator[av.Packet]:
        """Every packet in the order of the file, from some time before a late start on."""
        if start_seconds is not None and start_seconds > _SEEK_MARGIN_SECONDS:
            with contextlib.suppress(av.error.FFmpegError):
                self.container.seek(int((start_seconds - _SEEK_MARGIN_SECONDS) * av.time_base))
                self._scanned.clear()
                self._demuxed, self._failure = self._demux(), None
        return chain(self._read_before(), self._demuxed)

    def close(self) -> None:
        """Close the container; harmless when closed already."""
        self._scanned.clear()
        self.container.close()

    def _read_before(self) -> Iterator[av.Packet]:
        while self._scanned:
            yield self._scanned.popleft()
        if self._failure is not None:
            raise self._failure

    def _demux(self) -> Iterator[av.Packet]:
        return self.container.demux(*self._streams) if self._streams else iter(())
