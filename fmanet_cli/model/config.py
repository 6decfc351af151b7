"""The sizes that describe one FMA-Net, checked when they are given."""

from __future__ import annotations

from dataclasses import dataclass, replace

from fmanet_cli.errors import OptionError

SCALE = 4
"""Output pixels per input pixel, along each axis, of every network that can be built."""
IMAGE_CHANNELS = 3
FLOW_MASK_CHANNELS = 3
"""Optical flow x, optical flow y, occlusion logit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FMANetConfig:
    """Sizes of both networks (paper section 4; the defaults are the published network of 9,766,503 parameters).

    Raises:
        OptionError: a size is impossible; the message says what to change.
    """

    num_frames: int = 3
    """Window length T, odd. Layer widths depend on it, so it belongs to the weights."""
    dim: int = 90
    """Feature channels C, divisible by `num_frames`, `num_flows` and `num_heads`."""
    num_rdbs: int = 12
    """Residual dense blocks in each feature extractor."""
    growth: int = 18
    """Channels that each layer of a residual dense block adds."""
    num_dense_layers: int = 4
    """Layers of a residual dense block."""
    num_flows: int = 9
    """Multi-flow-mask pairs n for each frame of the window."""
    num_frma_blocks: int = 4
    """FRMA blocks M in each network."""
    num_attention_blocks: int = 2
    """Multi-attention blocks in each FRMA block."""
    num_heads: int = 6
    """Heads of the channel attention."""
    ffn_expansion: float = 2.66
    """Width of the gated feed-forward over `dim`; the hidden width is the integer part of the product."""
    degradation_kernel_size: int = 20
    """Side k_d of the degradation kernels, in high-resolution pixels."""
    restoration_kernel_size: int = 5
    """Side k_r of the restoration kernels, in low-resolution pixels, odd."""
    residual_dim: int | None = None
    """Channels of the pixel-shuffle branch from twice the size on; None = `dim`, as published."""
    scale: int = SCALE
    """Magnification. The pixel-shuffle branch of the published network is made for 4."""

    def __post_init__(self) -> None:
        for name in self.__slots__:
            value = getattr(self, name)
            if name == "residual_dim" and value is None:
                continue
            if name != "ffn_expansion" and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
                raise OptionError(f"{name} must be a whole number of at least 1, got {value!r}")
        if self.num_frames % 2 == 0:
            raise OptionError(f"num_frames must be odd so that a window has a centre frame, got {self.num_frames}")
        for name in ("num_frames", "num_flows", "num_heads"):
            divisor = getattr(self, name)
            if self.dim % divisor:
                nearest = (self.dim // divisor + 1) * divisor
                raise OptionError(
                    f"dim must be divisible by {name}, got dim={self.dim} and {name}={divisor}; "
                    f"dim={nearest} would do for {name}"
                )
        if self.scale != SCALE:
            raise OptionError(f"scale must be {SCALE} (the pixel-shuffle branch is two steps of 2), got {self.scale}")
        if self.degradation_kernel_size < self.scale or self.degradation_kernel_size % 2:
            raise OptionError(
                f"degradation_kernel_size must be even and at least {self.scale}, got {self.degradation_kernel_size}"
            )
        if self.restoration_kernel_size % 2 == 0:
            raise OptionError(f"restoration_kernel_size must be odd, got {self.restoration_kernel_size}")
        if not self.ffn_expansion > 0 or self.ffn_hidden < 1:
            raise OptionError(f"ffn_expansion must give at least one hidden channel, got {self.ffn_expansion}")

    @property
    def centre(self) -> int:
        """Index of the frame that a window restores."""
        return self.num_frames // 2

    @property
    def flow_channels(self) -> int:
        """Channels of the multi-flow-mask pairs of one frame."""
        return FLOW_MASK_CHANNELS * self.num_flows

    @property
    def residual_width(self) -> int:
        """Channels of the pixel-shuffle branch from twice the size on."""
        return self.dim if self.residual_dim is None else self.residual_dim

    @property
    def ffn_hidden(self) -> int:
        """Hidden channels of the gated feed-forward network."""
        return int(self.dim * self.ffn_expansion)

    @property
    def degradation_taps(self) -> int:
        """Values of one degradation kernel of one frame and low-resolution pixel."""
        return self.degradation_kernel_size**2

    @property
    def restoration_taps(self) -> int:
        """Values of one restoration kernel of one frame and high-resolution pixel."""
        return self.restoration_kernel_size**2


PAPER = FMANetConfig()
"""The published network."""

LITE = FMANetConfig(
    dim=24,
    num_rdbs=3,
    growth=12,
    num_dense_layers=3,
    num_flows=4,
    num_frma_blocks=2,
    num_attention_blocks=1,
    num_heads=4,
    ffn_expansion=2.0,
    degradation_kernel_size=12,
    restoration_kernel_size=3,
    residual_dim=16,
)
"""The embedded small network."""

BASE = replace(LITE, dim=48, growth=16, num_rdbs=4, num_flows=8, residual_dim=24)
"""The network for GPUs: `LITE` made wider, of which training can start exactly."""
