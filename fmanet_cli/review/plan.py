"""What restoring a film will take, and whether it will help."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fmanet_cli.engine.restorer import Restorer
from fmanet_cli.restore.estimate import Estimate, Samples, estimate
from fmanet_cli.restore.settings import RestoreSettings
from fmanet_cli.review.survey import Survey, survey_film
from fmanet_cli.review.verdict import FilmMeters, Verdict, film_meters, judge


@dataclass(frozen=True, slots=True, kw_only=True)
class FilmPlan:
    """What is known of one film before it is restored."""

    source: str
    """Path of the film."""
    target: str
    """Where it would go."""
    estimate: Estimate
    """Frames, sizes, time, disk, memory and losses."""
    shots: int | None
    """Shots; None where the film is so long that it was looked at in places only."""
    looked_at: int
    """Frames that were measured."""
    meters: FilmMeters | None
    """What they say; None where they are too small or too dark."""
    verdict: Verdict
    """Whether restoring will help."""
    device: str
    """Where the network would run."""
    precision: str
    """What it would compute in."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON: sizes in pixels and bytes, times in seconds."""
        fields, info = asdict(self), self.estimate.info
        del fields["estimate"]["info"]
        return fields | {
            "codec": info.codec,
            "frame_rate": str(info.frame_rate),
            "duration_seconds": info.duration_seconds,
        }


def plan_film(
    source: str | Path, target: str | Path, settings: RestoreSettings, restorer: Restorer, *, samples: Samples
) -> FilmPlan:
    """Look over a film and restore a few of its frames to time them; nothing is written.

    Args:
        source: video file or image sequence pattern.
        target: where it would go.
        settings: how it would be read and written.
        restorer: what would restore it.
        samples: what other films of the same plan have shown; it is added to.

    Raises:
        FmanetError: the film cannot be read, or not be restored with these settings.
    """
    found: Survey = survey_film(source)
    taken = estimate(source, settings, restorer, target=target, samples=samples)
    meters = film_meters([frame.meters for frame in found.frames])
    return FilmPlan(
        source=str(source),
        target=str(target),
        estimate=taken,
        shots=found.shots,
        looked_at=len(found.frames),
        meters=meters,
        verdict=judge(meters, taken.info.height, taken.info.width),
        device=str(restorer.device),
        precision=restorer.precision,
    )
