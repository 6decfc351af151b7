"""The figures of an evaluation: means, JSON and CSV."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from fmanet_cli.errors import EvaluationError
from fmanet_cli.evaluation.metrics import FrameScores
from fmanet_cli.evaluation.scores import ColourShift, ScoredFrame
from fmanet_cli.evaluation.summary import Summary, known_mean, summaries
from fmanet_cli.evaluation.text import TextRead

_AVERAGED = ("psnr", "ssim", "tof", "lpips", "vmaf_neg", "xpsnr")


@dataclass(frozen=True, slots=True)
class MeanScores:
    """The mean of some frames' figures; None where no frame has the figure."""

    psnr: float | None
    """dB."""
    ssim: float | None
    """At most 1."""
    tof: float | None
    """Pixels."""
    lpips: float | None = None
    """Lower is better."""
    vmaf_neg: float | None = None
    """0 to 100."""
    xpsnr: float | None = None
    """dB."""
    text: TextRead | None = None
    """Of all frames together."""

    @property
    def text_share(self) -> float | None:
        """Share of the readable characters that are read right, 0 to 1; None without any."""
        return self.text.right / self.text.readable if self.text and self.text.readable else None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Every scored frame of an evaluation, in order."""

    frames: tuple[ScoredFrame, ...]
    """Clip by clip."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """How the compared frames were made: model, degradation, seed. Empty where both sides were given as files."""

    def __post_init__(self) -> None:
        if not self.frames:
            raise EvaluationError("no frame was compared: give clips of at least one frame")

    @property
    def clips(self) -> dict[str, tuple[ScoredFrame, ...]]:
        """The frames of each clip, by name."""
        grouped: dict[str, list[ScoredFrame]] = {}
        for frame in self.frames:
            grouped.setdefault(frame.clip, []).append(frame)
        return {name: tuple(frames) for name, frames in grouped.items()}

    @property
    def has_bicubic(self) -> bool:
        """Whether every frame has the bicubic enlargement beside it."""
        return all(frame.bicubic is not None for frame in self.frames)

    @property
    def gain(self) -> float | None:
        """Mean PSNR of the restored frames minus that of the bicubic enlargement in dB; None where it is not known."""
        restored = mean_scores(frame.restored for frame in self.frames).psnr
        bicubic = mean_scores(frame.bicubic for frame in self.frames if frame.bicubic).psnr
        return None if restored is None or bicubic is None or not self.has_bicubic else restored - bicubic

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain data.

        `clips` holds for each clip its means and its `frames`, `mean` the means over all frames of all clips
        (tOF: over all pairs of neighbouring frames; paper section 4). Where a low-resolution input is known,
        `bicubic` holds the same two for its bicubic enlargement, `gain` the difference of the mean PSNR in dB,
        `colour_shift` the mean of restored minus truth per channel, `summary` the figures of `Summary` over all
        frames and over each condition of recorded clips, whose low-resolution frames have their SHA-256 in
        `input_digests`, and `settings` how the frames were made.
        A figure that is not defined or not finite is null.
        """
        report = _scores_to_json({name: [f.restored for f in frames] for name, frames in self.clips.items()})
        if self.has_bicubic:
            report["bicubic"] = _scores_to_json(
                {name: [f.bicubic for f in frames if f.bicubic] for name, frames in self.clips.items()}
            )
            report["gain"] = _finite(self.gain)
            report["colour_shift"] = [_finite(value) for value in self.colour_shift()]
            report["bicubic"]["colour_shift"] = [_finite(value) for value in self.bicubic_colour_shift()]
            report["summary"] = {name: summary.to_json() for name, summary in self.summaries().items()}
        digests = {frame.clip: frame.input_digest for frame in self.frames if frame.input_digest}
        if digests:
            report["input_digests"] = digests
        if self.tile_psnr is not None:
            report["tile_psnr"] = _finite(self.tile_psnr)
        if self.settings:
            report["settings"] = dict(self.settings)
        return report

    def summaries(self) -> dict[str, Summary]:
        """Return what harm is done over all frames (`all`) and in each condition of recorded clips."""
        return summaries(self.frames)

    def colour_shift(self) -> ColourShift:
        """Return the mean of restored minus truth over all frames, in code values: red, green, blue."""
        return _mean_colour([frame.colour_shift for frame in self.frames])

    def bicubic_colour_shift(self) -> ColourShift:
        """Return the mean of bicubic minus truth over all frames that have it, in code values: red, green, blue."""
        return _mean_colour([frame.bicubic_colour_shift for frame in self.frames if frame.bicubic_colour_shift])

    @property
    def tile_psnr(self) -> float | None:
        """Mean PSNR in dB between restoring as asked and in tiles; None where it was not measured."""
        return known_mean(frame.tile_psnr for frame in self.frames)

    def to_csv(self) -> str:
        """Return the report as a table with one row a frame, then one a clip and one for all (`frame` is "mean")."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        names = ["psnr", "ssim", "tof"]
        names += [
            name
            for name in ("lpips", "vmaf_neg", "xpsnr")
            if any(getattr(frame.restored, name) is not None for frame in self.frames)
        ]
        writer.writerow(["clip", "frame", *names, *(f"bicubic_{name}" for name in names if self.has_bicubic)])
        for clip, frames in self.clips.items():
            for frame in frames:
                writer.writerow([clip, frame.index, *self._row(frame.restored, frame.bicubic, names)])
        for clip, frames in [*self.clips.items(), ("mean", self.frames)]:
            restored = mean_scores(frame.restored for frame in frames)
            bicubic = mean_scores(frame.bicubic for frame in frames if frame.bicubic)
            writer.writerow([clip, "mean", *self._row(restored, bicubic, names)])
        return text.getvalue()

    def _row(
        self, restored: FrameScores | MeanScores, bicubic: FrameScores | MeanScores | None, names: Sequence[str]
    ) -> list[float | None]:
        sides = [restored, bicubic] if self.has_bicubic else [restored]
        return [getattr(side, name) for side in sides for name in names]


def mean_scores(scores: Iterable[FrameScores]) -> MeanScores:
    """Return the mean of each figure over the frames that have it."""
    listed = list(scores)
    means = {name: known_mean(getattr(frame, name) for frame in listed) for name in _AVERAGED}
    texts = [frame.text for frame in listed if frame.text is not None]
    text = TextRead(sum(one.readable for one in texts), sum(one.right for one in texts)) if texts else None
    return MeanScores(**means, text=text)


def to_json_text(evaluation: Evaluation) -> str:
    """Return the report as JSON text, without the non-standard names for infinity."""
    return json.dumps(evaluation.to_json(), indent=1, allow_nan=False) + "\n"


def _scores_to_json(clips: Mapping[str, Sequence[FrameScores]]) -> dict[str, Any]:
    every = [scores for frames in clips.values() for scores in frames]
    return {
        "clips": {
            name: _means_to_json(frames) | {"frames": [_figures_to_json(scores, "psnr", "ssim") for scores in frames]}
            for name, frames in clips.items()
        },
        "mean": _means_to_json(every),
    }


def _means_to_json(frames: Sequence[FrameScores]) -> dict[str, Any]:
    return _figures_to_json(mean_scores(frames), "psnr", "ssim", "tof")


def _figures_to_json(scores: FrameScores | MeanScores, *always: str) -> dict[str, Any]:
    """Return what was measured; figures named in `always` are null where they are not defined."""
    values = {name: getattr(scores, name) for name in _AVERAGED}
    report: dict[str, Any] = {
        name: _finite(value) for name, value in values.items() if name in always or value is not None
    }
    return report if scores.text is None else report | {"text": asdict(scores.text)}


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _mean_colour(colours: Sequence[ColourShift]) -> ColourShift:
    red, green, blue = (math.fsum(channel) / len(colours) for channel in zip(*colours, strict=True))
    return red, green, blue
