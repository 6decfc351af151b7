"""`fmanet evaluate`: measures restored clips, or restores clips and measures them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fmanet_cli.cli.number_types import FiniteRange
from fmanet_cli.cli.options import device_option, precision_option, source_option, typed_options
from fmanet_cli.cli.report_file import ReportFile, csv_with, json_with
from fmanet_cli.cli.run_report import weights_file
from fmanet_cli.cli.terminal import make_bar

if TYPE_CHECKING:
    from fmanet_cli.dataset.clips import MatchedClip
    from fmanet_cli.engine.restorer import Restorer
    from fmanet_cli.engine.source_look import SourceLook
    from fmanet_cli.evaluation.extras import Extras
    from fmanet_cli.evaluation.scores import ScoredFrame
    from fmanet_cli.video.frames import Frame

_EXISTING = click.Path(exists=True, path_type=Path)
_REPORT = click.Path(path_type=Path)
_RESTORING_OPTIONS = ("model", "device", "precision", "source_look", "tile", "compare_tiles", "frames")
_PRESET_OWN = ("exposure", "stride", "still", "seed")
_DEGRADING_OPTIONS = ("preset", "size", "exposure", "stride", "still", "photos", "seed")
_EVERY_PRESET = "all"
_PRESETS = ("clean", "camera", "phone", "social", "old-film", "unsharp-0.4", "unsharp-0.8", "moving-sharp")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Given:
    """The command's arguments and options."""

    clips: tuple[Path, ...]
    truth: tuple[Path, ...]
    input: tuple[Path, ...]
    degrade: bool
    preset: tuple[str, ...]
    reds4: Path | None
    model: str | None
    device: str
    precision: str
    source_look: SourceLook
    tile: str
    frames: int | None
    size: int | None
    exposure: float
    stride: int
    still: bool
    photos: bool
    seed: int
    compare_tiles: bool
    lpips: bool
    vmaf: bool
    ocr: bool
    json: Path | None
    csv: Path | None


@dataclasses.dataclass(frozen=True, slots=True)
class _Job:
    """Scores to be computed, their number where it is known, and how the frames come to be."""

    scores: Iterable[ScoredFrame]
    count: int | None
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True)
class _Shown:
    """A restorer that is shown every clip in one way."""

    restorer: Restorer
    look: SourceLook

    def restore(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        """Restored frames of one clip."""
        return self.restorer.restore(frames, source_look=self.look)


@dataclasses.dataclass(frozen=True, slots=True)
class _Restorers:
    """What restores the clips, the same in tiles where that is compared, and the choices for the report."""

    whole: _Shown
    tiled: _Shown | None
    settings: dict[str, Any]


@click.command("evaluate")
@click.argument("clips", nargs=-1, type=_EXISTING, metavar="[RESTORED | SHARP...]")
@click.option("--truth", multiple=True, type=_EXISTING, help="Sharp frames; once for each RESTORED or --input.")
@click.option("--input", multiple=True, type=_EXISTING, help="Blurry low-resolution frames; once for each --truth.")
@click.option("--degrade", is_flag=True, help="Blur and shrink the sharp clips first, then restore and compare.")
@click.option(
    "--preset",
    multiple=True,
    type=click.Choice((*_PRESETS, _EVERY_PRESET)),
    help="With --degrade: record the clips as this kind of camera would, still, moving and blurred; repeatable.",
)
@click.option(
    "--reds4", type=_EXISTING, metavar="DIR", help="The paper's protocol on four clips of the REDS folder DIR."
)
@click.option("--model", metavar="NAME|FILE", help="Weights to restore with.  [default: the best installed]")
@device_option
@precision_option
@source_option
@click.option(
    "-t", "--tile", default="auto", show_default=True, metavar="auto|0|N", help="Tile side; 0 = whole frames."
)
@click.option(
    "--frames",
    type=click.IntRange(1),
    help="Most frames of each clip.  [default: all; of photographs 8, with --still 3]",
)
@click.option("--size", type=click.IntRange(64), help="Crop sharp frames to at most SIZE x SIZE before --degrade.")
@click.option(
    "--exposure",
    type=FiniteRange(0, 1),
    default=0.8,
    show_default=True,
    help="Share of the frame interval with open shutter.",
)
@click.option(
    "--stride",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Source frames for each degraded frame of a video.",
)
@click.option("--still", is_flag=True, help="Degrade without motion: the first frame over and over, not blurred.")
@click.option("--photos", is_flag=True, help="Take every image for a photograph, numbered or not.")
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of the camera over photographs."
)
@click.option(
    "--compare-tiles", is_flag=True, help="Also restore in tiles of 128, overlap 16, and tell the difference."
)
@click.option("--lpips", is_flag=True, help="Also measure LPIPS; needs the package lpips.")
@click.option("--vmaf", is_flag=True, help="Also measure VMAF-NEG and XPSNR; needs the extra vmaf.")
@click.option("--ocr", is_flag=True, help="Also count the characters that can be read; needs the extra ocr.")
@click.option("--json", type=_REPORT, metavar="FILE", help="Write every figure as JSON.")
@click.option("--csv", type=_REPORT, metavar="FILE", help="Write every figure as CSV.")
def command(**options: Any) -> None:
    """Measure PSNR, SSIM and tOF against the truth, of restored clips or of clips restored here.

    A clip is a video or a folder of frames; the clips of a folder are matched by name. Means are over all frames of all
    clips. Where the low-resolution frames are known, bicubic enlargement stands beside. With --degrade, images
    whose names differ in more than a number are photographs, each filmed by a moving camera.

    \b
    Examples: fmanet evaluate restored.mp4 --truth sharp.mp4 --json report.json
              fmanet evaluate --input blurry/ --truth sharp/ --model lite
              fmanet evaluate --degrade videos/ photos/ --model lite --frames 12
              fmanet evaluate --degrade photos/ --photos --preset all
              fmanet evaluate --reds4 REDS/ --model reds
    """
    from fmanet_cli.cli.evaluation_table import print_evaluation
    from fmanet_cli.evaluation.reds4 import PUBLISHED
    from fmanet_cli.evaluation.report import Evaluation, to_json_text

    given = _Given(**options)
    _refuse_bad_combinations(given)
    files = _report_files(given)
    job = _plan(given)
    with make_bar(total=job.count, unit="frame", disable=None, leave=False) as bar:
        scores = []
        for score in job.scores:
            scores.append(score)
            bar.update()
    evaluation = Evaluation(tuple(scores), settings=job.settings)
    is_piped = any(file.is_standard_output for file in files.values())
    print_evaluation(evaluation, published=PUBLISHED if given.reds4 else (), to_stderr=is_piped)
    for kind, file in files.items():
        file.write(to_json_text(evaluation) if kind == "json" else evaluation.to_csv())


