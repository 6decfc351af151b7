"""Restoration of frames that are an array: numpy or torch in, the same out."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from fmanet_cli.engine.restorer import Restorer
from fmanet_cli.engine.source_look import SourceLook
from fmanet_cli.errors import OptionError
from fmanet_cli.model.fmanet import FMANet
from fmanet_cli.shots.detector import ShotMarker
from fmanet_cli.video.frames import Frame

Frames = TypeVar("Frames", np.ndarray, Tensor)

LAYOUT = "(T, H, W, 3): frames, rows, columns, RGB"
"""How frames lie in an array."""

_FLOATS = (np.dtype(np.float16), np.dtype(np.float32), np.dtype(np.float64))


def restore_frames(
    frames: Frames,
    model: FMANet | Restorer,
    *,
    device: str = "auto",
    precision: str = "auto",
    scene_detect: str = "off",
    strength: float = 1.0,
    source_look: SourceLook = "plain",
) -> Frames:
    """Restore the frames of one array, each with its true neighbours.

    Args:
        frames: (T, H, W, 3) RGB, numpy or torch, on any device: uint8 in [0, 255], or float16, float32 or float64 in
            [0, 1], gamma-coded as in an image file. Any T from 1 on, and any H and W from 1 on.
        model: a network, or a `Restorer` with choices of its own (then `device` and `precision` must stay `auto`).
        device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`: where the network runs.
        precision: `auto`, `fp32`, `fp16` or `bf16`: what it computes in.
        scene_detect: `off` takes the frames as one shot; `auto` finds cuts; or the path of a list of them.
        strength: share of what the network restores in each frame, in [0, 1]; the rest is the enlarged source.
        source_look: `camera` = frames that a camera has sharpened, which the network sees softened.

    Returns:
        (T, 4H, 4W, 3) of the same library, dtype and device, in [0, 255] or [0, 1]: one frame for each, the first and
        the last too. `frames` is not changed.

    Raises:
        OptionError: the array has another layout or dtype, or holds values outside its range, or the strength does,
            or the look of the source is unknown.
        DeviceError: the device or precision is not available, or memory does not suffice.
    """
    _check(frames)
    if isinstance(model, Restorer):
        if (device, precision) != ("auto", "auto"):
            raise OptionError(f"the Restorer has its device and precision already; leave out {device}, {precision}")
        restorer = model
    else:
        restorer = Restorer(model, device=device, precision=precision)
    count, height, width, _ = frames.shape
    shape = (count, height * restorer.scale, width * restorer.scale, 3)
    run = restorer.start(height, width, strength=strength, source_look=source_look)
    restored = run.restore(ShotMarker(scene_detect).mark(_as_frames(frames)))
    if isinstance(frames, np.ndarray):
        target = np.empty(shape, frames.dtype)
        for index, frame in enumerate(restored):
            target[index] = _as_dtype(frame.image, frames.dtype)
        return target
    result = torch.empty(shape, dtype=frames.dtype, device=frames.device)
    dtype = np.dtype(np.uint8) if frames.dtype == torch.uint8 else np.dtype(np.float32)
    for index, frame in enumerate(restored):
        result[index] = torch.from_numpy(_as_dtype(frame.image, dtype))
    return result


def _as_frames(frames: np.ndarray | Tensor) -> Iterator[Frame]:
    for index in range(len(frames)):
        given = frames[index]
        image = given.detach().cpu().numpy() if isinstance(given, Tensor) else given
        coded = image.dtype == np.uint8
        image = np.ascontiguousarray(image, dtype=np.float32)
        yield Frame(image / np.float32(255) if coded else image, pts=index, time_base=Fraction(1, 25))


def _as_dtype(image: np.ndarray, dtype: np.dtype) -> np.ndarray:
    return np.rint(image * 255).astype(np.uint8) if dtype == np.uint8 else image.astype(dtype, copy=False)


def _check(frames: np.ndarray | Tensor) -> None:
    if not isinstance(frames, np.ndarray | Tensor):
        raise OptionError(f"frames must be a numpy array or torch tensor {LAYOUT}, got {type(frames).__name__}")
    shape = tuple(frames.shape)
    if len(shape) == 3 and shape[-1] == 3:
        raise OptionError(f"frames must be {LAYOUT}, got {shape}: one image needs frames[None]")
    if len(shape) == 4 and shape[-1] != 3 and shape[1] == 3:
        raise OptionError(f"frames must be {LAYOUT}, got {shape}, colours first: permute to (0, 2, 3, 1)")
    if len(shape) != 4 or shape[-1] != 3 or 0 in shape:
        raise OptionError(f"frames must be {LAYOUT}, got {shape}")
    if frames.dtype in (torch.uint8, np.dtype(np.uint8)):
        return
    if frames.dtype not in (torch.float16, torch.float32, torch.float64, *_FLOATS):
        raise OptionError(f"frames must be uint8, float16, float32 or float64, got {frames.dtype}")
    smallest, largest = float(frames.min()), float(frames.max())
    if not (smallest >= 0 and largest <= 1):
        hint = ": divide by 255, or give uint8" if largest > 1 else ""
        raise OptionError(f"floating-point frames must lie in [0, 1], got {smallest:g} to {largest:g}{hint}")
