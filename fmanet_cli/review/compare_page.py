"""A comparison as one page that needs nothing but a browser."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

import cv2
import numpy as np

from fmanet_cli.review.compare import FilmPair, FrameChange, FramePair, most_changed
from fmanet_cli.video.write.orientation import shown_size

LARGEST_BYTES = 10_000_000
"""Of the whole page."""

_QUALITIES = (88, 75, 60, 40)
_SIDES = (1920, 1280, 960, 640)
_CHART_WIDTH, _CHART_HEIGHT, _MARGIN = 640, 170, 70


def comparison_page(films: FilmPair, title: str) -> str:
    """HTML with the frames that changed most, a clip of frames in a row, charts, and facts; at most `LARGEST_BYTES`."""
    changes = films.changes()
    stills = most_changed(changes)
    worst = min(changes, key=lambda change: change.difference).number
    numbers = {"stills": stills, "clip": films.clip_around(worst)}
    pairs = {pair.number: pair for pair in films.pairs(sorted({*stills, *numbers["clip"]}))}
    rate = films.output.frame_rate
    for side, quality in zip(_SIDES, _QUALITIES, strict=True):
        data: dict[str, Any] = {"milliseconds": max(20, round(1000 / rate))}
        coded = {number: _coded(pair, quality, side) for number, pair in pairs.items()}
        data |= {name: [coded[number] for number in chosen] for name, chosen in numbers.items()}
        page = _filled(films, title, changes, data)
        if len(page.encode()) <= LARGEST_BYTES:
            break
    return page


def _filled(films: FilmPair, title: str, changes: list[FrameChange], data: dict[str, Any]) -> str:
    source, output = films.source, films.output
    (height, width), (source_height, source_width) = shown_size(output), shown_size(source)
    facts = {
        "source": f"{source.path}, {source_width}x{source_height}, {source.codec}",
        "restored": f"{output.path}, {width}x{height}, {output.codec}",
        "frames": f"{films.count}, {float(output.frame_rate):g} a second",
        "sharpness": f"{_mean(changes, 'sharpness_before'):.2f} before, {_mean(changes, 'sharpness_after'):.2f} after "
        "(mean absolute Laplacian in 8-bit steps, both at the output's size)",
    }
    template = files("fmanet_cli.review").joinpath("compare_page.html").read_text(encoding="utf-8")
    rows = "".join(f"<tr><td>{name}</td><td>{html.escape(text)}</td></tr>" for name, text in facts.items())
    values = {
        "TITLE": html.escape(title),
        "WIDTH": str(width),
        "HEIGHT": str(height),
        "CHARTS": _charts(changes),
        "FACTS": rows,
        "DATA": json.dumps(data).replace("</", "<\\/"),
    }
    for name, text in values.items():
        template = template.replace(f"@{name}@", text)
    return template


def _coded(pair: FramePair, quality: int, side: int) -> dict[str, Any]:
    return {
        "number": pair.number,
        "seconds": pair.seconds,
        "before": _jpeg(pair.before, quality, side),
        "after": _jpeg(pair.after, quality, side),
    }


def _jpeg(image: np.ndarray, quality: int, side: int) -> str:
    coded = np.rint(image[..., ::-1] * 255).astype(np.uint8)
    factor = min(1.0, side / max(coded.shape[:2]))
    if factor < 1:
        coded = cv2.resize(coded, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    _, written = cv2.imencode(".jpg", coded, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return base64.b64encode(written.tobytes()).decode()


def _charts(changes: list[FrameChange]) -> str:
    """One chart a figure, as inline SVG."""
    shown = [
        ("Sharpness of each frame", "", [("before", "sharpness_before"), ("after", "sharpness_after")]),
        ("Difference to the enlarged source in dB; lower = more was changed", " dB", [("after", "difference")]),
    ]
    if changes[0].truth_after is not None:
        shown.append(("PSNR against the truth in dB", " dB", [("before", "truth_before"), ("after", "truth_after")]))
    seconds = [change.seconds for change in changes]
    return "".join(
        f"<h2>{heading}</h2>"
        + _chart(heading, unit, seconds, {kind: [getattr(c, name) for c in changes] for kind, name in lines})
        for heading, unit, lines in shown
    )


def _chart(heading: str, unit: str, seconds: Sequence[float], lines: dict[str, list[float]]) -> str:
    low, high = min(map(min, lines.values())), max(map(max, lines.values()))
    span, length = (high - low) or 1.0, (seconds[-1] - seconds[0]) or 1.0
    width, height = _CHART_WIDTH - _MARGIN - 8, _CHART_HEIGHT - 60
    drawn = []
    for kind, values in lines.items():
        points = " ".join(
            f"{_MARGIN + width * (at - seconds[0]) / length:.1f},{8 + height * (high - value) / span:.1f}"
            for at, value in zip(seconds, values, strict=True)
        )
        dashes = ' stroke-dasharray="6 4"' if kind == "before" else ""
        drawn.append(
            f'<polyline class="{kind}" points="{points}" fill="none" stroke="currentColor" stroke-width="2"{dashes}/>'
        )
    means = ", ".join(
        f"{'source (dashed)' if kind == 'before' else 'restored'} {np.mean(v):.2f}{unit}" for kind, v in lines.items()
    )
    label = html.escape(f"{heading}: on average {means}")
    bottom = _CHART_HEIGHT - 10
    return (
        f'<svg viewBox="0 0 {_CHART_WIDTH} {_CHART_HEIGHT}" role="img" aria-label="{label}">{"".join(drawn)}'
        f'<text x="2" y="18">{high:.1f}</text><text x="2" y="{8 + height}">{low:.1f}</text>'
        f'<text x="{_MARGIN}" y="{bottom}">{seconds[0]:.1f} s</text>'
        f'<text x="{_CHART_WIDTH - 8}" y="{bottom}" text-anchor="end">{seconds[-1]:.1f} s</text></svg>'
        f"<p>on average {means}</p>"
    )


def _mean(changes: list[FrameChange], name: str) -> float:
    return float(np.mean([getattr(change, name) for change in changes]))
