"""The way of one frame through a run stays short."""

from __future__ import annotations

import sys
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType

import fmanet_cli
from fmanet_cli.engine.restorer import Restorer
from fmanet_cli.model.fmanet import FMANet
from fmanet_cli.restore.job import restore_video
from support.plain_upscaling import PlainUpscaling

MOST_FUNCTIONS, MOST_CALLS = 118, 180
"""A frame, with the check at the end and without the network: 111 and 168 with Python 3.11 (2026-11-27), comprehensions
among them, which later versions do not call. Before the way of a frame was shortened it was 170 and 366."""


def calls_of(run: Callable[[], object]) -> Counter[CodeType]:
    """How often each function of the package is called, in all threads; to go on with a generator is a call too."""
    package, counts = str(Path(fmanet_cli.__file__).parent), Counter[CodeType]()

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(package):
            counts[frame.f_code] += 1

    before = sys.getprofile(), threading.getprofile()
    threading.setprofile(note)
    sys.setprofile(note)
    try:
        run()
    finally:
        sys.setprofile(before[0])
        threading.setprofile(before[1])
    return counts


def test_a_frame_passes_few_functions(make_clip: Callable[..., Path], tiny_model: FMANet) -> None:
    restorer = Restorer(tiny_model, device="cpu", precision="fp32", runner=PlainUpscaling())
    few, many = 16, 40
    counts = {}
    for count in (few, many):
        clip = make_clip(f"{count}.mp4", count=count)
        counts[count] = calls_of(lambda clip=clip: restore_video(clip, clip.with_suffix(".mkv"), restorer))
    # What grows with the film belongs to each frame; the rest is done once.
    each = {code: (calls - counts[few][code]) / (many - few) for code, calls in counts[many].items()}
    often = {f"{code.co_filename}:{code.co_firstlineno} {code.co_name}": n for code, n in each.items() if n >= 0.9}
    listed = "\n".join(f"{calls:.1f} {name}" for name, calls in sorted(often.items(), key=lambda item: -item[1]))
    assert len(often) <= MOST_FUNCTIONS, listed
    assert sum(often.values()) <= MOST_CALLS, listed
