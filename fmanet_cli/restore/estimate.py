"""What restoring a film will take, before it is begun: frames, time, disk and memory."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fmanet_cli.engine.memory import bytes_per_pixel, free_memory, workspace_bytes
from fmanet_cli.engine.restorer import Restorer
from fmanet_cli.engine.run import no_frame
from fmanet_cli.engine.schedule import windows_at_once
from fmanet_cli.restore.journal import is_resumable, kept_frames
from fmanet_cli.restore.pipeline import BackgroundConsumer, Prefetched
from fmanet_cli.restore.resize import resize_image
from fmanet_cli.restore.stages import QUEUE_FRAMES, restored_frames
from fmanet_cli.shots.detector import ShotMarker
from fmanet_cli.video.frames import Frame, PlanarFrame, VideoInfo
from fmanet_cli.video.read.reader import VideoReader
from fmanet_cli.video.write.plan import OutputPlan
from fmanet_cli.video.write.size_meter import ENOUGH_FRAMES, SizeMeter

if TYPE_CHECKING:
    from fmanet_cli.restore.settings import RestoreSettings

MEASURED, EXTRAPOLATED = "measured", "extrapolated"
"""How an estimate was found: frames of this film were timed, or those of another one were scaled by their pixels."""

WARM_UP_SECONDS = 5.0
"""How long frames of a film are restored to time them."""


_LEAST_FRAMES = 2
_STARTING_FRAMES = 2
"""The first frames of a run wait for its threads to begin; where there are enough others they are not counted."""

_SAMPLE_AT = 0.25
"""Where in a film the sample is taken: beginnings are often black."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What restoring one film will take. None = it cannot be told."""

    info: VideoInfo
    """Facts of the film."""
    frames: int | None
    """Frames that will come; for pipes and broken indexes unknown."""
    frames_kept: int
    """Of these, how many an interrupted run has left, which take no more time."""
    source_size: tuple[int, int]
    """(width, height) in pixels."""
    output_size: tuple[int, int]
    """(width, height) in pixels."""
    seconds: float | None
    """Time for the frames that are still to do; None without a restorer."""
    how: str
    """How `seconds` was found: `measured` or `extrapolated`; empty where it is None."""
    output_bytes: int | None
    """Size of the finished file; without a restorer too small, because enlarged frames have less in them."""
    disk_bytes: int | None
    """What the run still needs of the disk: closed pieces, and beside them the file that they are joined to."""
    disk_free: int | None
    """What the disk of the target has."""
    memory_bytes: int | None
    """What the network needs on its device for whole frames; None without a restorer."""
    memory_free: int | None
    """What the device has; None where it does not say or without a restorer."""
    losses: tuple[str, ...]
    """What of the source the output cannot keep, one sentence each."""

    @property
    def lacks_disk(self) -> bool:
        """Whether the disk is known to be too small."""
        return self.disk_bytes is not None and self.disk_free is not None and self.disk_bytes > self.disk_free


@dataclass(slots=True)
class Samples:
    """What was measured so far, so that the films of one plan need not all be measured."""

    seconds_left: float = float("inf")
    """Time that may still be spent on measuring; when it is used up, estimates are extrapolated."""
    seconds_per_frame: dict[tuple[int, int], float] = field(default_factory=dict)
    """By the (height, width) of the source."""
    bytes_per_pixel: dict[tuple[int, int], tuple[float, float]] = field(default_factory=dict)
    """Of key frames and of other frames by the (height, width) of the output."""

    def scaled_seconds(self, height: int, width: int) -> float | None:
        """Seconds for a frame of a size, by the measured one whose number of pixels is nearest."""
        pixels = height * width
        nearest = _nearest(self.seconds_per_frame, pixels)
        return None if nearest is None else self.seconds_per_frame[nearest] * pixels / (nearest[0] * nearest[1])

    def scaled_bytes(self, height: int, width: int) -> tuple[float, float] | None:
        """Bytes of a key frame and of another frame of a size."""
        pixels = height * width
        nearest = _nearest(self.bytes_per_pixel, pixels)
        if nearest is None:
            return None
        key, other = self.bytes_per_pixel[nearest]
        return key * pixels, other * pixels


