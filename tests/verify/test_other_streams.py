"""The other streams held against those of the source, without files."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from fractions import Fraction

import pytest

from fmanet_cli.verify.other_streams import _outside_last_packet, _packet_times_row
from fmanet_cli.verify.result import Verdict
from fmanet_cli.video.read.packets import StreamPackets

TICK = Fraction(1, 48000)
SOURCE = [0, 1024, 3072, 3072, 3072, 5120, 6144]
"""Three packets share a time, as fragments of MP4 may begin with the time of the packet before."""


def packets(pts: Sequence[int]) -> StreamPackets:
    return StreamPackets(TICK, pts=array("q", pts), count=len(pts), end=pts[-1] + 1024)


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        (SOURCE, Verdict.SAME),
        ([0, 1024, 3072, 3077, 3082, 5120, 6144], Verdict.SAME),
        ([0, 1024, 3072, 3077, 3082, 5125, 6144], Verdict.DIFFERS),
        ([0, 1024, 3072, 4096, 4101, 5120, 6144], Verdict.DIFFERS),
        ([0, 1029, 3072, 3077, 3082, 5120, 6144], Verdict.DIFFERS),
        ([time + 4800 for time in SOURCE], Verdict.DIFFERS),
    ],
)
def test_packets_of_one_time_may_be_parted_and_no_others(found: Sequence[int], verdict: Verdict) -> None:
    row = _packet_times_row("audio stream 1 timestamps", packets(SOURCE), packets(found), Fraction(0))
    assert row.verdict is verdict


@pytest.mark.parametrize(("late", "verdict"), [(0, Verdict.SAME), (1, Verdict.SAME), (3, Verdict.DIFFERS)])
def test_the_end_of_sound_cut_into_other_packets_is_as_exact_as_two_roundings(late: int, verdict: Verdict) -> None:
    """PCM of Matroska, which counts milliseconds, in MP4."""
    old = StreamPackets(Fraction(1, 1000), pts=array("q", [0, 46, 93]), count=3, end=140)
    new = StreamPackets(Fraction(1, 22050), pts=array("q", [0, 2048]), count=2, end=round((140 + late) * 22.05))
    assert _packet_times_row("audio stream 1 timestamps", old, new, Fraction(0)).verdict is verdict


@pytest.mark.parametrize(("late", "verdict"), [(0, Verdict.SAME), (20, Verdict.SAME), (96, Verdict.DIFFERS)])
def test_counted_samples_are_more_exact_than_rounded_times(late: int, verdict: Verdict) -> None:
    """PCM of Matroska in MP4, cut into the same packets."""
    old = StreamPackets(Fraction(1, 1000), pts=array("q", [0, 21, 43, 64]), count=4, end=85)
    new = packets([0, *(number * 1024 + late for number in (1, 2, 3))])
    row = _packet_times_row("audio stream 1 timestamps", old, new, Fraction(0), is_counted=True)
    assert row.verdict is verdict
    assert _packet_times_row("audio stream 1 timestamps", old, new, Fraction(0)).verdict is Verdict.DIFFERS


def test_converted_sound_ends_within_the_last_packet() -> None:
    known = StreamPackets(Fraction(1, 1000), pts=array("q", [0, 1000]), count=2, end=2000, last_duration=1000)
    unknown = StreamPackets(Fraction(1, 1000), pts=array("q", [0, 1000]), count=2, end=1000)
    for packets_of_source in (known, unknown):
        assert _outside_last_packet(packets_of_source, Fraction(3, 2)) == 0
        assert _outside_last_packet(packets_of_source, Fraction(1, 2)) == Fraction(1, 2)
        assert _outside_last_packet(packets_of_source, Fraction(5, 2)) == Fraction(1, 2)