def _report_files(given: _Given) -> dict[str, ReportFile]:
    """Where the figures go, by their form."""
    used: dict[str, list[Path | None]] = {
        "clip": [*given.clips, *given.truth, *given.input],
        "weights": [weights_file(given.model)],
    }
    files = {}
    if given.json:
        files["json"] = ReportFile(given.json, is_own=json_with("clips", "mean"), used=used)
    if given.csv:
        used["JSON report"] = [given.json]
        files["csv"] = ReportFile(given.csv, is_own=csv_with("clip,frame,"), used=used)
    return files


def _refuse_bad_combinations(given: _Given) -> None:
    if given.degrade + bool(given.reds4) + bool(given.truth) != 1 or (given.clips and given.reds4):
        raise click.UsageError("give RESTORED --truth, --input --truth, --degrade SHARP... or --reds4 DIR")
    if given.degrade and not given.clips:
        raise click.UsageError("--degrade needs sharp clips: fmanet evaluate --degrade SHARP...")
    if given.input and not given.truth:
        raise click.UsageError("--input goes with --truth: --degrade and --reds4 bring their own")
    if given.truth and any(len(side) not in (0, len(given.truth)) for side in (given.clips, given.input)):
        raise click.UsageError("give --truth once for each clip or --input, in the same order")
    if given.truth and not given.clips and not given.input:
        raise click.UsageError("--truth needs RESTORED or --input to compare with")
    if given.truth and given.clips:
        _refuse_given(_RESTORING_OPTIONS, "RESTORED is compared as it is")
    if not given.degrade:
        _refuse_given(_DEGRADING_OPTIONS, "only --degrade makes frames")
    if given.preset:
        _refuse_given(_PRESET_OWN, "--preset brings its own")
    if given.reds4:
        _refuse_given(("frames",), "--reds4 takes all frames")


def _refuse_given(names: Sequence[str], reason: str) -> None:
    typed = [spelling for name, spelling in typed_options().items() if name in names]
    if typed:
        raise click.UsageError(f"{reason}: leave out {', '.join(typed)}")


def _plan(given: _Given) -> _Job:
    from fmanet_cli.evaluation.evaluate import compare_clips

    extras = _extras(given)
    if given.degrade:
        return _degrade_job(given, extras)
    if given.truth and given.clips:
        clips = _matched(given.clips, given.truth, given.input)
        return _Job(compare_clips(clips, extras=extras), _total(pair.truth.known_count for pair in clips))
    return _restore_job(given, extras)


