"""Decode timestamps from the display order alone."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from fmanet_cli.errors import VideoWriteError
from fmanet_cli.video.write.decode_timestamps import DecodeTimes


@dataclass
class Packet:
    pts: int
    dts: int | None = None
    duration: int | None = None


def run(coded: list[int], durations: dict[int, int], *, depth: int = 0) -> list[tuple[int, int | None, int | None]]:
    times = DecodeTimes(reorder_depth=depth)
    for pts in sorted(coded):
        times.shows(pts, durations[pts])
    packets = []
    for pts in coded:
        packets += times.timed(Packet(pts))  # type: ignore[arg-type]
    packets += times.finish()
    return [(packet.pts, packet.dts, packet.duration) for packet in packets]


def test_without_reordering_nothing_changes() -> None:
    assert run([0, 2, 4], dict.fromkeys([0, 2, 4], 2)) == [(0, 0, 2), (2, 2, 2), (4, 4, 2)]


def test_one_b_frame_needs_one_frame_of_lead() -> None:
    assert run([0, 2, 1, 4, 3], dict.fromkeys(range(5), 1)) == [(0, -1, 1), (2, 0, 1), (1, 1, 1), (4, 2, 1), (3, 3, 1)]


def test_a_pyramid_needs_two() -> None:
    coded = [0, 4, 2, 1, 3, 8, 6, 5, 7]
    found = run(coded, dict.fromkeys(range(9), 1))
    assert [dts for _, dts, _ in found] == [-2, -1, 0, 1, 2, 3, 4, 5, 6]


def test_what_the_encoder_says_counts_when_no_packet_shows_it() -> None:
    assert [dts for _, dts, _ in run([0, 1, 2, 3], dict.fromkeys(range(4), 1), depth=2)] == [-2, -1, 0, 1]


@pytest.mark.parametrize("coded", [[7], [7, 9], [7, 11, 9]])
def test_short_sequences_rise_and_never_pass_their_display(coded: list[int]) -> None:
    found = run(coded, dict.fromkeys(coded, 2), depth=2)
    decode = [dts for _, dts, _ in found]
    assert decode == sorted(set(decode))
    assert all(dts <= pts for pts, dts, _ in found)


def test_many_packets_stream_through() -> None:
    times = DecodeTimes(reorder_depth=0)
    given = []
    for pts in range(100):
        times.shows(pts, 1)
        given += times.timed(Packet(pts))  # type: ignore[arg-type]
    assert len(given) == 80
    assert [packet.dts for packet in [*given, *times.finish()]] == list(range(100))


def test_the_last_packet_reaches_the_end_of_a_variable_track() -> None:
    """A container that adds up decode times must arrive at the whole length, 30 here."""
    coded, lengths = [0, 2, 1, 20], {0: 1, 1: 1, 2: 18, 20: 10}
    found = run(coded, lengths)
    first_dts, (_, last_dts, last_duration) = found[0][1], found[-1]
    assert last_dts + last_duration - first_dts == 30
    assert last_duration == 10


def test_an_impossible_order_is_an_error() -> None:
    times = DecodeTimes(reorder_depth=0)
    for pts in range(60):
        times.shows(pts, 1)
    with pytest.raises(VideoWriteError, match="the encoder gave frames in an unexpected order"):
        for pts in [*range(40), 50, *range(41, 50), 40]:
            list(times.timed(Packet(pts)))  # type: ignore[arg-type]
        list(times.finish())
