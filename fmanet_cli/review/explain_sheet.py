"""An explanation as one image."""

from __future__ import annotations

import cv2
import numpy as np

from fmanet_cli.drawing import at_width, below, beside, framed, labelled, text_lines
from fmanet_cli.restore.resize import resize_image
from fmanet_cli.review.explain import Explanation
from fmanet_cli.review.flow_colours import colour_wheel, flow_to_rgb

_LARGE, _MEDIUM, _SMALL, _KERNEL = 384, 312, 150, 96
_RESIDUAL_GAIN = 4
_POINT_COLOURS = ((230, 25, 38), (13, 140, 242), (242, 153, 13), (25, 166, 64), (150, 60, 200), (20, 20, 20))
_RIM = (255, 255, 255)


def explanation_sheet(explanation: Explanation, title: str) -> np.ndarray:
    """(H, W, 3) float32 RGB in [0, 1]: results, aligned frames, flows, kernels and attention."""
    longest = float(np.percentile(np.hypot(*np.moveaxis(explanation.flows, -1, 0)), 99))
    longest = max(longest, float(np.abs(explanation.image_flow).max()), 0.1)
    parts = [
        text_lines([title]),
        _results(explanation),
        _aligned_frames(explanation, longest),
        *(_multi_flows(explanation, index, longest) for index in _neighbours(explanation)),
        _kernels(explanation),
        _attention(explanation),
    ]
    return framed(below(parts))


