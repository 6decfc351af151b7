"""Training windows from REDS in the authors' folder layout, with their RAFT flows."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fmanet_cli.dataset.reds import BLURRY_FOLDER, FLOW_FOLDER, REDS4_CLIPS, SHARP_FOLDER
from fmanet_cli.errors import TrainingError, VideoReadError
from fmanet_cli.training.windows import SCALE, WindowBatch, WindowOptions, batch_generator


@dataclass(frozen=True, slots=True)
class RedsOptions(WindowOptions):
    """How windows are cut from REDS."""

    window_pixels: int = 64
    """Side of the square low-resolution window."""


@dataclass(frozen=True, slots=True)
class _Clip:
    name: str
    frames: tuple[str, ...]
    """File names without suffix, in order."""


class RedsWindows:
    """Random crops of REDS windows, mirrored and turned upside down at random (a `WindowSource`).

    Expects `train_sharp/CLIP/FRAME.png`, `train_blur_bicubic/X4/CLIP/FRAME.png` and
    `train_flow_bicubic/X4/CLIP/CENTRE_NEIGHBOUR.npy`, (H, W, 2) flows in low-resolution pixels. The clips of REDS4
    are left out.
    """

    def __init__(self, folder: str | Path, options: RedsOptions, *, seed: int) -> None:
        """List the clips. Raises `TrainingError` when a folder or a frame is missing."""
        self.folder = Path(folder)
        self.options = options
        self.seed = seed
        self._clips = _list_clips(self.folder, options.frames)

    def batch(self, index: int) -> WindowBatch:
        """Batch `index`, on the CPU. Raises `TrainingError` when a file is missing, unreadable or too small."""
        generator = batch_generator(self.seed, index)
        windows = [self._window(generator) for _ in range(self.options.batch_windows)]
        blurry, sharp, flow = (torch.stack(parts) for parts in zip(*windows, strict=True))
        return WindowBatch(blurry=blurry, sharp=sharp, flow=flow, flow_valid=torch.ones_like(flow[:, :1]))

    def _window(self, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        options = self.options
        draws = torch.rand(6, generator=generator).tolist()
        clip = self._clips[int(draws[0] * len(self._clips))]
        first = int(draws[1] * (len(clip.frames) - options.frames + 1))
        names = clip.frames[first : first + options.frames]
        centre = names[options.frames // 2]
        blurry = self._stack(names, lambda name: _read_frame(self.folder / BLURRY_FOLDER / clip.name / f"{name}.png"))
        sharp = self._stack(names, lambda name: _read_frame(self.folder / SHARP_FOLDER / clip.name / f"{name}.png"))
        flow = self._stack(
            names,
            lambda name: (
                np.zeros((*blurry.shape[-2:], 2), np.float32)
                if name == centre
                else _read_flow(self.folder / FLOW_FOLDER / clip.name / f"{centre}_{name}.npy")
            ),
        )
        self._check_sizes(blurry, sharp, flow, clip.name)
        size = options.window_pixels
        top = int(draws[2] * (blurry.shape[-2] - size + 1))
        left = int(draws[3] * (blurry.shape[-1] - size + 1))
        blurry, flow = (window[..., top : top + size, left : left + size] for window in (blurry, flow))
        sharp = sharp[..., SCALE * top : SCALE * (top + size), SCALE * left : SCALE * (left + size)]
        for axis, (mirrored, sign) in {-1: (draws[4] < 0.5, (-1.0, 1.0)), -2: (draws[5] < 0.5, (1.0, -1.0))}.items():
            if mirrored:
                blurry, sharp, flow = blurry.flip(axis), sharp.flip(axis), flow.flip(axis)
                flow = flow * torch.tensor(sign).view(2, 1, 1, 1)
        return blurry, sharp, flow

    @staticmethod
    def _stack(names: tuple[str, ...], read: Callable[[str], np.ndarray]) -> Tensor:
        return torch.stack([torch.from_numpy(read(name)).permute(2, 0, 1).float() for name in names], 1)

    def _check_sizes(self, blurry: Tensor, sharp: Tensor, flow: Tensor, clip: str) -> None:
        height, width = blurry.shape[-2:]
        if min(height, width) < self.options.window_pixels:
            raise TrainingError(
                f"the frames of clip {clip} are {width}x{height}, too small for windows of {self.options.window_pixels}"
            )
        if tuple(sharp.shape[-2:]) != (SCALE * height, SCALE * width) or tuple(flow.shape[-2:]) != (height, width):
            raise TrainingError(
                f"clip {clip}: sharp frames must have {SCALE} times the size of the blurry ones ({width}x{height}) and "
                f"flows the same size, got {sharp.shape[-1]}x{sharp.shape[-2]} and {flow.shape[-1]}x{flow.shape[-2]}"
            )


def _list_clips(folder: Path, frames: int) -> list[_Clip]:
    sharp = folder / SHARP_FOLDER
    for needed in (SHARP_FOLDER, BLURRY_FOLDER, FLOW_FOLDER):
        if not os.path.isdir(folder / needed):
            raise TrainingError(
                f"{folder} has no folder {needed}; REDS needs {SHARP_FOLDER}, {BLURRY_FOLDER}, {FLOW_FOLDER}"
            )
    clips = []
    for path in sorted(sharp.iterdir()):
        names = tuple(sorted(frame.stem for frame in path.glob("*.png")))
        if path.name not in REDS4_CLIPS and len(names) >= frames:
            clips.append(_Clip(path.name, names))
    if not clips:
        raise TrainingError(f"{sharp} has no clip of at least {frames} frames besides {', '.join(REDS4_CLIPS)}")
    return clips


def _read_frame(path: Path) -> np.ndarray:
    from fmanet_cli.video.read.images import read_image

    try:
        return read_image(path)
    except VideoReadError as error:
        raise TrainingError(f"cannot read the frame {path}: {error}") from error


def _read_flow(path: Path) -> np.ndarray:
    try:
        flow = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise TrainingError(
            f"cannot read the optical flow {path}: {error}; make it with the authors' script"
        ) from error
    if flow.ndim != 3 or flow.shape[2] != 2:
        raise TrainingError(f"the optical flow {path} must have the shape (H, W, 2), got {flow.shape}")
    return flow
