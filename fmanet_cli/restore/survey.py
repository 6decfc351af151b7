"""What a batch will take as a whole, told before it is begun."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from fmanet_cli.engine.restorer import Restorer
from fmanet_cli.errors import FmanetError, VideoWriteError, as_own
from fmanet_cli.files import bytes_text
from fmanet_cli.restore.estimate import EXTRAPOLATED, MEASURED, Estimate, Samples, count_shots, disk_free, estimate
from fmanet_cli.restore.inputs import BatchItem
from fmanet_cli.restore.journal import weights_digest
from fmanet_cli.restore.records import Records
from fmanet_cli.restore.settings import RestoreSettings, deciding_options
from fmanet_cli.video.read.reader import VideoReader

MEASURING_SECONDS = 60.0
"""How long the films of one plan are measured in all; then their times are extrapolated."""

_CHECK_SECONDS = 10.0
_SHOT_SECONDS = 2.0
_LARGEST_PIXEL_BYTES = 6
"""Of any encoded video: three components of 16 bits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedFilm:
    """What one video of a batch will take; exactly one of estimate, error and skip reason is there."""

    item: BatchItem
    """The video; its `skip_reason` says why it would be left alone."""
    estimate: Estimate | None = None
    """What it will take."""
    shots: tuple[int, str] | None = None
    """How many shots it has, and whether that was `measured` or `extrapolated`; None where they are not looked for."""
    error: FmanetError | None = None
    """Why it cannot be restored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchPlan:
    """What a whole batch will take."""

    films: tuple[PlannedFilm, ...]
    """Its videos, in order."""

    @property
    def estimates(self) -> list[Estimate]:
        """Of those that will be restored."""
        return [film.estimate for film in self.films if film.estimate is not None]

    @property
    def frames(self) -> int:
        """Frames that are known to come."""
        return sum(found.frames or 0 for found in self.estimates)

    @property
    def seconds(self) -> float:
        """Time for all of them."""
        return sum(found.seconds or 0.0 for found in self.estimates)

    @property
    def how(self) -> str:
        """`measured` where every time was, else `extrapolated`."""
        return MEASURED if all(found.how == MEASURED for found in self.estimates) else EXTRAPOLATED

    @property
    def disk_bytes(self) -> int:
        """What the disk must have: every output, and the closed pieces of one film at a time."""
        pieces = [(found.disk_bytes or 0) - (found.output_bytes or 0) for found in self.estimates]
        return sum(found.output_bytes or 0 for found in self.estimates) + max(pieces, default=0)

    @property
    def disk_free(self) -> int | None:
        """What it has."""
        return next((found.disk_free for found in self.estimates if found.disk_free is not None), None)

    @property
    def lacks_disk(self) -> bool:
        """Whether the disk is known to be too small."""
        return self.disk_free is not None and self.disk_bytes > self.disk_free

    def check_disk(self) -> None:
        """Refuse a disk that is too small.

        Raises:
            VideoWriteError: what is needed, and what there is.
        """
        if self.lacks_disk:
            raise VideoWriteError(
                f"the disk is too small: about {bytes_text(self.disk_bytes)} are needed, "
                f"{bytes_text(self.disk_free)} are free; make room, or go on all the same",
                remedy="force",
            )


def plan_films(
    items: Iterable[BatchItem], settings: RestoreSettings, restorer: Restorer, records: Records | None
) -> Iterator[PlannedFilm]:
    """Say of each video what restoring it will take; some frames of each new size are restored, nothing is written.

    Args:
        items: what goes where.
        settings: of those without settings of their own.
        restorer: the network.
        records: what is known of finished outputs; None = an output that exists is an error of the run.
    """
    samples = Samples(seconds_left=MEASURING_SECONDS)
    weights = weights_digest(restorer.model)
    for item in items:
        own = item.settings or settings
        try:
            if records is not None and not own.overwrite and os.path.lexists(item.target):
                choices = {"options": deciding_options(own), "weights": weights}
                reason = records.state(item.source, item.target, choices)
                yield PlannedFilm(item=BatchItem(item.source, item.target, reason))
                continue
            found = estimate(item.source, own, restorer, target=item.target, samples=samples)
            shots = count_shots(item.source, own, found.frames, most_seconds=_SHOT_SECONDS)
            yield PlannedFilm(item=item, estimate=found, shots=shots)
        except Exception as error:
            yield PlannedFilm(item=item, error=as_own(error))


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What one opening tells of a video."""

    frames: int | None
    """Frames that will come; None = unknown."""
    pixels: int
    """Of each, in the source."""
    most_bytes: int
    """Which its output with its closed pieces will not exceed."""


def look(item: BatchItem, settings: RestoreSettings) -> Look | None:
    """Open a video and close it again; None where it cannot be read or its output is there, which its run will say."""
    own = item.settings or settings
    if os.path.lexists(item.target) and not own.overwrite:
        return None
    try:
        with VideoReader(item.source, **own.reading) as reader:
            info = reader.info
        size = own.output_size(info)
        beside = Path(item.source).stat().st_size if os.path.isfile(item.source) else 0
    except Exception:
        return None
    most = 2 * (info.frame_count or 0) * size[0] * size[1] * _LARGEST_PIXEL_BYTES + beside
    return Look(frames=info.frame_count, pixels=info.height * info.width, most_bytes=most)


def check_disk(items: Sequence[BatchItem], looks: Sequence[Look | None], settings: RestoreSettings) -> None:
    """Refuse outputs that the disk surely cannot hold; where it can hold them uncompressed nothing is measured.

    Enlarged frames are encoded in the place of restored ones, which take more: what passes may still be too much.

    Raises:
        VideoWriteError: what is needed at least, and what there is.
    """
    known = [(item, found) for item, found in zip(items, looks, strict=True) if found is not None and found.frames]
    free = disk_free(items[0].target) if items else None
    if free is None or sum(found.most_bytes for _, found in known) <= free:
        return
    samples, films = Samples(seconds_left=_CHECK_SECONDS), []
    for item, _ in known:
        try:
            found = estimate(
                item.source, item.settings or settings, target=item.target, samples=samples, most_seconds=1
            )
            films.append(PlannedFilm(item=item, estimate=found))
        except Exception as error:
            films.append(PlannedFilm(item=item, error=as_own(error)))
    BatchPlan(films=tuple(films)).check_disk()