def _degrade_job(given: _Given, extras: Extras) -> _Job:
    from fmanet_cli.dataset.clips import find_sharp_clips
    from fmanet_cli.dataset.degrade import Degradation, expected_count
    from fmanet_cli.evaluation.evaluate import degrade_and_compare

    if given.preset:
        return _preset_job(given, extras)
    degradation = Degradation(
        exposure=given.exposure,
        stride=given.stride,
        frame_limit=given.frames,
        size_limit=given.size,
        still=given.still,
        seed=given.seed,
    )
    clips = find_sharp_clips(given.clips, photographs=given.photos)
    restorers = _restorers(given)
    scores = degrade_and_compare(
        clips, restorers.whole, degradation=degradation, tiled_restorer=restorers.tiled, extras=extras
    )
    settings = restorers.settings | {"degradation": dataclasses.asdict(degradation)}
    return _Job(scores, _total(expected_count(clip, degradation) for clip in clips), settings)


def _preset_job(given: _Given, extras: Extras) -> _Job:
    from fmanet_cli.dataset.clips import find_sharp_clips
    from fmanet_cli.dataset.degrade import PRESET_FRAMES, PRESET_PIXELS
    from fmanet_cli.dataset.imaging.presets import find_preset
    from fmanet_cli.evaluation.evaluate import SETTLING_FRAMES, record_and_compare

    clips = find_sharp_clips(given.clips, photographs=given.photos)
    restorers = _restorers(given)
    presets = _PRESETS if _EVERY_PRESET in given.preset else tuple(dict.fromkeys(given.preset))
    frames, size = given.frames or PRESET_FRAMES, given.size or PRESET_PIXELS
    scores = record_and_compare(
        clips,
        restorers.whole,
        presets=presets,
        frame_limit=frames,
        size_limit=size,
        tiled_restorer=restorers.tiled,
        extras=extras,
    )
    conditions = sum(len(find_preset(preset).exposures) for preset in presets)
    scored = max(1, frames - SETTLING_FRAMES) * conditions
    settings = restorers.settings | {"presets": list(presets), "frames": frames, "size": size}
    return _Job(scores, scored * len(clips), settings)


def _restore_job(given: _Given, extras: Extras) -> _Job:
    from fmanet_cli.evaluation.evaluate import restore_and_compare
    from fmanet_cli.evaluation.reds4 import find_reds4

    clips = find_reds4(given.reds4) if given.reds4 else _matched(given.input, given.truth)
    restorers = _restorers(given)
    scores = restore_and_compare(
        clips,
        restorers.whole,
        tiled_restorer=restorers.tiled,
        frame_limit=given.frames,
        skip_ends=given.reds4 is not None,
        extras=extras,
    )
    counts = [pair.truth.known_count for pair in clips]
    if given.reds4 or given.frames:
        counts = [count and (count - 2 if given.reds4 else min(count, given.frames or count)) for count in counts]
    return _Job(scores, _total(counts), restorers.settings | {"frame_limit": given.frames})


def _matched(sides: Sequence[Path], truths: Sequence[Path], inputs: Sequence[Path] = ()) -> list[MatchedClip]:
    from fmanet_cli.dataset.clips import find_clips, match_clips, name_apart

    matched: list[MatchedClip] = []
    for index, (side, truth) in enumerate(zip(sides, truths, strict=True)):
        blurry = find_clips(inputs[index]) if inputs else None
        matched += match_clips(find_clips(side), find_clips(truth), inputs=blurry)
    return name_apart(matched)


def _restorers(given: _Given) -> _Restorers:
    from fmanet_cli.engine.restorer import Restorer
    from fmanet_cli.evaluation.evaluate import COMPARED_OVERLAP_PIXELS, COMPARED_TILE_PIXELS
    from fmanet_cli.weights.checkpoint import load_model
    from fmanet_cli.weights.registry import best_installed

    name = given.model or best_installed()
    model = load_model(name)
    whole = Restorer(model, device=given.device, precision=given.precision, tile=given.tile)
    tiled = None
    if given.compare_tiles:
        tiled = Restorer(
            model,
            device=given.device,
            precision=given.precision,
            tile=COMPARED_TILE_PIXELS,
            tile_overlap=COMPARED_OVERLAP_PIXELS,
        )
    settings = {
        "model": name,
        "device": str(whole.device),
        "precision": str(whole.precision),
        "tile": given.tile,
        "source_look": given.source_look,
    }
    look = given.source_look
    return _Restorers(_Shown(whole, look), None if tiled is None else _Shown(tiled, look), settings)


def _extras(given: _Given) -> Extras:
    from fmanet_cli.evaluation.extras import Extras
    from fmanet_cli.evaluation.perceptual import PerceptualDistance
    from fmanet_cli.evaluation.text import TextReader
    from fmanet_cli.evaluation.vmaf import VideoMetric

    return Extras(
        perceptual=PerceptualDistance() if given.lpips else None,
        text=TextReader() if given.ocr else None,
        video=VideoMetric() if given.vmaf else None,
    )


def _total(counts: Iterable[int | None]) -> int | None:
    listed = list(counts)
    return None if None in listed else sum(count or 0 for count in listed)
