"""Smooth camera paths as affine maps, drawn at random."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class MotionRange:
    """How far and how the layers of a window may move, in high-resolution pixels and frame intervals."""

    slowest: float = 0.25
    """Lower end of the log-uniform speed in pixels a frame."""
    fastest: float = 40.0
    """Upper end of the log-uniform speed in pixels a frame."""
    still_share: float = 0.08
    """Share of the windows that do not move at all."""
    rotation_degrees: float = 2.5
    """Standard deviation of the rotation a frame."""
    zoom: float = 0.02
    """Standard deviation of the change of log scale a frame."""
    shake: float = 0.25
    """Largest amplitude of the hand shake as a share of the speed."""

    def __post_init__(self) -> None:
        if not 0 < self.slowest <= self.fastest:
            raise ValueError(f"slowest must be positive and at most fastest, got {self.slowest} and {self.fastest}")


@dataclass(frozen=True, slots=True, eq=False)
class Motions:
    """N random motions. Time 0 is the identity: the middle frame's exposure is centred where nothing has moved."""

    velocity: Tensor
    """(N, 2) pixels a frame, (x, y)."""
    acceleration: Tensor
    """(N, 2) pixels a frame, per frame."""
    turn: Tensor
    """(N,) radians a frame."""
    zoom: Tensor
    """(N,) change of log scale a frame."""
    shake_amplitude: Tensor
    """(N, 2, K) pixels."""
    shake_frequency: Tensor
    """(N, 2, K) radians a frame."""
    shake_phase: Tensor
    """(N, 2, K) radians."""

    def affine(self, times: Tensor) -> Tensor:
        """(N, S) times to (N, S, 2, 3) maps from window to layer coordinates, both measured from the centre."""
        tau = times[..., None]
        angle, scale = self.turn[:, None] * times, torch.exp(self.zoom[:, None] * times)
        cos, sin = scale * torch.cos(angle), scale * torch.sin(angle)
        phase = self.shake_phase[:, None]
        shake = torch.sin(self.shake_frequency[:, None] * tau[..., None] + phase) - torch.sin(phase)
        offset = self.velocity[:, None] * tau + 0.5 * self.acceleration[:, None] * tau**2
        offset = offset + (self.shake_amplitude[:, None] * shake).sum(-1)
        rows = torch.stack([torch.stack([cos, -sin], -1), torch.stack([sin, cos], -1)], -2)
        return torch.cat([rows, offset[..., None]], -1)


def draw_paths(
    count: int, motion: MotionRange, generator: torch.Generator, *, follow: Motions | None = None
) -> Motions:
    """Draw `count` motions on the CPU; half of them add to a share of the motion `follow`, as parallax does."""

    def uniform(*shape: int) -> Tensor:
        return torch.rand(count, *shape, generator=generator)

    def normal(*shape: int) -> Tensor:
        return torch.randn(count, *shape, generator=generator)

    speed = torch.exp(math.log(motion.slowest) + uniform() * math.log(motion.fastest / motion.slowest))
    speed = speed * (uniform() >= motion.still_share)
    direction = uniform() * (2 * math.pi)
    velocity = speed[:, None] * torch.stack([torch.cos(direction), torch.sin(direction)], -1)
    liveliness = (speed / 8.0).clamp(max=1.0)
    amplitude = uniform(2, 2) * uniform(1, 1) * motion.shake * speed[:, None, None].clamp(max=16.0)
    path = Motions(
        velocity=velocity,
        acceleration=normal(2) * 0.15 * speed[:, None],
        turn=normal() * math.radians(motion.rotation_degrees) * liveliness,
        zoom=normal() * motion.zoom * liveliness,
        shake_amplitude=amplitude,
        shake_frequency=2 * math.pi * (0.2 + 1.3 * uniform(2, 2)),
        shake_phase=2 * math.pi * uniform(2, 2),
    )
    if follow is None:
        return path
    share = (uniform() < 0.5).float() * (0.5 + uniform())
    limit = motion.fastest
    joined = path.velocity * uniform(1) + share[:, None] * follow.velocity
    joined = joined * (limit / joined.norm(dim=-1, keepdim=True).clamp(min=limit))
    return Motions(
        velocity=torch.where(share[:, None] > 0, joined, path.velocity),
        acceleration=path.acceleration,
        turn=path.turn + share * follow.turn,
        zoom=path.zoom + share * follow.zoom,
        shake_amplitude=path.shake_amplitude,
        shake_frequency=path.shake_frequency,
        shake_phase=path.shake_phase,
    )


def invert_affine(affine: Tensor) -> Tensor:
    """(..., 2, 3) maps to their inverses."""
    linear = torch.linalg.inv(affine[..., :2])
    return torch.cat([linear, -linear @ affine[..., 2:]], -1)
