"""`fmanet plan`: what restoring will take, and whether it will help."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fmanet_cli.cli.faults import explain
from fmanet_cli.cli.names import check_items, plan_inputs
from fmanet_cli.cli.options import build_restorer, build_settings, engine_options, writing_options
from fmanet_cli.cli.sight import clock_text
from fmanet_cli.cli.terminal import begin_logging, echo, frames_text, is_or_are
from fmanet_cli.errors import FmanetError
from fmanet_cli.files import bytes_text

if TYPE_CHECKING:
    from fmanet_cli.engine.restorer import Restorer
    from fmanet_cli.restore.settings import RestoreSettings
    from fmanet_cli.review.plan import FilmPlan

LONG_RUN_PIXELS = {"cpu": 60_000_000, "else": 6_000_000_000}
"""Pixels of all frames from which a run is long: about ten minutes on two CPU cores with `lite`."""


@click.command("plan")
@click.argument("inputs", nargs=-1, required=True, metavar="VIDEO...")
@click.option("-o", "--output", metavar="OUT", help="File or folder that it would go to.  [default: beside the video]")
@engine_options
@writing_options
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def command(inputs: tuple[str, ...], output: str | None, as_json: bool, **options: Any) -> None:
    """Say what restoring VIDEO takes in time, disk and memory, what is lost, and whether it will help.

    A few frames are restored to time them; nothing is written. The options are those of fmanet restore.

    Example: fmanet plan holiday.mp4 --scale 2
    """
    begin_logging(verbose=False)
    from fmanet_cli.restore.estimate import Samples
    from fmanet_cli.review.plan import plan_film

    items = plan_inputs(inputs, output, "_fmanet", overwrite=True)
    check_items(items, overwrite=True)
    settings = build_settings(options)
    restorer, model_name = build_restorer(options)
    samples, found, failed = Samples(), [], []
    for item in items:
        try:
            plan = plan_film(item.source, item.target, settings, restorer, samples=samples)
        except FmanetError as error:
            failed.append(error)
            found.append({"source": str(item.source), "error": explain(error)[0]})
            continue
        found.append(plan.as_dict())
        if not as_json:
            print_plan(plan, model_name)
    if as_json:
        echo(json.dumps(found, indent=1))
    for other in failed[1:]:
        echo(f"error: {explain(other)[0]}", err=True)
    if failed:
        raise failed[0]


def print_plan(plan: FilmPlan, model_name: str) -> None:
    """A small table of one film, on standard output."""
    from fmanet_cli.cli.console import facts_table, make_console

    make_console().print(facts_table(_rows(plan, model_name)))
    echo()


def say_long_run(source: Path, target: Path, restorer: Restorer, settings: RestoreSettings) -> None:
    """Two lines at the start of a run that will be long; none before a short one."""
    from fmanet_cli.restore.estimate import Samples
    from fmanet_cli.review.plan import plan_film
    from fmanet_cli.video.read.reader import VideoReader

    if str(source) == "-":
        return
    try:
        with VideoReader(source, **settings.reading) as reader:
            pixels = (reader.info.frame_count or 0) * reader.info.height * reader.info.width
        if pixels < LONG_RUN_PIXELS.get(restorer.device.type, LONG_RUN_PIXELS["else"]):
            return
        plan = plan_film(source, target, settings, restorer, samples=Samples())
    except FmanetError:
        # The run itself says it.
        return
    echo(f"{_frames(plan)}; {_time(plan)}; {bytes_text(plan.estimate.disk_bytes)} of disk", err=True)
    echo(f"{plan.verdict.sentence} (fmanet preview shows it)", err=True)


def _rows(plan: FilmPlan, model_name: str) -> Iterator[tuple[str, str]]:
    estimate = plan.estimate
    yield "video", plan.source
    yield "frames", _frames(plan)
    kept = estimate.frames_kept
    yield "time", _time(plan) + (f", {frames_text(kept)} {is_or_are(kept)} there already" if kept else "")
    yield (
        "disk",
        f"{bytes_text(estimate.disk_bytes)}, {bytes_text(estimate.disk_free)} free"
        + (": too little" if estimate.lacks_disk else ""),
    )
    yield "memory", f"{bytes_text(estimate.memory_bytes)} for whole frames, {bytes_text(estimate.memory_free)} free"
    yield "network", f"{model_name} on {plan.device} in {plan.precision}"
    for loss in estimate.losses or ("nothing",):
        yield "not kept", loss
    if (meters := plan.meters) is not None:
        yield (
            "images",
            f"edges {meters.blur:.1f} px wide ({meters.blur_across:.1f} across), noise {meters.noise:.1f} of 255, "
            f"blocks {meters.blockiness:.2f}; {plan.looked_at} frames looked at",
        )
    yield "helps", f"{plan.verdict.helps}: {plan.verdict.sentence}"


def _frames(plan: FilmPlan) -> str:
    estimate = plan.estimate
    width, height = estimate.source_size
    new_width, new_height = estimate.output_size
    shots = "" if plan.shots is None else f" in {plan.shots} shot{'s' * (plan.shots != 1)}"
    count = "an unknown number" if estimate.frames is None else f"{estimate.frames:,}"
    return f"{count}{shots}, {width}x{height} to {new_width}x{new_height}"


def _time(plan: FilmPlan) -> str:
    seconds = plan.estimate.seconds
    return "unknown" if seconds is None else f"about {clock_text(seconds)} ({plan.estimate.how})"
