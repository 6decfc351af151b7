"""Training windows made from sharp photographs set in motion, with exact optical flow."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path as FilePath

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fmanet_cli.errors import TrainingError
from fmanet_cli.files import IMAGE_SUFFIXES
from fmanet_cli.training.artefacts import add_codec_artefacts, add_sensor_noise
from fmanet_cli.training.motion import MotionRange, Path, draw_paths, invert_affine
from fmanet_cli.training.windows import (
    SCALE,
    WindowBatch,
    batch_generator,
    detail,
    downscale_window,
    to_gamma,
    to_linear,
)
from fmanet_cli.video.read.images import read_image

_FLAT_DETAIL = 0.02
_DETAIL_BLOCK_PIXELS = 32


@dataclass(frozen=True, slots=True)
class PhotoOptions:
    """How windows are made from photographs."""

    window_pixels: int = 32
    """Side of the square low-resolution window."""
    batch_windows: int = 8
    """Windows in a batch."""
    frames: int = 3
    """Frames in a window; odd."""
    sub_frames: int = 9
    """Sharp moments averaged over one exposure; odd, at least 9."""
    exposure: tuple[float, float] = (0.0, 1.0)
    """Range of the exposure as a share of the frame interval."""
    exposure_bias: float = 0.7
    """Exponent on the uniform draw of the exposure: below 1 favours long exposures."""
    foreground_shares: tuple[float, ...] = (0.35, 0.35, 0.2, 0.1)
    """Shares of the windows with 0, 1, 2, ... moving shapes before the background."""
    smallest_scale: float = 0.5
    """Photographs are shrunk by a random factor from here to 1 before use, which hides what softness they have."""
    artefact_share: float = 0.5
    """Share of the windows with sensor noise and codec artefacts; the others are clean."""
    motion: MotionRange = field(default_factory=MotionRange)
    """How the layers move."""

    def __post_init__(self) -> None:
        if self.window_pixels < 8:
            raise ValueError(f"window_pixels must be at least 8, got {self.window_pixels}")
        if self.frames % 2 == 0 or self.frames < 1:
            raise ValueError(f"frames must be odd, got {self.frames}")
        if self.sub_frames % 2 == 0 or self.sub_frames < 9:
            raise ValueError(f"sub_frames must be odd and at least 9, got {self.sub_frames}")
        if not 0.0 <= self.exposure[0] <= self.exposure[1] <= 1.0:
            raise ValueError(f"exposure must be a range inside 0 to 1, got {self.exposure}")

    @property
    def sharp_pixels(self) -> int:
        """Side of the square high-resolution window."""
        return self.window_pixels * SCALE

    @property
    def texture_pixels(self) -> int:
        """Side of the piece of a photograph that a layer shows; it leaves room for about 1.5 frames of motion."""
        return self.sharp_pixels + 128


class PhotoLibrary:
    """Photographs in memory, on one device, with the places that are worth showing."""

    def __init__(self, photos: Sequence[Tensor], *, device: torch.device | str = "cpu") -> None:
        """Take (3, H, W) uint8 RGB photographs and find their detailed blocks."""
        self.device = torch.device(device)
        self.photos: list[Tensor] = []
        self._places: list[Tensor] = []
        for photo in photos:
            measured = detail(photo.float() / 255.0, block_pixels=_DETAIL_BLOCK_PIXELS)
            places = (measured > _FLAT_DETAIL).nonzero()
            if len(places):
                self.photos.append(photo.to(self.device))
                self._places.append(places * _DETAIL_BLOCK_PIXELS + _DETAIL_BLOCK_PIXELS // 2)

    def __len__(self) -> int:
        return len(self.photos)

    def draw(self, size: int, smallest_scale: float, generator: torch.Generator) -> Tensor:
        """A random (3, size, size) float piece in [0, 1] around a detailed place."""
        draws = torch.rand(5, generator=generator).tolist()
        number = min(int(draws[0] * len(self.photos)), len(self.photos) - 1)
        photo, places = self.photos[number], self._places[number]
        height, width = photo.shape[-2:]
        scale = smallest_scale + (1.0 - smallest_scale) * draws[1]
        side = min(round(size / scale), height, width)
        y, x = places[min(int(draws[2] * len(places)), len(places) - 1)].tolist()
        top = min(max(y - side // 2, 0), height - side)
        left = min(max(x - side // 2, 0), width - side)
        piece = photo[:, top : top + side, left : left + side]
        if draws[3] < 0.5:
            piece = piece.flip(-1)
        piece = piece.rot90(int(draws[4] * 4) % 4, (-2, -1))[None].float()
        if side != size:
            piece = F.interpolate(piece, size=(size, size), mode="bicubic", align_corners=False, antialias=True)
        return (piece[0] / 255.0).clamp(0.0, 1.0)


def load_photos(folder: str | FilePath, *, smallest_side: int, device: torch.device | str = "cpu") -> PhotoLibrary:
    """Read the photographs of a folder, leaving out those smaller than ``smallest_side`` pixels.

    Raises ``TrainingError`` when the folder has no photographs, when one cannot be read, and when all of them are too
    small or flat.
    """
    folder = FilePath(folder)
    paths = photo_paths(folder)
    with ThreadPoolExecutor(max_workers=2) as pool:
        photos = list(pool.map(_read_photo, paths))
    large = [photo for photo in photos if min(photo.shape[-2:]) >= smallest_side]
    if not large:
        raise TrainingError(
            f"all {len(paths)} photographs in {folder} are smaller than {smallest_side} pixels; "
            "use larger ones or train with a smaller window"
        )
    library = PhotoLibrary(large, device=device)
    if not len(library):
        raise TrainingError(f"all {len(large)} photographs in {folder} are flat; use photographs with detail")
    return library


def photo_paths(folder: str | FilePath) -> list[FilePath]:
    """The photographs of a folder, sorted by name. Raises ``TrainingError`` when there are none."""
    folder = FilePath(folder)
    if not folder.is_dir():
        raise TrainingError(f"{folder} is not a folder; give a folder of photographs")
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
    if not paths:
        raise TrainingError(f"no photographs in {folder}; it needs files ending in {', '.join(sorted(IMAGE_SUFFIXES))}")
    return paths


def _read_photo(path: FilePath) -> Tensor:
    try:
        image = read_image(path)
    except Exception as error:
        raise TrainingError(f"cannot read the photograph {path}: {error}; remove or replace it") from error
    return torch.from_numpy(np.round(image * 255.0).astype(np.uint8)).permute(2, 0, 1).contiguous()


@dataclass(frozen=True, slots=True, eq=False)
class _Layer:
    """One moving layer of the first N windows of a batch."""

    texture: Tensor
    """(N, 4, P, P): linear light times opacity, and opacity."""
    path: Path

    @property
    def windows(self) -> int:
        return self.texture.shape[0]


class PhotoWindows:
    """A ``WindowSource``: a moving background and moving shapes cut from other photographs."""

    def __init__(self, library: PhotoLibrary, options: PhotoOptions, *, seed: int) -> None:
        self.library = library
        self.options = options
        self.seed = seed

    def batch(self, index: int) -> WindowBatch:
        """Batch ``index``, on the library's device."""
        options = self.options
        generator = batch_generator(self.seed, index)
        layers = self._draw_layers(generator)
        low, high = options.exposure
        exposure = low + (high - low) * torch.rand(options.batch_windows, generator=generator) ** options.exposure_bias
        middle = torch.arange(options.frames, dtype=torch.float32) - options.frames // 2
        moments = (torch.arange(options.sub_frames) + 0.5) / options.sub_frames - 0.5
        times = middle[None, :, None] + exposure[:, None, None] * moments
        centres = middle.expand(options.batch_windows, -1)
        sharp = to_gamma(self._render(layers, centres, mode="bicubic"))
        averaged = self._render(layers, times.flatten(1), mode="bilinear")
        averaged = averaged.unflatten(2, (options.frames, options.sub_frames)).mean(3)
        flow, valid = self._flow(layers, centres)
        return WindowBatch(
            blurry=self._spoil(downscale_window(to_gamma(averaged)), generator),
            sharp=sharp,
            flow=flow,
            flow_valid=valid,
        )

    def _draw_layers(self, generator: torch.Generator) -> list[_Layer]:
        options, device = self.options, self.library.device
        cumulative = torch.tensor(options.foreground_shares).cumsum(0)
        draws = torch.rand(options.batch_windows, generator=generator) * cumulative[-1]
        # In falling order, so that the windows with an n-th shape are the first ones of the batch.
        counts = torch.searchsorted(cumulative, draws).sort(descending=True).values
        background = draw_paths(options.batch_windows, options.motion, generator)
        layers = [_Layer(self._draw_textures(options.batch_windows, generator), _to_device(background, device))]
        for number in range(1, len(options.foreground_shares)):
            windows = int((counts >= number).sum())
            if not windows:
                break
            first = Path(*(getattr(background, name)[:windows] for name in Path.__slots__))
            path = draw_paths(windows, options.motion, generator, follow=first)
            texture = self._draw_textures(windows, generator)
            mask = _draw_masks(windows, options, generator).to(device)
            layers.append(_Layer(texture * mask, _to_device(path, device)))
        return layers

    def _draw_textures(self, count: int, generator: torch.Generator) -> Tensor:
        size, options = self.options.texture_pixels, self.options
        pieces = [self.library.draw(size, options.smallest_scale, generator) for _ in range(count)]
        gain = 0.6 + 0.5 * torch.rand(count, generator=generator).view(-1, 1, 1, 1).to(self.library.device)
        linear = (to_linear(torch.stack(pieces)) * gain).clamp(max=1.0)
        return torch.cat([linear, torch.ones_like(linear[:, :1])], 1)

    def _render(self, layers: list[_Layer], times: Tensor, *, mode: str) -> Tensor:
        """(B, S) times to (B, 3, S, 4H, 4W) in linear light."""
        size = self.options.sharp_pixels
        points = _pixel_centres(size, size, self.library.device)
        image = _show(layers[0], times, points, mode=mode, padding="reflection")[:, :3]
        for layer in layers[1:]:
            shown = _show(layer, times[: layer.windows], points, mode=mode, padding="zeros")
            lower = image[: layer.windows]
            lower.mul_(1.0 - shown[:, 3:]).add_(shown[:, :3])
        return image

    def _flow(self, layers: list[_Layer], times: Tensor) -> tuple[Tensor, Tensor]:
        """Exact flow from the middle frame to each frame and where it is visible, at low resolution."""
        size = self.options.window_pixels
        points = _pixel_centres(size, size, self.library.device) * SCALE
        flow = torch.zeros(times.shape[0], times.shape[1], size, size, 2, device=self.library.device)
        target = points + flow
        owner = torch.zeros(times.shape[0], size, size, dtype=torch.long, device=self.library.device)
        for number, layer in enumerate(layers):
            n = layer.windows
            owns = torch.ones(n, size, size, dtype=torch.bool, device=owner.device)
            if number:
                middle = torch.zeros(n, 1)
                owns = _show(layer, middle, points, mode="bilinear", padding="zeros")[:, 3, 0] > 0.5
            affine = invert_affine(layer.path.affine(times[:n].to(owner.device)))
            moved = _apply(affine, points)
            target[:n] = torch.where(owns[:, None, ..., None], moved, target[:n])
            owner[:n] = torch.where(owns, torch.full_like(owner[:n], number), owner[:n])
        valid = (target.abs() <= self.options.sharp_pixels / 2).all(-1)
        for number, layer in enumerate(layers[1:], start=1):
            n = layer.windows
            affine = layer.path.affine(times[:n].to(owner.device))
            opacity = _look_up(layer.texture[:, 3:], _apply_each(affine, target[:n]), mode="bilinear", padding="zeros")
            covered = (opacity[:, 0] > 0.5) & (owner[:n] < number)[:, None]
            valid[:n] &= ~covered
        flow = (target - points) / SCALE
        return flow.permute(0, 4, 1, 2, 3).contiguous(), valid[:, None].float()

    def _spoil(self, window: Tensor, generator: torch.Generator) -> Tensor:
        """Add noise and codec artefacts to a share of the windows, then round all of them to 8 bits."""
        count, device = window.shape[0], window.device
        draws = torch.rand(count, 5, generator=generator).to(device)
        origin = torch.randint(8, (2,), generator=generator).tolist()
        on_device = torch.Generator(device=device)
        on_device.manual_seed(int(torch.randint(2**62, (1,), generator=generator)))
        chosen = draws[:, 0] < self.options.artefact_share
        noisy, coded = chosen & (draws[:, 1] < 0.75), chosen & (draws[:, 2] < 0.75)
        strength = torch.where(noisy, 0.004 * 12.0 ** draws[:, 3], torch.zeros_like(draws[:, 3]))
        if bool(noisy.any()):
            window = add_sensor_noise(window, strength, generator=on_device)
        if bool(coded.any()):
            quality = 30.0 + 65.0 * draws[coded, 4]
            window[coded] = add_codec_artefacts(window[coded], quality, origin=(origin[0], origin[1]))
        return torch.round(window * 255.0) / 255.0