def _neighbours(explanation: Explanation) -> list[int]:
    count = len(explanation.window)
    return [index for index in range(count) if index != count // 2] or [0]


def _frame_name(explanation: Explanation, index: int) -> str:
    step = index - len(explanation.window) // 2
    return "centre frame" if step == 0 else f"frame {step:+d}"


def _results(explanation: Explanation) -> np.ndarray:
    centre = explanation.window[len(explanation.window) // 2]
    source = _with_points(resize_image(centre, *explanation.restored.shape[:2]), explanation)
    by_filtering, by_residual = explanation.shares
    residual = 0.5 + _RESIDUAL_GAIN * explanation.residual
    return beside(
        [
            labelled(at_width(source, _LARGE), "source, bicubic; points of the kernels"),
            labelled(at_width(explanation.restored, _LARGE), "restored = filtered + residual"),
            labelled(at_width(explanation.filtered, _LARGE), f"filtered: {by_filtering:z.0%} of the change"),
            labelled(at_width(residual, _LARGE), f"residual x{_RESIDUAL_GAIN}: {by_residual:z.0%} of the change"),
        ]
    )


def _aligned_frames(explanation: Explanation, longest: float) -> np.ndarray:
    rows = []
    for index in _neighbours(explanation):
        name = _frame_name(explanation, index)
        flow = flow_to_rgb(explanation.image_flow[index], longest=longest)
        rows.append(
            beside(
                [
                    labelled(at_width(explanation.window[index], _MEDIUM), name),
                    labelled(at_width(flow, _MEDIUM), "its optical flow f^X"),
                    labelled(at_width(explanation.image_mask[index], _MEDIUM), "its occlusion mask"),
                    labelled(at_width(explanation.warped[index], _MEDIUM), "warped to the centre"),
                    labelled(at_width(explanation.masked[index], _MEDIUM), "warped and masked"),
                ]
            )
        )
    key = labelled(colour_wheel(_SMALL), "colours of flow:", f"rim = {longest:.1f} source pixels")
    return beside([below(rows), key])


def _multi_flows(explanation: Explanation, index: int, longest: float) -> np.ndarray:
    """The n pairs that align the features."""
    flows, masks = explanation.flows[index], explanation.masks[index]
    columns = []
    for number, (flow, mask) in enumerate(zip(flows, masks, strict=True), 1):
        pair = [
            at_width(flow_to_rgb(flow, longest=longest), _SMALL),
            at_width(np.repeat(mask[..., None], 3, 2), _SMALL),
        ]
        columns.append(below([text_lines([f"pair {number}"]), *pair], gap=2))
    name = _frame_name(explanation, index)
    return below([text_lines([f"multi-flow-mask pairs of {name}: flow above, mask below"]), beside(columns)], gap=2)


def _kernels(explanation: Explanation) -> np.ndarray:
    columns = []
    scale = explanation.restoration_kernels.shape[2]
    for number, blur in enumerate(explanation.blurs):
        degradation = explanation.degradation_kernels[number].sum(axis=0)
        restoration = explanation.restoration_kernels[number, :, scale // 2, scale // 2]
        colour = np.full((6, 2 * _KERNEL, 3), _POINT_COLOURS[number % len(_POINT_COLOURS)], dtype=np.float32) / 255
        x, y = explanation.points[number]
        words = [f"{number + 1}: ({x}, {y})", f"blur {blur.length / scale:.1f} source px", f"at {blur.angle:.0f} deg"]
        images = [
            at_width(np.repeat((degradation / degradation.max())[..., None], 3, 2), 2 * _KERNEL, blocky=True),
            beside([_signed(kernel, np.abs(restoration).max()) for kernel in restoration], gap=2),
        ]
        columns.append(below([colour, text_lines(words), *images], gap=3))
    title = "degradation kernel K^D (above) and restoration kernels K^R of each frame (below; red adds, blue subtracts)"
    return below([text_lines([title]), beside(columns)], gap=2)


def _signed(kernel: np.ndarray, largest: float) -> np.ndarray:
    """Red where positive, blue where negative, white at 0."""
    strength = np.clip(kernel / max(float(largest), 1e-9), -1, 1)[..., None]
    red, blue = np.array([0.8, 0.1, 0.1]), np.array([0.1, 0.2, 0.8])
    rgb = 1 - np.maximum(strength, 0) * (1 - red) - np.maximum(-strength, 0) * (1 - blue)
    return at_width(rgb, 2 * _KERNEL // 3 - 2, blocky=True)


def _attention(explanation: Explanation) -> np.ndarray:
    before, after = explanation.aligned_before, explanation.aligned_after
    axes = _main_axes(np.concatenate((before.reshape(len(before), -1), after.reshape(len(after), -1)), axis=1))
    change = np.linalg.norm(after - before, axis=0)
    colours = [_as_colours(before, axes), _as_colours(after, axes)]
    return beside(
        [
            labelled(at_width(colours[0], _LARGE), "aligned features F_w before attention"),
            labelled(at_width(colours[1], _LARGE), "after attention, in the same colours"),
            labelled(at_width(change / max(float(change.max()), 1e-9), _LARGE), "length of the change"),
        ]
    )


def _main_axes(features: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean, three main axes and spread of (C, N) features."""
    mean = features.mean(axis=1, keepdims=True)
    _, vectors = np.linalg.eigh(np.cov(features))
    axes = vectors[:, ::-1][:, :3]
    spread = (axes.T @ (features - mean)).std(axis=1)
    return mean, axes, spread


def _as_colours(features: np.ndarray, axes: tuple[np.ndarray, np.ndarray, np.ndarray]) -> np.ndarray:
    """(C, H, W) to (H, W, 3): the three main axes as red, green and blue, two spreads around grey."""
    mean, directions, spread = axes
    values = directions.T @ (features.reshape(len(features), -1) - mean) / np.maximum(spread[:, None], 1e-9)
    return np.clip(0.5 + values.T.reshape(*features.shape[1:], 3) / 4, 0, 1)


def _with_points(image: np.ndarray, explanation: Explanation) -> np.ndarray:
    """The image with a numbered square at each point."""
    marked = np.ascontiguousarray(np.rint(image * 255).astype(np.uint8))
    scale = explanation.restoration_kernels.shape[2]
    size = max(6, image.shape[1] // 60)
    for number, (x, y) in enumerate(explanation.points):
        colour = _POINT_COLOURS[number % len(_POINT_COLOURS)]
        centre = (int(x) * scale + scale // 2, int(y) * scale + scale // 2)
        corners = [tuple(place + sign * size for place in centre) for sign in (-1, 1)]
        text_place = (corners[1][0] + 3, centre[1] + size)
        # A light rim, without which dark squares are lost in dark places.
        for tone, rim in ((_RIM, 2), (colour, 0)):
            cv2.rectangle(marked, corners[0], corners[1], tone, max(1, size // 5) + rim)
            text = str(number + 1), text_place, cv2.FONT_HERSHEY_SIMPLEX, size / 12
            cv2.putText(marked, *text, tone, max(1, size // 6) + rim)
    return marked / np.float32(255)
