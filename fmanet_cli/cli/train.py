"""`fmanet train`: train a network from photographs, clips or REDS."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fmanet_cli.cli.interruption import Interruption, noting_signals
from fmanet_cli.cli.number_types import FiniteRange
from fmanet_cli.cli.options import device_option, given, taken
from fmanet_cli.cli.terminal import echo, make_bar, say_above

if TYPE_CHECKING:
    from fmanet_cli.training.losses import LossWeights
    from fmanet_cli.training.recipes import Recipe
    from fmanet_cli.training.session import Session, SourceKind
    from fmanet_cli.training.step_report import StepReport

_FOLDER = click.Path(file_okay=False, path_type=Path)
_STAGES = {"1": (1,), "2": (2,), "both": (1, 2)}


@click.command("train")
@click.option("--recipe", "recipe_name", default="lite", show_default=True, help="lite, base or paper.")
@click.option("--photos", type=click.Path(path_type=Path), help="Folder or zip of photographs, set in motion.")
@click.option("--videos", type=_FOLDER, help="Folder of sharp clips, alone or shown among photographs.")
@click.option(
    "--video-share",
    type=FiniteRange(0, 1, min_open=True, max_open=True),
    help="Share of the windows from --videos beside --photos.  [default: 0.2]",
)
@click.option("--reds", type=_FOLDER, help="REDS in the authors' folder layout, with their flows.")
@click.option(
    "--mixture",
    metavar="SHARES|FILE|off|uncoded",
    help="What cameras do, such as clean=25,camera=75.  [default: all]",
)
@click.option("--fonts", type=_FOLDER, help="Folder of fonts: text before a part of the photographs.")
@click.option(
    "--text-share",
    type=FiniteRange(0, 1, min_open=True),
    help="Share of the windows from photographs that show text in --fonts.  [default: 0.12]",
)
@click.option(
    "--favour",
    "favoured",
    multiple=True,
    metavar="NAMES=SHARE",
    help="Share of what is shown from photographs of these names, such as portrait-*=0.07; repeatable.",
)
@click.option(
    "--photo-scales",
    nargs=2,
    type=FiniteRange(0, 1, min_open=True),
    metavar="FROM TO",
    help="Sizes that photographs are shrunk to, such as 0.65 1: the larger, the softer.  [default: 0.33 1]",
)
@click.option("-o", "--output", type=_FOLDER, required=True, help="Folder for weights, state, logs and images.")
@click.option("--validate", type=click.Path(path_type=Path), help="Folder or zip of photographs to validate on.")
@click.option("--init", metavar="NAME|FILE", help="Weights to start from; base widens lite's.  [default: random]")
@click.option("--resume", is_flag=True, help="Go on with the run in the output folder.")
@click.option("--branch", type=_FOLDER, help="Start where the run in this folder stands; it stays as it is.")
@click.option(
    "--stage", type=click.Choice(list(_STAGES)), default="both", show_default=True, help="Which stages to run."
)
@click.option("--steps", type=click.IntRange(1), help="Steps of each stage.  [default: the recipe's]")
@click.option("--minutes", type=FiniteRange(0, min_open=True), help="End after this time; schedules follow the clock.")
@click.option(
    "--pause-after", type=FiniteRange(0, min_open=True), help="Minutes until the run saves and ends, to be resumed."
)
@click.option(
    "--schedule", type=click.Choice(["halving", "cosine", "constant"]), help="Of the rate.  [default: the recipe's]"
)
@click.option(
    "--decay-from", type=FiniteRange(0, 1), help="Share of a constant schedule from which the rate falls to zero."
)
@click.option("--warm-up", type=click.IntRange(0), help="Steps in which the rate grows.  [default: the recipe's]")
@click.option(
    "--loss", "losses", multiple=True, metavar="NAME=WEIGHT", help="Weight of a loss, such as fourier=0.05; repeatable."
)
@click.option("--learning-rate", type=FiniteRange(0, min_open=True), help="[default: the recipe's]")
@click.option("--windows", type=click.IntRange(1), help="Windows in a batch.  [default: the recipe's]")
@click.option("--window-size", type=click.IntRange(8), help="Low-resolution pixels.  [default: the recipe's]")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@device_option
@click.option("--precision", type=click.Choice(["bf16", "fp32"]), default="bf16", show_default=True)
@click.option(
    "--processes", type=click.IntRange(1), default=1, show_default=True, help="Processes that share a batch (CPU)."
)
@click.option("--loaders", type=click.IntRange(1), default=1, show_default=True, help="Processes that make windows.")
@click.option(
    "--compile",
    "compiled",
    is_flag=True,
    help="Compile the step, which takes minutes. It is used only if its gradients are those of the plain step.",
)
@click.option("--save-every", type=click.IntRange(1), default=200, show_default=True, help="Steps.")
@click.option("--validate-every", type=click.IntRange(1), default=500, show_default=True, help="Steps.")
@click.option("--picture-every", type=click.IntRange(0), default=1000, show_default=True, help="Steps; 0 = none.")
@click.option("--tensorboard", is_flag=True, help="Also log for TensorBoard.")
@click.option("-q", "--quiet", is_flag=True, help="No bar.")
def command(quiet: bool, **options: Any) -> None:
    """Train a network from photographs or video.

    The averaged weights are in weights.safetensors of the output folder, ready for --model. Ctrl-C saves the step that
    the run is in; --resume goes on with it.

    \b
    Example:
      fmanet train --recipe lite --photos photos/ --validate held-out/ -o run/ --minutes 90
    """
    from fmanet_cli.training.session import train

    session = _build_session(options)
    if not quiet:
        _say_what_begins(session)
    noted: list[int] = []
    step = _show(train(session, is_asked_to_stop=lambda: bool(noted)), session, noted, quiet=quiet)
    if noted:
        raise Interruption(noted[0], f"step {step} is saved in {session.run.folder}, --resume goes on")
    echo(f"weights in {session.run.folder / 'weights.safetensors'}", err=True)


def _say_what_begins(session: Session) -> None:
    """What is done before the first step takes a while: the words come first."""
    recipe, run = session.recipe, session.run
    stages = ", then ".join(
        f"stage {stage.number} of {stage.steps:,} steps" for stage in recipe.stages if stage.number in run.stages
    )
    windows = f"{recipe.batch_windows} windows of {recipe.window_pixels}x{recipe.window_pixels} pixels a step"
    limit = "" if run.minutes is None else f", at most {run.minutes:g} minutes"
    folders = " and ".join(str(folder) for folder in (session.source_folder, session.video_folder) if folder)
    echo(f"training {recipe.name}: {stages}, {windows}{limit}; reading {folders} first", err=True)


def _build_session(options: dict[str, Any]) -> Session:
    from fmanet_cli.dataset.imaging.mixture import Mixture, read_mixture
    from fmanet_cli.training.run_options import RunOptions
    from fmanet_cli.training.session import Session

    sources: dict[SourceKind, Path | None] = {
        "photos": options["photos"],
        "video": options["videos"],
        "reds": options["reds"],
    }
    chosen, clips = given(sources), {}
    if chosen.keys() == {"photos", "video"}:
        clips = given({"video_folder": chosen.pop("video"), "video_share": options["video_share"]})
    elif options["video_share"] is not None:
        raise click.UsageError("--video-share needs both --photos and --videos")
    if len(chosen) != 1:
        raise click.UsageError("give one of --photos, --videos and --reds, or --photos and --videos")
    [(kind, folder)] = chosen.items()
    run = RunOptions(
        folder=options["output"],
        stages=_STAGES[options["stage"]],
        half_precision=options["precision"] == "bf16",
        **taken(options, "seed", "minutes", "pause_after", "save_every", "validate_every", "loaders", "compiled"),
    )
    return Session(
        recipe=_adapt_recipe(options),
        run=run,
        source_kind=kind,
        source_folder=folder,
        **clips,
        validation_folder=options["validate"],
        mixture=Mixture() if options["mixture"] is None else read_mixture(options["mixture"]),
        fonts_folder=options["fonts"],
        text_share=options["text_share"],
        photo_scales=options["photo_scales"],
        favoured=tuple(_read_numbers(options["favoured"], "--favour", "share")),
        **taken(options, "init", "resume", "branch", "device", "processes", "tensorboard", "picture_every"),
    )


def _adapt_recipe(options: dict[str, Any]) -> Recipe:
    from fmanet_cli.training.recipes import find_recipe

    recipe = find_recipe(options["recipe_name"])
    stage_changes = {
        "steps": options["steps"],
        "learning_rate": options["learning_rate"],
        "schedule": options["schedule"],
        "decay_from": options["decay_from"],
        "warm_up_steps": options["warm_up"],
    }
    changes = {"batch_windows": options["windows"], "window_pixels": options["window_size"]}
    stages = tuple(dataclasses.replace(stage, **given(stage_changes)) for stage in recipe.stages)
    if options["decay_from"] is not None and any(stage.schedule != "constant" for stage in stages):
        raise click.UsageError("--decay-from belongs to --schedule constant; the others decay in their own way")
    weights = dataclasses.replace(recipe.weights, **_read_weights(options["losses"], recipe.weights))
    return dataclasses.replace(recipe, stages=stages, weights=weights, **given(changes))


def _read_weights(texts: tuple[str, ...], weights: LossWeights) -> dict[str, float]:
    """`NAME=WEIGHT` texts to weights by name."""
    names = [field.name for field in dataclasses.fields(weights)]
    read = {}
    for name, value in _read_numbers(texts, "--loss", "weight"):
        if name not in names:
            raise click.BadParameter(f"there is no loss {name!r}; choose from {', '.join(names)}", param_hint="--loss")
        read[name] = value
    return read


def _read_numbers(texts: tuple[str, ...], option: str, what: str) -> Iterator[tuple[str, float]]:
    """`NAME=NUMBER` texts of an option to names and numbers from 0."""
    for text in texts:
        name, _, value = text.rpartition("=")
        try:
            number = float(value)
        except ValueError:
            raise click.BadParameter(f"{text!r} has no number behind NAME=", param_hint=option) from None
        if not name or not 0.0 <= number < float("inf"):
            raise click.BadParameter(f"the {what} of {name} must be a number from 0, got {value}", param_hint=option)
        yield name, number


def _show(reports: Iterator[StepReport], session: Session, noted: list[int], *, quiet: bool) -> int:
    """One bar for each stage; validations and left-out steps in lines of their own. Returns the last step.

    From the first step on signals are only noted: the run ends by itself and saves.
    """
    steps: dict[int, int] = {stage.number: stage.steps for stage in session.recipe.stages}
    bar, shown, step = None, 0, 0
    noting = contextlib.ExitStack()
    try:
        for report in reports:
            if report.stage != shown:
                if bar is None:
                    noting.enter_context(noting_signals(noted))
                else:
                    bar.close()
                shown = report.stage
                bar = make_bar(total=steps[shown], desc=f"stage {shown}", unit="step", disable=quiet or None)
            assert bar is not None
            step = report.step
            bar.update(step - bar.n)
            bar.set_postfix(loss=f"{report.figures['total']:.4f}", done=f"{report.progress:.0%}", refresh=False)
            for note in report.notes:
                say_above(bar, note)
            if report.skipped:
                say_above(bar, f"step {step} left out: {report.why_skipped}")
            if report.validation is not None:
                checked = report.validation
                text = f"step {step}: {checked.psnr:.2f} dB, {checked.gain:+.2f} dB against bicubic"
                say_above(bar, text)
    finally:
        noting.close()
        if bar is not None:
            bar.close()
    return step
