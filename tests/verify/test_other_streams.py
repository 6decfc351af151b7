"""The other streams held against those of the source, without files."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from fractions import Fraction

import pytest

from fmanet_cli.verify.other_streams import _packet_times_row
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