def _to_device(path: Path, device: torch.device) -> Path:
    return Path(*(getattr(path, name).to(device) for name in Path.__slots__))


def _pixel_centres(height: int, width: int, device: torch.device) -> Tensor:
    """(H, W, 2) pixel centres (x, y), measured from the middle of the window."""
    y = torch.arange(height, device=device, dtype=torch.float32) - (height - 1) / 2
    x = torch.arange(width, device=device, dtype=torch.float32) - (width - 1) / 2
    return torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], -1)


def _apply(affine: Tensor, points: Tensor) -> Tensor:
    """(N, S, 2, 3) maps of (H, W, 2) points to (N, S, H, W, 2)."""
    height, width, _ = points.shape
    moved = points.reshape(1, 1, -1, 2) @ affine[..., :2].transpose(-1, -2) + affine[..., None, :, 2]
    return moved.unflatten(2, (height, width))


def _apply_each(affine: Tensor, points: Tensor) -> Tensor:
    """(N, S, 2, 3) maps of (N, S, H, W, 2) points to (N, S, H, W, 2)."""
    return torch.einsum("nsij,nshwj->nshwi", affine[..., :2], points) + affine[..., None, None, :, 2]


def _look_up(texture: Tensor, points: Tensor, *, mode: str, padding: str) -> Tensor:
    """(N, C, P, P) at (N, S, H, W, 2) points, measured from its centre in pixels, to (N, C, S, H, W)."""
    n, s, height, width, _ = points.shape
    grid = (points * (2.0 / (texture.shape[-1] - 1))).reshape(n, s * height, width, 2)
    looked = F.grid_sample(texture, grid, mode=mode, padding_mode=padding, align_corners=True)
    return looked.unflatten(2, (s, height))