def _nearest(sizes: dict[tuple[int, int], Any], pixels: int) -> tuple[int, int] | None:
    return min(sizes, key=lambda size: abs(size[0] * size[1] - pixels), default=None)


def estimate(
    source: str | Path,
    settings: RestoreSettings,
    restorer: Restorer | None = None,
    *,
    target: str | Path = "restored.mkv",
    samples: Samples | None = None,
    most_seconds: float = WARM_UP_SECONDS,
) -> Estimate:
    """Estimate what a run will take; a few frames are restored and encoded in memory, and nothing is written.

    Without a restorer nothing is timed, and enlarged frames are encoded in the place of restored ones.

    Args:
        source: video file or image sequence pattern.
        settings: how it would be read and written.
        restorer: what would restore it; None = time and memory are left out.
        target: where it would go; the container follows from the suffix, the disk from the folder.
        samples: what other films of the same plan have shown, which is used for sizes that were measured and once the
            time for measuring is used up; it is added to.
        most_seconds: after which the warm-up ends, with the frames it has (at least two).

    Raises:
        VideoReadError: the film cannot be read.
        OptionError: the settings cannot be honoured.
        DeviceError: memory does not suffice.
    """
    samples = Samples() if samples is None else samples
    with VideoReader(source, **settings.reading) as reader:
        info, warnings = reader.info, tuple(reader.warnings)
    plan = settings.plan(target, info)
    how = EXTRAPOLATED
    if samples.seconds_left > 0 and _is_unknown(samples, plan, restorer):
        began = time.monotonic()
        _measure(source, settings, plan, restorer, samples, min(most_seconds, samples.seconds_left))
        samples.seconds_left -= time.monotonic() - began
        how = MEASURED
    frames, kept = info.frame_count, kept_frames(target) if is_resumable(str(source), str(target)) else 0
    each = None if restorer is None else samples.scaled_seconds(info.height, info.width)
    seconds = None if each is None or frames is None else each * max(0, frames - kept)
    needed = None if frames is None else _disk_bytes(frames, kept, settings, plan, samples)
    return Estimate(
        info=info,
        frames=frames,
        frames_kept=kept,
        source_size=(info.width, info.height),
        output_size=(plan.width, plan.height),
        seconds=seconds,
        how=how if seconds is not None else "",
        output_bytes=None if needed is None else needed[0],
        disk_bytes=None if needed is None else needed[1],
        disk_free=None if str(target) == "-" else disk_free(Path(target)),
        memory_bytes=None if restorer is None else _memory_bytes(info, restorer),
        memory_free=None if restorer is None else free_memory(restorer.device),
        losses=(*warnings, *plan.losses),
    )


def count_shots(
    source: str | Path, settings: RestoreSettings, frames: int | None, *, most_seconds: float
) -> tuple[int, str] | None:
    """How many shots a film has, by those of its first frames where it is long.

    Args:
        source: video file or image sequence pattern.
        settings: how it would be read.
        frames: how many frames it has; None = unknown.
        most_seconds: after which no further frame is read.

    Returns:
        The number with `measured` or `extrapolated`; None where shots are not looked for.

    Raises:
        FmanetError: the film or the list of cuts cannot be read.
    """
    marker = ShotMarker(settings.scene_detect, threshold=settings.scene_threshold)
    if marker.shots is None:
        return None
    until, seen = time.monotonic() + most_seconds, 0
    with VideoReader(source, **settings.reading | {"on_error": "continue"}) as reader:
        for seen, _ in enumerate(marker.mark(reader), 1):
            if time.monotonic() > until and frames is not None and seen < frames:
                # The first shot began before any cut.
                return 1 + round((marker.shots - 1) * frames / seen), EXTRAPOLATED
    return marker.shots, MEASURED


def disk_free(target: Path) -> int | None:
    """Free bytes on the disk where a file would be, whose folders need not be there yet; None where it is not said."""
    for folder in (target.absolute().parent, *target.absolute().parent.parents):
        if os.path.isdir(folder):
            with contextlib.suppress(OSError):
                return shutil.disk_usage(folder).free
            return None
    return None


