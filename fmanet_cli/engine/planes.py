"""RGB frames to the planes that an encoder takes, on the device: what `rgb_to_planes` does with arrays."""

from __future__ import annotations

import torch
from torch import Tensor

from fmanet_cli.video.pixels.colour import (
    STRIP_MARGIN_ROWS,
    STRIP_ROWS,
    PlaneFormat,
    chroma_offsets,
    code_scale,
    halving_taps,
    luma_weights,
)


@torch.inference_mode()
def planar_codes(image: Tensor, plane_format: PlaneFormat) -> tuple[Tensor, Tensor, Tensor]:
    """Luma, Cb and Cr codes of a frame.

    Equal to `rgb_to_planes` up to the rounding of float32: a value halfway between two codes may get the other one.

    Args:
        image: (3, H, W) float32 RGB; values outside [0, 1] are clipped.
        plane_format: bits, colours and subsampling of the codes.

    Returns:
        uint8 tensors for 8 bits, and for more int16 tensors with the bits of the uint16 codes, which few operations
        and devices know; see `PlaneFormat.shapes` for their sizes.
    """
    height = image.shape[1]
    if image.device.type != "cpu":
        return _strip_codes(image, plane_format)
    parts = []
    for top in range(0, height, STRIP_ROWS):
        bottom = min(top + STRIP_ROWS, height)
        first, last = max(0, top - STRIP_MARGIN_ROWS), min(height, bottom + STRIP_MARGIN_ROWS)
        shift = plane_format.vertical_shift
        luma, *chroma = _strip_codes(image[:, first:last], plane_format)
        rows = slice((top - first) >> shift, ((top - first) >> shift) + ((bottom - top + shift) >> shift))
        parts.append((luma[top - first : bottom - first], chroma[0][rows], chroma[1][rows]))
    luma, blue, red = (torch.cat(strips) for strips in zip(*parts, strict=True))
    return luma, blue, red


def _strip_codes(image: Tensor, plane_format: PlaneFormat) -> tuple[Tensor, Tensor, Tensor]:
    colour, bits = plane_format.colour, plane_format.bits
    luma_offset, luma_span, chroma_offset, chroma_span = code_scale(bits, full_range=colour.full_range)
    red_weight, blue_weight = luma_weights(colour.matrix)
    red, green, blue = image.clamp(0, 1).unbind(0)
    luma = red * red_weight
    luma.add_(blue, alpha=blue_weight).add_(green, alpha=1 - red_weight - blue_weight)
    horizontal, vertical = chroma_offsets(colour.chroma_location)
    chroma = []
    for channel, weight in ((blue, blue_weight), (red, red_weight)):
        reduced = channel - luma
        if plane_format.vertical_shift:
            reduced = _halved(reduced, 0, vertical)
        if plane_format.horizontal_shift:
            reduced = _halved(reduced, 1, horizontal)
        chroma.append(_codes(reduced.mul_(chroma_span / (2 * (1 - weight))), chroma_offset, bits))
    return _codes(luma.mul_(luma_span), luma_offset, bits), chroma[0], chroma[1]


def _codes(values: Tensor, offset: float, bits: int) -> Tensor:
    """Round to integer codes; `values` is overwritten."""
    values.add_(offset + 0.5).clamp_(0, (1 << bits) - 0.5)
    return values.to(torch.uint8) if bits == 8 else values.to(torch.int32).to(torch.int16)


def _halved(plane: Tensor, axis: int, offset: float) -> Tensor:
    """Half as many samples along an axis, `offset` (see `chroma_offsets`) of the way between two."""
    taps = halving_taps(offset)
    length = plane.shape[axis]
    count = (length + 1) // 2
    padded = _extended(plane, axis, 3 if offset == 0.0 else 2, 2 * count - length + 4)
    # Steps of 2 along a row are slow to read, so they are read once.
    halves = [(padded[start::2] if axis == 0 else padded[:, start::2]).contiguous() for start in (0, 1)]
    samples = [halves[k % 2].narrow(axis, k // 2, count) for k in range(len(taps))]
    middle = len(taps) // 2
    weights = [tap / sum(taps) for tap in taps]
    reduced = samples[middle] * weights[middle] if len(taps) % 2 else torch.zeros_like(samples[0])
    for k in range(middle):
        if taps[k]:
            reduced.add_(samples[k] + samples[-1 - k], alpha=weights[k])
    return reduced


def _extended(plane: Tensor, axis: int, before: int, after: int) -> Tensor:
    """More samples at both ends of an axis that go on rising or falling: mirrored in place and in value."""
    while before or after:
        length = plane.shape[axis]
        if length == 1:
            return plane.repeat_interleave(1 + before + after, dim=axis)
        left, right = min(before, length - 1), min(after, length - 1)
        start, end = plane.narrow(axis, 0, 1), plane.narrow(axis, length - 1, 1)
        mirrored_start = plane.narrow(axis, 1, left).flip(axis)
        mirrored_end = plane.narrow(axis, length - 1 - right, right).flip(axis)
        plane = torch.cat((2 * start - mirrored_start, plane, 2 * end - mirrored_end), axis)
        before, after = before - left, after - right
    return plane
