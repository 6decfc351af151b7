"""Training windows made from sharp photographs set in motion and filmed by a camera, with exact optical flow."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch

from fmanet_cli.dataset.imaging.chain import ImagedClip, ImagingLevels, image_clip
from fmanet_cli.dataset.imaging.light import LightCurve, raise_highlights, to_code, to_light
from fmanet_cli.dataset.imaging.mixture import Mixture
from fmanet_cli.dataset.imaging.recordings import choose_index
from fmanet_cli.errors import OptionError
from fmanet_cli.training.motion import MotionRange, Motions, draw_paths
from fmanet_cli.training.photo_library import PhotoLibrary
from fmanet_cli.training.scenes import Layer, Scene, draw_mask
from fmanet_cli.training.text import TextPlanes
from fmanet_cli.training.windows import (
    CODED_FRAMES,
    SCALE,
    WindowBatch,
    WindowOptions,
    batch_generator,
    coding_order,
    join_batches,
    to_window,
)

_CODED_MARGIN_PIXELS = 8
_PLAIN_MARGIN_PIXELS = 4
_HIGHLIGHT_EXPOSURE = 0.1


def check_photo_scales(scales: tuple[float, float]) -> None:
    """Raise OptionError unless photographs can be shrunk by factors from this range."""
    if not 0 < scales[0] <= scales[1] <= 1:
        raise OptionError(f"photo scales must be a range above 0 and up to 1, got {scales}", remedy="photo_scales")


@dataclass(frozen=True, slots=True)
class PhotoOptions(WindowOptions):
    """How windows are made from photographs; `window_pixels` is even."""

    exposures: tuple[tuple[float, float, float], ...] = ((0.35, 0.0, 0.1), (0.30, 0.1, 0.5), (0.35, 0.5, 1.0))
    """Shares and ranges of the exposure as a share of the frame interval, whatever the speed."""
    uneven_exposure_share: float = 0.2
    """Share of the windows whose exposure changes by up to 30 % from frame to frame."""
    still_share: float = 0.15
    """Share of the windows in which nothing moves."""
    foreground_shares: tuple[float, ...] = (0.35, 0.35, 0.2, 0.1)
    """Shares of the windows with 0, 1, 2, ... moving shapes before the background."""
    scales: tuple[float, float] = (0.33, 1.0)
    """Photographs are shrunk by a random factor from this range. Small ones hide softness and halos that photographs
    have; up to 1, because sharp video is soft at its pixels too, and a network that never saw it overdoes it."""
    anywhere_share: float = 0.2
    """Share of the pieces taken from anywhere; the others lie around detailed places. Smooth places are most of many
    frames, and what a network never saw there it makes worse than bicubic interpolation."""
    text_share: float = 0.12
    """Share of the windows with a text plane, where fonts are given."""
    mixture: Mixture = field(default_factory=Mixture)
    """What the camera does."""
    motion: MotionRange = field(default_factory=MotionRange)
    """How the layers move."""

    def __post_init__(self) -> None:
        if self.window_pixels < 8 or self.window_pixels % 2:
            raise ValueError(f"window_pixels must be even and at least 8, got {self.window_pixels}")
        if self.frames % 2 == 0 or not 1 <= self.frames <= CODED_FRAMES:
            raise ValueError(f"frames must be odd and at most {CODED_FRAMES}, got {self.frames}")
        if not all(share >= 0 and 0.0 <= low <= high <= 1.0 for share, low, high in self.exposures):
            raise ValueError(f"exposures must be shares and ranges inside 0 to 1, got {self.exposures}")
        if not 0 <= self.anywhere_share <= 1:
            raise ValueError(f"anywhere_share must be from 0 to 1, got {self.anywhere_share}")
        check_photo_scales(self.scales)

    @property
    def texture_pixels(self) -> int:
        """Side of the piece of a photograph that a layer shows; it leaves room for about 1.5 frames of motion."""
        return self.sharp_pixels + 128


@dataclass(frozen=True, slots=True, kw_only=True)
class _Filming:
    """What is drawn for one window besides its scene."""

    curve: LightCurve
    highlights: float
    exposures: np.ndarray
    """Of the frames and one more on each side."""
    levels: ImagingLevels


class PhotoWindows:
    """A `WindowSource`: a moving background and moving shapes cut from other photographs, filmed by a camera."""

    def __init__(
        self, library: PhotoLibrary, options: PhotoOptions, *, seed: int, texts: TextPlanes | None = None
    ) -> None:
        self.library = library
        self.options = options
        self.seed = seed
        self.texts = texts

    def batch(self, index: int) -> WindowBatch:
        """Batch `index`, on the CPU."""
        generator = batch_generator(self.seed, index)
        return join_batches([self._window(generator) for _ in range(self.options.batch_windows)])

    def _window(self, generator: torch.Generator) -> WindowBatch:
        options = self.options
        rng = np.random.default_rng(int(torch.randint(2**62, (1,), generator=generator)))
        filming = self._draw_filming(rng)
        scene = Scene(self._draw_layers(filming, generator, rng), window_pixels=options.window_pixels)
        times = np.arange(options.frames) - options.frames // 2
        sharp = [to_code(light, filming.curve) for light in scene.light(times.tolist(), options.sharp_pixels)]
        imaged = self._film(scene, filming, rng)
        flow, valid = scene.flow(torch.from_numpy(times).float())
        return WindowBatch(
            blurry=to_window(imaged.frames.astype(np.float32) / 255),
            sharp=to_window(np.stack(sharp)),
            flow=flow[None],
            flow_valid=valid[None],
            blurry_clean=to_window(imaged.clean),
        )

    def _draw_filming(self, rng: np.random.Generator) -> _Filming:
        options = self.options
        recordings = options.mixture.draw_class(rng)
        _, low, high = options.exposures[choose_index(rng, [share for share, _, _ in options.exposures])]
        exposures = np.full(options.frames + 2, rng.uniform(low, high))
        if rng.random() < options.uneven_exposure_share:
            exposures = np.clip(exposures * rng.uniform(0.7, 1.3, len(exposures)), 0, 1)
        bright = rng.random() < recordings.highlights_share and exposures.mean() > _HIGHLIGHT_EXPOSURE
        return _Filming(
            curve=options.mixture.draw_light_curve(rng),
            highlights=rng.uniform(*recordings.highlights) if bright else 0.0,
            exposures=exposures,
            levels=recordings.draw_levels(rng),
        )

    def _draw_layers(self, filming: _Filming, generator: torch.Generator, rng: np.random.Generator) -> list[Layer]:
        options = self.options
        still = rng.random() < options.still_share
        count = choose_index(rng, options.foreground_shares)
        text = self.texts is not None and rng.random() < options.text_share
        sign = text and count > 0 and rng.random() < 0.5
        layers: list[Layer] = []
        for number in range(count + 1):
            first = layers[0].path if layers else None
            path = draw_paths(1, options.motion, generator, follow=first)
            piece = self.library.draw(
                options.texture_pixels, options.scales, generator, anywhere_share=options.anywhere_share
            )
            mask = np.ones((*piece.shape[:2], 1), np.float32)
            if number:
                mask = draw_mask(options.texture_pixels, options.sharp_pixels, generator)
            if self.texts is not None and text and number == (1 if sign else 0):
                plane = self.texts.draw(options.texture_pixels, options.sharp_pixels, rng)
                piece = piece * (1 - plane.ink) + plane.colour * plane.ink
                mask = plane.panel if sign else mask
                piece = piece if not sign else plane.paper * (1 - plane.ink) + plane.colour * plane.ink
            light = self._light(piece, filming, rng)
            texture = np.concatenate([light * mask, mask], -1) if number else light
            layers.append(Layer(texture, _stopped(path) if still else path))
        return layers

    def _light(self, piece: np.ndarray, filming: _Filming, rng: np.random.Generator) -> np.ndarray:
        gain = np.float32(rng.uniform(0.6, 1.1) ** (1 / 2.2))
        light = to_light(piece * gain, filming.curve)
        return raise_highlights(light, filming.highlights) if filming.highlights else light

    def _film(self, scene: Scene, filming: _Filming, rng: np.random.Generator) -> ImagedClip:
        """Expose the frames, take them through the chain and cut the window out."""
        options, levels = self.options, filming.levels
        coded = levels.first_codec is not None or levels.second_codec is not None
        margin = _CODED_MARGIN_PIXELS if coded else _PLAIN_MARGIN_PIXELS
        # The window lies anywhere on the codec's blocks and anywhere among its kinds of frames.
        half = margin // 2
        right, down = rng.integers(-half, half + 1, 2).tolist() if coded else (0, 0)
        size = options.sharp_pixels + 2 * margin * SCALE
        reach = options.frames // 2
        times = np.arange(-reach - coded, reach + coded + 1)
        exposed = [
            to_code(scene.exposed(float(time), float(exposure), size, (-right * SCALE, -down * SCALE)), filming.curve)
            for time, exposure in zip(times, filming.exposures[1 - coded :], strict=False)
        ]
        order, first = coding_order(options.frames, rng) if coded else (list(range(options.frames)), 0)
        imaged = image_clip([exposed[number] for number in order], levels, rng)
        rows, columns = (slice(margin + by, margin + by + options.window_pixels) for by in (down, right))
        kept = slice(first, first + options.frames)
        return ImagedClip(imaged.frames[kept, rows, columns], imaged.clean[kept, rows, columns])


def _stopped(path: Motions) -> Motions:
    return Motions(*(torch.zeros_like(getattr(path, name)) for name in Motions.__slots__))
