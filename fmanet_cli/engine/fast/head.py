"""The restored frame for streaming: dynamic upsampling and the pixel-shuffle residual, strip by strip."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from fmanet_cli.engine.fast.layers import Layout, Strip, activate, convolved, split_frames, strips
from fmanet_cli.engine.fast.warping import upsample_into, upsample_source
from fmanet_cli.model.config import IMAGE_CHANNELS
from fmanet_cli.model.fmanet import FMANet


class RestorationHead:
    """Restoration kernels, dynamic upsampling and the pixel-shuffle residual, strip by strip."""

    def __init__(self, model: FMANet, layout: Layout) -> None:
        network: Any = model.restoration_network
        self._layout, self._config = layout, model.config
        make, scale = network.r_conv[2].weight.detach(), model.config.scale
        if layout.fused:
            # Of each tap all sub-pixels in a row, as the kernel reads them fastest.
            make = make.unflatten(0, (scale**2, -1)).transpose(0, 1).flatten(0, 1)
        self._kernels = [layout.weight(network.r_conv[0].weight), layout.weight(make, outputs=len(make))]
        self._low = layout.weight(network.res_conv1.weight)
        self._residual_width = model.config.residual_width
        self._steps = [self._step(part.weight.detach()) for part in (network.upsample.conv1, network.upsample.conv2)]
        self._high = layout.weight(network.upsample.conv3.weight)
        last = network.res_conv2.weight.detach()
        self._rows = 4 if layout.channel_multiple == 1 else 2
        self._last = layout.weight(_several_rows(last, self._rows))

    def _step(self, weight: Tensor) -> Tensor:
        """The weight of a step to twice the size."""
        if self._layout.fused:
            # All channels of one pixel after the other, as the kernel moves them.
            return self._layout.weight(weight.unflatten(0, (-1, 4)).transpose(0, 1).flatten(0, 1))
        # Each group of four channels becomes one of twice the size: the zeros stay at the end.
        return self._layout.weight(weight, outputs=4 * self._layout.width(self._residual_width))

    def __call__(self, warped: Tensor, window: Tensor) -> Tensor:
        """F_w^{R,M}, (1, C, H, W), and the warped frames, (T, 3, H, W) float32, to (3, 4H, 4W) float32."""
        config, scale = self._config, self._config.scale
        height, width = warped.shape[-2:]
        result = window.new_empty(IMAGE_CHANNELS, height * scale, width * scale)
        # Two convolutions at low resolution, one at twice and two at four times its size: three rows in all.
        for strip in strips(height, self._layout.rows(width, 3 * config.dim * scale**2), 3):
            self.residual_into(result[:, strip.start * scale : strip.stop * scale], warped, strip)
        source = upsample_source(window, config.restoration_taps, fused=self._layout.fused)
        kernel_channels = config.num_frames * scale**2 * config.restoration_taps
        for strip in strips(height, self._layout.rows(width, 3 * kernel_channels), 2):
            hidden = activate(strip.conv(split_frames(strip.near(warped), config.num_frames), self._kernels[0]))
            kernels = strip.conv(hidden, self._kernels[1])
            if self._layout.fused:
                kernels = kernels.unflatten(1, (config.restoration_taps, scale**2)).transpose(1, 2)
            else:
                kernels = kernels.unflatten(1, (scale**2, config.restoration_taps))
            rows = result[:, strip.start * scale : strip.stop * scale]
            upsample_into(rows, source, kernels, first_row=strip.start, residual=rows, fused=self._layout.fused)
        return result

    def residual_into(self, target: Tensor, warped: Tensor, strip: Strip) -> None:
        """(3, 4h, 4W) for the h rows of a strip."""
        image = activate(strip.conv(strip.near(warped), self._low))
        for weight in self._steps:
            image = self._shuffled(strip.conv(image, weight))
        image = activate(strip.conv(image, self._high))
        above, below = strip.edges
        count = self._rows
        if above == below:
            rows = convolved(image, self._last, stride=(count, 1), padding=(int(above), 1))
        else:
            rows = convolved(F.pad(image, (0, 0, above, below)), self._last, stride=(count, 1), padding=(0, 1))
        colours = rows[0, : count * IMAGE_CHANNELS].unflatten(0, (IMAGE_CHANNELS, count)).transpose(1, 2)
        target.unflatten(1, (-1, count)).copy_(colours)

    def _shuffled(self, image: Tensor) -> Tensor:
        """Activated, at twice the size."""
        if self._layout.fused:
            from fmanet_cli.engine.fast import triton_glue

            width = self._layout.width(self._residual_width)
            dense = image.contiguous(memory_format=torch.channels_last)
            return triton_glue.shuffled(dense, self._residual_width, width)
        return F.pixel_shuffle(activate(image), 2).contiguous(memory_format=torch.channels_last)


def _several_rows(weight: Tensor, count: int) -> Tensor:
    """A 3x3 kernel for 3 channels as one for `count` rows of 3 channels, in every so many rows.

    Processors and GPUs compute at least 8 or 16 output channels at a time, so 3 cost nearly what 8 or 12 do.
    """
    rows = weight.new_zeros(len(weight), count, weight.shape[1], count + 2, 3)
    for row in range(count):
        rows[:, row, :, row : row + 3] = weight
    return rows.flatten(0, 1)