def _show(layer: _Layer, times: Tensor, points: Tensor, *, mode: str, padding: str) -> Tensor:
    affine = layer.path.affine(times.to(points.device))
    return _look_up(layer.texture, _apply(affine, points), mode=mode, padding=padding)


def _draw_masks(count: int, options: PhotoOptions, generator: torch.Generator) -> Tensor:
    """(N, 1, P, P) soft-edged shapes in [0, 1]: blobs whose radius varies with the angle, some stretched to bars."""
    size, window = options.texture_pixels, options.sharp_pixels
    draws = torch.rand(count, 6, generator=generator)
    waves = torch.randn(count, 5, generator=generator) * 0.18
    phases = 2 * math.pi * torch.rand(count, 5, generator=generator)
    centre = ((draws[:, :2] - 0.5) * window * 0.9).view(-1, 1, 1, 2)
    points = _pixel_centres(size, size, torch.device("cpu")) - centre
    turn = (draws[:, 2] * math.pi).view(-1, 1, 1)
    along = points[..., 0] * torch.cos(turn) + points[..., 1] * torch.sin(turn)
    across = points[..., 1] * torch.cos(turn) - points[..., 0] * torch.sin(turn)
    stretch = (1.0 + 5.0 * draws[:, 3] ** 3).view(-1, 1, 1)
    along, across = along / stretch, across * stretch.sqrt()
    angle, distance = torch.atan2(across, along), torch.hypot(along, across)
    radius = (window * (0.08 + 0.32 * draws[:, 4])).view(-1, 1, 1)
    ripple = sum(
        waves[:, k].view(-1, 1, 1) * torch.cos((k + 2) * angle + phases[:, k].view(-1, 1, 1)) for k in range(5)
    )
    softness = (0.4 + 1.6 * draws[:, 5] ** 2).view(-1, 1, 1)
    return torch.sigmoid((radius * (1.0 + ripple) - distance) / softness)[:, None]
