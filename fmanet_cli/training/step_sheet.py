"""A training step as one image: what went in, what came out, the truth, and what the network thinks happened."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fmanet_cli.dataset.resampling import enlarge_batch
from fmanet_cli.files import replacing
from fmanet_cli.model.fmanet import FMANet
from fmanet_cli.training.windows import SCALE, WindowBatch

_MARGIN_PIXELS = 4
_WINDOWS = 4


@torch.no_grad()
def draw_step(model: FMANet, batch: WindowBatch) -> np.ndarray:
    """Draw the first windows of a batch, one per row: (H, W, 3) float32 RGB in [0, 1].

    Columns: blurry input, bicubic, restored, truth, exact optical flow of the last frame, predicted flow, and the
    degradation kernels of the middle pixel, the frames side by side.
    """
    training = model.training
    model.eval()
    blurry, sharp = batch.blurry[:_WINDOWS], batch.sharp[:_WINDOWS]
    outputs = model.forward_training(blurry, None)
    logits = model.degradation_learning_network(blurry).kernel_logits
    model.train(training)
    middle = blurry.shape[2] // 2
    size = (sharp.shape[-2], sharp.shape[-1])
    columns = [
        F.interpolate(blurry[:, :, middle], scale_factor=SCALE, mode="nearest"),
        enlarge_batch(blurry[:, :, middle]),
        outputs.restored,
        sharp[:, :, middle],
        _resize(colour_flow(batch.flow[:_WINDOWS, :, -1]), size),
        _resize(colour_flow(outputs.flow_mask[:, :2, -1]), size),
        _draw_kernels(logits, size),
    ]
    padded = [
        F.pad(column.float().clamp(0, 1), (0, _MARGIN_PIXELS, 0, _MARGIN_PIXELS), value=1.0) for column in columns
    ]
    rows = torch.cat(padded, -1).permute(0, 2, 3, 1).flatten(0, 1)
    return rows.cpu().numpy()


def save_image(path: Path, image: np.ndarray) -> None:
    """Write (H, W, 3) float32 RGB in [0, 1] as PNG. Raises `FileWriteError` where it cannot be written."""
    levels = np.round(image.clip(0.0, 1.0) * 255.0).astype(np.uint8)
    _, content = cv2.imencode(".png", levels[..., ::-1])
    with replacing(path) as temporary:
        temporary.write_bytes(content.tobytes())


def colour_flow(flow: Tensor) -> Tensor:
    """(B, 2, H, W) flow to (B, 3, H, W) RGB: the hue is the direction, the strength the length (full at 10 pixels)."""
    angle = torch.atan2(flow[:, 1], flow[:, 0])
    strength = (flow.float().norm(dim=1) / 10.0).clamp(max=1.0).sqrt()
    hue = [0.5 + 0.5 * torch.cos(angle - shift) for shift in (0.0, 2 * math.pi / 3, 4 * math.pi / 3)]
    return 1.0 - strength[:, None] * (1.0 - torch.stack(hue, 1))


def _draw_kernels(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """The softmax over all taps at the middle pixel, scaled to its largest value."""
    batch, taps, frames, height, width = logits.shape
    side = math.isqrt(taps)
    at_middle = logits[..., height // 2, width // 2].float()
    kernels = at_middle.flatten(1).softmax(1).view(batch, side, side, frames)
    kernels = kernels / kernels.amax((1, 2, 3), keepdim=True)
    image = kernels.permute(0, 1, 3, 2).reshape(batch, 1, side, frames * side)
    large = F.interpolate(image, size=(size[1] // frames, size[1]), mode="nearest")
    return F.pad(large, (0, 0, 0, size[0] - large.shape[-2])).expand(-1, 3, -1, -1)


def _resize(images: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(images, size=size, mode="nearest")