def _is_unknown(samples: Samples, plan: OutputPlan, restorer: Restorer | None) -> bool:
    if restorer is None:
        return (plan.height, plan.width) not in samples.bytes_per_pixel
    return (plan.like.height, plan.like.width) not in samples.seconds_per_frame


def _measure(
    source: str | Path,
    settings: RestoreSettings,
    plan: OutputPlan,
    restorer: Restorer | None,
    samples: Samples,
    most_seconds: float,
) -> None:
    """Restore or enlarge some frames and encode them; what that took goes into the samples."""
    info, meter, began = plan.like, SizeMeter(plan), time.perf_counter()
    ends: list[float] = []
    with (
        VideoReader(source, **settings.reading | _sample_start(settings, info) | {"on_error": "continue"}) as reader,
        Prefetched(ShotMarker("auto").mark(reader), QUEUE_FRAMES) as frames,
    ):
        if restorer is None:
            for frame in itertools.islice(frames, ENOUGH_FRAMES):
                meter.write(replace(frame, image=resize_image(frame.image, plan.height, plan.width)))
                if time.perf_counter() - began > most_seconds:
                    break
        else:
            with (
                contextlib.closing(_restored(restorer, frames, plan, settings)) as restored,
                BackgroundConsumer(meter.write, depth=QUEUE_FRAMES) as encoder,
            ):
                for finished in restored:
                    encoder.put(finished)
                    ends.append(time.perf_counter() - began)
                    if ends[-1] > most_seconds and len(ends) >= _LEAST_FRAMES:
                        break
    if ends:
        samples.seconds_per_frame[info.height, info.width] = _seconds_each(ends)
    pixels = plan.height * plan.width
    key, other = meter.finish()
    samples.bytes_per_pixel[plan.height, plan.width] = key / pixels, other / pixels


def _restored(
    restorer: Restorer, frames: Iterator[Frame], plan: OutputPlan, settings: RestoreSettings
) -> Generator[Frame | PlanarFrame, None, None]:
    size = plan.like.height, plan.like.width
    run = restorer.start(*size, strength=settings.strength, source_look=settings.source_look)
    return restored_frames(run, frames, plan.plane_format, (plan.height, plan.width), skips=no_frame)


def _sample_start(settings: RestoreSettings, info: VideoInfo) -> dict[str, float]:
    """A quarter into what will be restored, where that is known and not short."""
    count, rate = info.frame_count, float(info.frame_rate)
    if count is None or info.container == "image2" or count / rate < WARM_UP_SECONDS:
        return {}
    return {"start_seconds": (settings.start_seconds or 0) + _SAMPLE_AT * count / rate}


def _seconds_each(ends: list[float]) -> float:
    """Seconds for a frame, by when each of the first frames was done."""
    if len(ends) <= 2 * _STARTING_FRAMES:
        return ends[-1] / len(ends)
    return (ends[-1] - ends[_STARTING_FRAMES - 1]) / (len(ends) - _STARTING_FRAMES)


def _disk_bytes(
    frames: int, kept: int, settings: RestoreSettings, plan: OutputPlan, samples: Samples
) -> tuple[int, int] | None:
    """Size of the output, and what is needed until it has its name."""
    measured = samples.scaled_bytes(plan.height, plan.width)
    if measured is None:
        return None
    key, other = measured
    piece = settings.segment_frames or frames
    key_frames = -(-frames // piece) if piece else frames
    video = key * key_frames + other * (frames - key_frames)
    is_split = plan.settings is not None and bool(plan.settings.codec.segments_in) and bool(settings.segment_frames)
    pieces = video * max(0, frames - kept) / frames if is_split and frames else 0
    beside = 0
    if plan.streams.streams and os.path.isfile(plan.like.path):
        # Sound and other streams are part of the source; how large a part is not known without reading it.
        beside = Path(plan.like.path).stat().st_size
    return round(video), round(video + pieces + beside)


def _memory_bytes(info: VideoInfo, restorer: Restorer) -> int:
    pixels, config = info.height * info.width, restorer.model.config
    count = windows_at_once(pixels, config=config, device=restorer.device, precision=restorer.precision)
    each = bytes_per_pixel(config, restorer.precision, device=restorer.device)
    return round(count * pixels * each) + workspace_bytes(restorer.device)
