"""One frame seen from inside the network: flows, occlusion masks, kernels, attention, and what each part adds."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fmanet_cli.engine.device import choose_device
from fmanet_cli.engine.device_errors import is_out_of_memory
from fmanet_cli.engine.memory import USABLE_SHARE, free_memory
from fmanet_cli.errors import DeviceError, OptionError
from fmanet_cli.model.config import FLOW_MASK_CHANNELS, FMANetConfig
from fmanet_cli.model.filtering import backward_warp
from fmanet_cli.model.fmanet import FMANet
from fmanet_cli.restore.resize import resize_image
from fmanet_cli.review.blur import KernelBlur, blur_of_kernel

POINT_COLUMNS, POINT_ROWS = 3, 2
"""Points that are looked at unless others are named: the one of the strongest edges in each part of the frame."""

AROUND = 2
"""Pixels on each side of a point whose degradation kernels are averaged."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Explanation:
    """How the network restored the centre frame of one window; arrays are float32, images RGB.

    T frames of the window, n multi-flow-mask pairs, C channels, s = 4, P points. Flows are in source pixels, (x, y),
    and point from a pixel of the centre frame to where the neighbour shows the same thing. Masks are 0 where the
    neighbour does not show it.
    """

    window: np.ndarray
    """(T, H, W, 3): the frames, in [0, 1]."""
    flows: np.ndarray
    """(T, n, H, W, 2): the multi-flows of the last block of Net^R, which align features."""
    masks: np.ndarray
    """(T, n, H, W): their occlusion masks, in [0, 1]."""
    image_flow: np.ndarray
    """(T, H, W, 2): f^X, the flow that aligns the frames themselves before they are filtered."""
    image_mask: np.ndarray
    """(T, H, W): its occlusion mask, in [0, 1]."""
    warped: np.ndarray
    """(T, H, W, 3): the frames aligned with `image_flow`, before the mask."""
    masked: np.ndarray
    """(T, H, W, 3): after the mask."""
    aligned_before: np.ndarray
    """(C, H, W): F_w of the last block of Net^R before its attention."""
    aligned_after: np.ndarray
    """(C, H, W): after it."""
    filtered: np.ndarray
    """(sH, sW, 3): what flow-guided dynamic filtering makes of the masked frames."""
    residual: np.ndarray
    """(sH, sW, 3): what the high-frequency branch adds."""
    points: np.ndarray
    """(P, 2) int64: where kernels were looked at, (x, y) in source pixels."""
    degradation_kernels: np.ndarray
    """(P, T, k_d, k_d): K^D in pixels of the restored frame, not negative, sum 1 over T and taps; the mean over the
    5x5 pixels around the point, since single kernels are noisy."""
    restoration_kernels: np.ndarray
    """(P, T, s, s, k_r, k_r): K^R for each restored pixel of the point, in source pixels, sum 1 over T and taps."""

    @property
    def restored(self) -> np.ndarray:
        """(sH, sW, 3): the restored frame, in [0, 1]."""
        return np.clip(self.filtered + self.residual, 0, 1)

    @property
    def blurs(self) -> tuple[KernelBlur, ...]:
        """Of each point, in pixels of the restored frame: its degradation kernels, which are aligned, added up.

        They tell directions and which blur is longer, not its full length: `lite`, whose kernels are 12 pixels wide,
        saw camera motion of 0, 4, 8, 12, 16 and 24 pixels as 1.9, 2.4, 4.8, 6.1, 6.4 and 7.5 (median of 25 points of a
        photograph), and motion along an edge not at all.
        """
        return tuple(blur_of_kernel(kernels.sum(axis=0)) for kernels in self.degradation_kernels)

    @property
    def shares(self) -> tuple[float, float]:
        """Of filtering and of the residual branch in what the restored frame has over bicubic enlargement; sum 1.

        Each part is measured along the whole difference (not clipped), so a share is negative where a part works
        against the other. (0, 0) where the restored frame is the bicubic one.
        """
        bicubic = resize_image(self.window[len(self.window) // 2], *self.filtered.shape[:2])
        by_filtering = (self.filtered - bicubic).astype(np.float64)
        whole = by_filtering + self.residual
        energy = float((whole * whole).sum())
        if energy == 0:
            return 0.0, 0.0
        return float((by_filtering * whole).sum()) / energy, float((self.residual * whole).sum()) / energy

    def arrays(self) -> dict[str, np.ndarray]:
        """Every array by its name, with `restored`, `shares` and `blurs` (P, 2: length, angle); for `np.savez`."""
        named = {field.name: getattr(self, field.name) for field in fields(self)}
        blurs = np.array([(blur.length, blur.angle) for blur in self.blurs], dtype=np.float32).reshape(-1, 2)
        return named | {"restored": self.restored, "shares": np.array(self.shares), "blurs": blurs}


def explain(
    frames: np.ndarray,
    model: FMANet,
    *,
    points: Sequence[tuple[int, int]] | None = None,
    device: str = "auto",
) -> Explanation:
    """Restore the middle one of some frames with the plain network in float32 and keep what happens on the way.

    Args:
        frames: (T, H, W, 3) RGB, float in [0, 1] or uint8; T is the network's window, 3 for the published ones.
        model: a network; it is not changed.
        points: (x, y) in source pixels, where kernels are looked at; None = six points on strong edges.
        device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.

    Returns:
        Flows, masks, kernels and images on the way, with the restored frame.

    Raises:
        OptionError: the frames have another layout, or a point lies outside.
        DeviceError: the device is not there or its memory does not suffice: the plain network holds everything.
    """
    config, chosen = model.config, choose_device(device)
    window = _checked(frames, config)
    height, width = window.shape[1:3]
    places = _checked_points(points, window[config.centre])
    _check_memory(height, width, config, chosen)
    network = copy.deepcopy(model).to(chosen).eval()
    tensor = torch.from_numpy(np.ascontiguousarray(window.transpose(3, 0, 1, 2)))[None].to(chosen)
    if model.colour_order == "bgr":
        tensor = tensor.flip(1)
    try:
        with torch.inference_mode():
            return _explained(network, tensor, window, places)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    raise DeviceError(f"{chosen} ran out of memory over {width}x{height} pixels: explain a part of the frame")


def _explained(network: FMANet, tensor: Tensor, window: np.ndarray, places: np.ndarray) -> Explanation:
    config, restoration = network.config, network.restoration_network
    last = restoration.get_submodule(f"FRMA_blocks.{config.num_frma_blocks - 1}")
    kept: dict[str, Any] = {}
    with (
        _keeping(kept, "state", last),
        _keeping(kept, "before", last.get_submodule("multi_attn_block.0"), of_input=True),
        _keeping(kept, "image", restoration.f_conv3),
        _keeping(kept, "kernels", restoration.r_conv),
        _keeping(kept, "residual", restoration.res_conv2),
    ):
        degradation = network.degradation_learning_network(tensor)
        outputs = restoration(tensor, degradation)
    state, image = kept["state"], kept["image"][0].transpose(0, 1)
    pairs = state.flow_masks[0].unflatten(0, (config.num_flows, FLOW_MASK_CHANNELS)).permute(2, 0, 3, 4, 1)
    warped = backward_warp(tensor[0].transpose(0, 1), image[:, :2])
    rgb = slice(None, None, -1) if network.colour_order == "bgr" else slice(None)
    return Explanation(
        window=window,
        flows=_array(pairs[..., :2]),
        masks=_array(pairs[..., 2].sigmoid()),
        image_flow=_array(image[:, :2].permute(0, 2, 3, 1)),
        image_mask=_array(image[:, 2].sigmoid()),
        warped=_array(warped.permute(0, 2, 3, 1))[..., rgb],
        masked=_array(outputs.warped_window[0].permute(1, 2, 3, 0))[..., rgb],
        aligned_before=_array(kept["before"][0]),
        aligned_after=_array(state.warped[0]),
        filtered=_array((outputs.restored - kept["residual"])[0].permute(1, 2, 0))[..., rgb],
        residual=_array(kept["residual"][0].permute(1, 2, 0))[..., rgb],
        points=places,
        degradation_kernels=_degradation_kernels(degradation.kernel_logits[0], places, config),
        restoration_kernels=_restoration_kernels(kept["kernels"][0], places, config),
    )


def _degradation_kernels(logits: Tensor, places: np.ndarray, config: FMANetConfig) -> np.ndarray:
    """(P, T, k_d, k_d): the softmax over all frames and taps (Eq. 7)."""
    side = config.degradation_kernel_size
    means = []
    for x, y in places.tolist():
        rows, columns = (slice(max(0, at - AROUND), at + AROUND + 1) for at in (y, x))
        around = logits[:, :, rows, columns].float().permute(1, 0, 2, 3).flatten(0, 1).flatten(1)
        means.append(around.softmax(dim=0).mean(dim=1).view(config.num_frames, side, side))
    return _array(torch.stack(means)) if means else np.empty((0, config.num_frames, side, side), np.float32)


def _restoration_kernels(values: Tensor, places: np.ndarray, config: FMANetConfig) -> np.ndarray:
    """(P, T, s, s, k_r, k_r): shifted to the sum 1 over all frames and taps, as they are used."""
    scale, side = config.scale, config.restoration_kernel_size
    kernels = _at(values, places).unflatten(2, (scale, scale, side, side))
    shift = 1 / (config.restoration_taps * config.num_frames) - kernels.mean(dim=(1, 4, 5), keepdim=True)
    return _array(kernels + shift)


def _at(kernels: Tensor, places: np.ndarray) -> Tensor:
    """(K, T, H, W) to (P, T, K)."""
    x, y = torch.from_numpy(places).to(kernels.device).unbind(1)
    return kernels[:, :, y, x].permute(2, 1, 0).float()


@contextmanager
def _keeping(kept: dict[str, Any], name: str, module: nn.Module, *, of_input: bool = False) -> Iterator[None]:
    """Keep what goes into a module or comes out of it."""

    def hook(_: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        kept[name] = inputs[0] if of_input else output

    handle = module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def _array(tensor: Tensor) -> np.ndarray:
    return np.ascontiguousarray(tensor.float().cpu().numpy())


def _checked(frames: np.ndarray, config: FMANetConfig) -> np.ndarray:
    """(T, H, W, 3) float32 in [0, 1]."""
    shape = tuple(np.shape(frames))
    if not isinstance(frames, np.ndarray) or len(shape) != 4 or shape[3] != 3 or shape[0] != config.num_frames:
        raise OptionError(
            f"frames must be a numpy array ({config.num_frames}, H, W, 3): frames, rows, columns, RGB; got {shape}"
        )
    if frames.dtype == np.uint8:
        return frames / np.float32(255)
    window = frames.astype(np.float32)
    if not (window.min() >= 0 and window.max() <= 1):
        raise OptionError(f"floating-point frames must lie in [0, 1], got {window.min():g} to {window.max():g}")
    return window


def _checked_points(points: Sequence[tuple[int, int]] | None, centre: np.ndarray) -> np.ndarray:
    height, width = centre.shape[:2]
    if points is None:
        return _strongest_edges(centre)
    for x, y in points:
        if not (0 <= x < width and 0 <= y < height):
            raise OptionError(f"the point {x},{y} lies outside the frame of {width}x{height} pixels")
    return np.array(points, dtype=np.int64).reshape(-1, 2)


def _strongest_edges(centre: np.ndarray) -> np.ndarray:
    """(P, 2): in each part of the frame the pixel around which neighbours differ most."""
    grey = np.pad(centre.mean(axis=2), 1, mode="edge")
    energy = np.abs(grey[1:-1, 2:] - grey[1:-1, :-2]) + np.abs(grey[2:, 1:-1] - grey[:-2, 1:-1])
    places = []
    for rows in np.array_split(np.arange(centre.shape[0]), POINT_ROWS):
        for columns in np.array_split(np.arange(centre.shape[1]), POINT_COLUMNS):
            if len(rows) and len(columns):
                part = energy[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
                y, x = np.unravel_index(int(part.argmax()), part.shape)
                places.append((columns[0] + x, rows[0] + y))
    return np.array(places, dtype=np.int64).reshape(-1, 2)


def _check_memory(height: int, width: int, config: FMANetConfig, device: torch.device) -> None:
    """Refuse before the system has to: kernels of every pixel in several copies are most of the plain network."""
    kernels = 2 * config.degradation_taps + 4 * config.scale**2 * config.restoration_taps
    needed = 4 * config.num_frames * (kernels + 20 * config.dim) * height * width
    free = free_memory(device)
    if free is not None and needed > USABLE_SHARE * free:
        raise DeviceError(
            f"{width}x{height} pixels need about {needed / 1e9:.1f} GB of memory in the plain network and "
            f"{free / 1e9:.1f} GB are free on {device}: explain a part of the frame"
        )
