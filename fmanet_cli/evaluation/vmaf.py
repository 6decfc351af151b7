"""VMAF-NEG and XPSNR by an FFmpeg with libvmaf, which the optional package imageio-ffmpeg brings."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import re
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fmanet_cli.dataset.byte_images import ByteImage, describe_size
from fmanet_cli.errors import EvaluationError, OptionError

MODEL = "vmaf_v0.6.1neg"
"""The model "no enhancement gain": sharpening beyond the truth earns nothing."""

_TO_VIDEO = "scale=out_color_matrix=bt709:out_range=tv:flags=accurate_rnd+full_chroma_int,format=yuv420p"
_LEAST_SIDE = 32


@dataclass(frozen=True, slots=True)
class VideoScores:
    """What one frame reached among its neighbours."""

    vmaf_neg: float
    """0 to 100."""
    xpsnr: float
    """dB, of luma; infinite for equal frames."""


class VideoMetric:
    """Measures clips. Raises OptionError where no FFmpeg with libvmaf is installed."""

    def __init__(self) -> None:
        if importlib.util.find_spec("imageio_ffmpeg") is None:
            raise OptionError('VMAF needs the package imageio-ffmpeg: pip install "fmanet-cli[vmaf]"')
        from imageio_ffmpeg import get_ffmpeg_exe

        try:
            self._program = str(get_ffmpeg_exe())
            said = subprocess.run([self._program, "-hide_banner", "-filters"], capture_output=True, check=True).stdout
        except (OSError, RuntimeError, subprocess.CalledProcessError) as error:
            raise OptionError(f"the FFmpeg of imageio-ffmpeg does not run: {error}") from error
        missing = [name for name in ("libvmaf", "xpsnr") if f" {name} ".encode() not in said]
        if missing:
            raise OptionError(f"{self._program} has no filter {missing[0]}; another release of imageio-ffmpeg may")

    @contextlib.contextmanager
    def clip(self) -> Iterator[VideoClip]:
        """A clip to be measured; what is in memory of it is one frame."""
        with tempfile.TemporaryDirectory(prefix="fmanet-vmaf-") as folder:
            clip = VideoClip(self._program, Path(folder))
            try:
                yield clip
            finally:
                clip.stop()


class VideoClip:
    """The frames of one clip, given to FFmpeg one by one: the truth with those to be compared below it."""

    def __init__(self, program: str, folder: Path) -> None:
        self._program, self._folder = program, folder
        self._process: subprocess.Popen[bytes] | None = None
        self._shape: tuple[int, ...] = ()

    def add(self, truth: ByteImage, *compared: ByteImage) -> None:
        """Take the next frame: (H, W, 3) RGB images of one size, as many as in the frames before.

        Raises:
            EvaluationError: the size changes, is below 32 pixels, or FFmpeg has ended.
        """
        stack = np.concatenate((truth, *compared))
        if self._process is None:
            self._start(truth, len(compared))
            self._shape = stack.shape
        if stack.shape != self._shape:
            raise EvaluationError(f"VMAF takes clips of one size, and a frame of {describe_size(truth)} came")
        assert self._process is not None
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(stack.tobytes())
        except OSError as error:
            raise EvaluationError(f"FFmpeg ended while measuring VMAF: {self._said()}") from error

    def finish(self) -> list[list[VideoScores]]:
        """Return the scores of each frame, of one after the other that was compared.

        Raises:
            EvaluationError: FFmpeg failed.
        """
        if self._process is None:
            return []
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        if self._process.wait():
            raise EvaluationError(f"FFmpeg failed to measure VMAF: {self._said()}")
        names = sorted(path.stem for path in self._folder.glob("*.json"))
        return [list(row) for row in zip(*map(self._scores, names), strict=True)]

    def stop(self) -> None:
        """End FFmpeg, whatever it is doing."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()

    def _start(self, truth: ByteImage, count: int) -> None:
        height, width = truth.shape[:2]
        if min(height, width) < _LEAST_SIDE:
            raise EvaluationError(f"VMAF needs frames of {_LEAST_SIDE} pixels, got {describe_size(truth)}")
        command = [self._program, "-hide_banner", "-loglevel", "error", "-f", "rawvideo", "-pix_fmt", "rgb24"]
        command += ["-s", f"{width}x{height * (count + 1)}", "-r", "25", "-i", "-"]
        command += ["-filter_complex", _graph(width, height, count)]
        for index in range(2 * count):
            command += ["-map", f"[out{index}]"]
        with (self._folder / "said").open("wb") as said:
            self._process = subprocess.Popen(
                [*command, "-f", "null", "-"], cwd=self._folder, stdin=subprocess.PIPE, stdout=said, stderr=said
            )

    def _said(self) -> str:
        text = (self._folder / "said").read_text(encoding="utf-8", errors="replace").strip()
        return text.splitlines()[-1] if text else "it said nothing"

    def _scores(self, name: str) -> list[VideoScores]:
        log = json.loads((self._folder / f"{name}.json").read_text(encoding="utf-8"))
        vmaf = [frame["metrics"]["vmaf"] for frame in log["frames"]]
        lines = (self._folder / f"{name}.txt").read_text(encoding="utf-8")
        xpsnr = [float(value) for value in re.findall(r"^n: *\d+ .*?XPSNR y: *(\S+)", lines, flags=re.MULTILINE)]
        return [VideoScores(*pair) for pair in zip(vmaf, xpsnr, strict=True)]


def _graph(width: int, height: int, count: int) -> str:
    """The filters: each frame cut out of the stack, each pair measured by both."""
    parts = [f"[0]split={count + 1}" + "".join(f"[raw{side}]" for side in range(count + 1))]
    copies = "".join(f"[true{index}]" for index in range(2 * count))
    parts.append(f"[raw0]crop={width}:{height}:0:0,{_TO_VIDEO},split={2 * count}{copies}")
    for side in range(count):
        parts.append(
            f"[raw{side + 1}]crop={width}:{height}:0:{height * (side + 1)},{_TO_VIDEO},split[a{side}][b{side}]"
        )
        vmaf = f"libvmaf=model=version={MODEL}:log_fmt=json:log_path={side}.json"
        parts.append(f"[a{side}][true{2 * side}]{vmaf}[out{2 * side}]")
        # XPSNR weighs errors by its first input's texture, which has to be the truth's.
        parts.append(f"[true{2 * side + 1}][b{side}]xpsnr=stats_file={side}.txt[out{2 * side + 1}]")
    return ";".join(parts)
